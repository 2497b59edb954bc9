package server

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// scene is what the examples of routes work on: things of alice, and somebody else.
type scene struct {
	p                 *platform
	alice, bob, admin sessionBody
	leaver            sessionBody // who logs out
	asset, trashed    assetBody
	project           projectBody
	member            sessionBody // an editor of project
	key               apiKeyBody
	upload            uuid.UUID // has 5 of 99 bytes
}

func newScene(t *testing.T) *scene {
	p := newPlatform(t, func(c *config.Server) { c.RateLimits.General, c.RateLimits.Upload = 100_000, 100_000 }) // so that answers tell of limits
	s := &scene{p: p, alice: p.register("alice"), bob: p.register("bob"), admin: p.register("admin_1"), leaver: p.register("leaver"), member: p.register("member")}
	p.makeAdmin(s.admin)
	return s
}

// set makes the things anew, since examples use them up.
func (s *scene) set(n int) {
	s.asset = s.p.uploadPNG(s.alice.AccessToken, "hero.png", png(fmt.Sprint("asset", n)))
	s.p.keepMedia(s.asset, store.ImageMetadata{}, 300)
	s.trashed = s.p.uploadPNG(s.alice.AccessToken, "gone.png", png(fmt.Sprint("trashed", n)))
	s.p.delete(assetPath(s.trashed.ID), s.alice.AccessToken).want(204)
	s.project = s.p.newProject(s.alice, "Village", s.asset)
	s.p.join(s.alice, s.project, s.member, "editor")
	s.p.delete("/api/auth/keys/"+s.key.ID.String(), s.alice.AccessToken) // there may not be many
	s.key = s.p.newKey(s.alice, `["read"]`)
	address := s.p.beginUpload(s.alice.AccessToken, 99, "filename", "a.png")
	s.p.goOn(address, s.alice.AccessToken, png("five"), 0, 5).want(204)
	s.upload = uuid.MustParse(path.Base(address))
}

// example is a request of a route that succeeds, and what makes it a bad one.
type example struct {
	query   string // of the good request
	body    string // JSON, or empty
	form    func() *form
	headers []string // names and values; Content-Type is here for a body that is not JSON
	admin   bool     // the caller is the administrator
	status  int

	badQuery, badBody string // instead; both empty: nothing of a client's can be wrong but the path
	badForm           func() *form
	badHeaders        []string
	field             string
}

// examples has one for each operation of the document.
func (s *scene) examples() map[string]example {
	id := func(v any) string { return fmt.Sprintf("%q", v) }
	return map[string]example{
		"POST /api/auth/register": {body: `{"email":"new@example.com","username":"newcomer","password":"` + password + `"}`, status: 201, badBody: `{"email":"x","username":"newcomer","password":"` + password + `"}`, field: "email"},
		"POST /api/auth/login":    {body: `{"username":"alice","password":"` + password + `"}`, status: 200, badBody: `{"username":"alice"}`, field: "password"},
		"POST /api/auth/refresh":  {body: `{"refreshToken":` + id(s.bob.RefreshToken) + `}`, status: 200, badBody: `{}`, field: "refreshToken"},
		"POST /api/auth/logout":   {body: `{"refreshToken":` + id(s.leaver.RefreshToken) + `}`, status: 204, badBody: `{"refreshToken":7}`, field: "refreshToken"},

		"GET /api/auth/profile":      {status: 200},
		"PATCH /api/auth/profile":    {body: `{"username":"alice"}`, status: 200, badBody: `{"username":"a b"}`, field: "username"},
		"POST /api/auth/password":    {body: `{"currentPassword":"` + password + `","newPassword":"` + password + `"}`, status: 204, badBody: `{"currentPassword":"x","newPassword":"short"}`, field: "newPassword"},
		"GET /api/auth/keys":         {status: 200},
		"POST /api/auth/keys":        {body: `{"name":"ci","scopes":["read"]}`, status: 201, badBody: `{"name":"ci","scopes":["x"]}`, field: "scopes[0]"},
		"DELETE /api/auth/keys/{id}": {status: 204},

		"POST /api/assets/upload":        {form: func() *form { return newForm().file("a.png", "", png("new")) }, status: 201, badForm: func() *form { return newForm().field("tags", "[").file("a.png", "", png("new")) }, field: "tags"},
		"GET /api/assets":                {query: "?fileType=IMAGE", status: 200, badQuery: "?limit=101", field: "limit"},
		"GET /api/assets/search":         {query: "?q=hero", status: 200, badQuery: "?q=", field: "q"},
		"GET /api/assets/{id}":           {status: 200},
		"GET /api/assets/{id}/download":  {status: 200},
		"GET /api/assets/{id}/thumbnail": {query: "?size=150", status: 200, badQuery: "?size=1", field: "size"},
		"POST /api/assets/{id}/restore":  {status: 200},
		"PUT /api/assets/{id}":           {body: `{"tags":["a"]}`, status: 200, badBody: `{"tags":"a"}`, field: "tags"},
		"PATCH /api/assets/{id}":         {body: `{"category":"x"}`, status: 200, badBody: `{"category":7}`, field: "category"},
		"DELETE /api/assets/{id}":        {status: 204, badQuery: "?permanent=perhaps", field: "permanent"},

		"GET /api/assets/{id}/versions":                    {status: 200},
		"POST /api/assets/{id}/versions":                   {form: func() *form { return newForm().file("a.png", "", png("second")) }, status: 201, badForm: func() *form { return newForm().field("tags", "a") }, field: "tags"},
		"GET /api/assets/{id}/versions/{version}/download": {status: 200},
		"POST /api/assets/bulk":                            {body: `{"ids":[` + id(s.asset.ID) + `],"addTags":["a"]}`, status: 200, badBody: `{"ids":[]}`, field: "ids"},
		"GET /api/assets/tags":                             {status: 200},
		"GET /api/assets/categories":                       {status: 200},

		"POST /api/uploads": {
			headers: []string{"Tus-Resumable", "1.0.0", "Upload-Length", "99", "Upload-Metadata", tusMetadata("filename", "a.png")}, status: 201,
			badHeaders: []string{"Tus-Resumable", "1.0.0", "Upload-Length", "-1"}, field: "Upload-Length",
		},
		"GET /api/uploads/{id}":  {status: 200},
		"HEAD /api/uploads/{id}": {headers: []string{"Tus-Resumable", "1.0.0"}, status: 200},
		"PATCH /api/uploads/{id}": {
			headers: []string{"Tus-Resumable", "1.0.0", "Content-Type", tusBody, "Upload-Offset", "5"}, body: "bytes", status: 204,
			badHeaders: []string{"Tus-Resumable", "1.0.0", "Content-Type", tusBody, "Upload-Offset", "-5"}, field: "Upload-Offset",
		},
		"POST /api/uploads/{id}": {
			headers: []string{"Tus-Resumable", "1.0.0", "X-HTTP-Method-Override", "DELETE"}, status: 204,
			badHeaders: []string{"Tus-Resumable", "1.0.0"}, field: "X-HTTP-Method-Override",
		},
		"DELETE /api/uploads/{id}": {headers: []string{"Tus-Resumable", "1.0.0"}, status: 204},

		"POST /api/projects":                         {body: `{"name":"Castle"}`, status: 201, badBody: `{"name":""}`, field: "name"},
		"GET /api/projects":                          {status: 200, badQuery: "?sortBy=x", field: "sortBy"},
		"GET /api/projects/{id}":                     {status: 200},
		"PUT /api/projects/{id}":                     {body: `{"name":"Castle"}`, status: 200, badBody: `{"name":7}`, field: "name"},
		"PATCH /api/projects/{id}":                   {body: `{"description":"x"}`, status: 200, badBody: `{"role":"owner"}`, field: "role"},
		"DELETE /api/projects/{id}":                  {status: 204},
		"POST /api/projects/{id}/duplicate":          {body: `{"name":"Copy"}`, status: 201, badBody: `{"name":7}`, field: "name"},
		"GET /api/projects/{id}/assets":              {status: 200, badQuery: "?limit=x", field: "limit"},
		"POST /api/projects/{id}/assets":             {body: `{"assetId":` + id(s.p.uploadPNG(s.alice.AccessToken, "more.png", png("more")).ID) + `}`, status: 201, badBody: `{}`, field: "assetIds"},
		"DELETE /api/projects/{id}/assets/{assetId}": {status: 204},
		"GET /api/projects/{id}/members":             {status: 200},
		"POST /api/projects/{id}/members":            {body: `{"username":"admin_1","role":"viewer"}`, status: 201, badBody: `{"username":"admin_1","role":"x"}`, field: "role"},
		"PATCH /api/projects/{id}/members/{userId}":  {body: `{"role":"viewer"}`, status: 204, badBody: `{"role":"x"}`, field: "role"},
		"DELETE /api/projects/{id}/members/{userId}": {status: 204},

		"GET /api/audit":              {status: 200, badQuery: "?createdAfter=x", field: "createdAfter"},
		"GET /api/admin/users":        {admin: true, status: 200, badQuery: "?limit=0", field: "limit"},
		"PATCH /api/admin/users/{id}": {admin: true, body: `{"role":"user"}`, status: 200, badBody: `{"role":"x"}`, field: "role"},
	}
}

// path fills in the parameters of a pattern's path.
func (s *scene) path(pattern string) string {
	_, path, _ := strings.Cut(pattern, " ")
	ids := map[string]uuid.UUID{"assets": s.asset.ID, "projects": s.project.ID, "auth": s.key.ID, "admin": s.bob.User.ID, "uploads": s.upload}
	return strings.NewReplacer("{id}", ids[strings.Split(path, "/")[2]].String(), "{assetId}", s.asset.ID.String(), "{userId}", s.member.User.ID.String(), "{version}", "1").Replace(path)
}

func (s *scene) send(pattern, token, query, body string, makeForm func() *form, headers []string) reply {
	s.p.t.Helper()
	method, _, _ := strings.Cut(pattern, " ")
	path := s.path(pattern) + query
	switch {
	case makeForm != nil:
		f := makeForm()
		f.writer.Close()
		return s.p.do(method, path, token, &f.buffer, append(headers, "Content-Type", f.writer.FormDataContentType())...)
	case body != "":
		if !slices.Contains(headers, "Content-Type") {
			headers = append(headers, "Content-Type", "application/json")
		}
		return s.p.do(method, path, token, strings.NewReader(body), headers...)
	}
	return s.p.do(method, path, token, nil, headers...)
}

// Every route of the document does what it says: it has an example that succeeds, is refused without a token, for somebody else's
// things and for bad input, with the field. What its answers hold, in body and headers, is in the document, and it takes the conditions
// that the document says, and no other.
func TestContract(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	doc := s.p.document()
	s.set(0)
	missing := s.examples()
	ids, n := map[string]bool{}, 0
	for path, operations := range doc.Paths {
		for method, op := range operations {
			pattern := strings.ToUpper(method) + " " + path
			if op.Summary == "" || ids[op.OperationID] {
				t.Errorf("%s: summary %q, id %s", pattern, op.Summary, op.OperationID)
			}
			ids[op.OperationID] = true
			for _, name := range pathParameters(path) {
				if !op.takes(name, "path") {
					t.Errorf("%s: the document does not tell of {%s}", pattern, name)
				}
			}
			if n++; n > 1 {
				s.set(n)
			}
			e, ok := s.examples()[pattern]
			if !ok {
				t.Errorf("%s has no example here", pattern)
				continue
			}
			delete(missing, pattern)
			for _, status := range []int{429, 503} {
				if doc.response(op, status).Headers["Retry-After"] == nil {
					t.Errorf("%s: the document does not tell of Retry-After with %d", pattern, status)
				}
			}
			if op.Responses["500"] == nil {
				t.Errorf("%s: the document does not tell of 500", pattern)
			}
			doc.try(t, s, pattern, e, op)
		}
	}
	for pattern := range missing {
		t.Errorf("%s is not in the document", pattern)
	}
}

// try sends the examples of a route, and compares the answers with the document.
func (d document) try(t *testing.T, s *scene, pattern string, e example, op operationDoc) {
	t.Helper()
	token := s.alice.AccessToken
	if e.admin {
		token = s.admin.AccessToken
	}
	send := func(token string, conditions ...string) reply {
		r := s.send(pattern, token, e.query, e.body, e.form, append(slices.Clone(e.headers), conditions...))
		d.checkHeaders(t, pattern, op, r)
		return r
	}
	refused := func(r reply, status int, code string) {
		t.Helper()
		if strings.HasPrefix(pattern, "HEAD ") { // its answers have no body
			r.want(status)
			return
		}
		d.check(t, pattern, jsonSchema{"$ref": "#/components/schemas/ErrorBody"}, r.wantProblem(status, code, "").json())
	}
	if e.badQuery != "" || e.badBody != "" || e.badForm != nil || e.badHeaders != nil {
		r := s.send(pattern, token, e.badQuery, e.badBody, e.badForm, e.badHeaders)
		r.wantProblem(http.StatusBadRequest, "VALIDATION_ERROR", e.field)
		d.checkHeaders(t, pattern, op, r)
	}
	if len(op.Security) > 0 {
		refused(send(""), http.StatusUnauthorized, "UNAUTHORIZED")
		if strings.Contains(pattern, "{id}") && !e.admin {
			refused(send(s.bob.AccessToken), http.StatusNotFound, "NOT_FOUND")
		}
		if e.admin {
			refused(send(s.alice.AccessToken), http.StatusForbidden, "FORBIDDEN")
		}
	}
	var others []string // conditions that the document does not know must not count
	if op.takes("If-Match", "header") {
		refused(send(token, "If-Match", `"other"`), http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	} else {
		others = append(others, "If-Match", `"other"`)
	}
	if op.takes("If-None-Match", "header") {
		send(token, "If-None-Match", "*").want(http.StatusNotModified)
	} else {
		others = append(others, "If-None-Match", "*")
	}
	if op.takes("Range", "header") {
		send(token, "Range", "bytes=0-1").want(http.StatusPartialContent)
		refused(send(token, "Range", "bytes=999999-"), http.StatusRequestedRangeNotSatisfiable, "RANGE_NOT_SATISFIABLE")
	}
	r := send(token, others...)
	if r.status != e.status {
		t.Errorf("%s: %d, want %d: %s", pattern, r.status, e.status, r.body)
	}
	if described, ok := d.response(op, e.status).Content["application/json"]; ok {
		d.check(t, pattern, described.Schema, r.json())
	}
	for _, status := range []int{http.StatusNotModified, http.StatusPreconditionFailed} {
		documented := op.Responses[fmt.Sprint(status)] != nil
		possible := op.takes("If-None-Match", "header")
		if status == http.StatusPreconditionFailed {
			possible = op.takes("If-Match", "header") || op.takes("Tus-Resumable", "header")
		}
		if documented != possible {
			t.Errorf("%s: the document tells of %d: %t", pattern, status, documented)
		}
	}
}
