package server

import (
	"net/http"
	"strings"
	"testing"
)

// leastRole is who of a project may use a route that names something in it. Routes of one's own things alone are not here.
var leastRole = map[string]string{
	"GET /api/assets/{id}": "viewer", "GET /api/assets/{id}/download": "viewer", "GET /api/assets/{id}/thumbnail": "viewer",
	"GET /api/assets/{id}/versions": "viewer", "GET /api/assets/{id}/versions/{version}/download": "viewer",
	"PUT /api/assets/{id}": "editor", "PATCH /api/assets/{id}": "editor", "POST /api/assets/{id}/versions": "editor",
	"DELETE /api/assets/{id}": "owner", "POST /api/assets/{id}/restore": "owner",

	"GET /api/projects/{id}": "viewer", "GET /api/projects/{id}/assets": "viewer", "GET /api/projects/{id}/members": "viewer",
	"POST /api/projects/{id}/duplicate": "viewer", "PUT /api/projects/{id}": "editor", "PATCH /api/projects/{id}": "editor",
	"DELETE /api/projects/{id}/assets/{assetId}": "editor", "DELETE /api/projects/{id}": "owner", "POST /api/projects/{id}/members": "owner",
	"PATCH /api/projects/{id}/members/{userId}":  "owner",
	"DELETE /api/projects/{id}/members/{userId}": "editor", // it is the editor's own membership
}

// Every route of the document is tried by a stranger, by each role, and by API keys without its scope: who may not does not learn that
// there is something, or is told that the role does not do; and nothing of alice's is in what others get.
func TestMatrix(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	viewer := s.p.register("viewer")
	var doc document
	s.p.get("/api/openapi.json", "").want(200).decode(&doc)
	readKey, writeKey := s.p.newKey(s.alice, `["read"]`), s.p.newKey(s.alice, `["write"]`)
	tried := map[string]bool{}
	n := 1000
	for path, operations := range doc.Paths {
		for method, op := range operations {
			pattern := strings.ToUpper(method) + " " + path
			if len(op.Security) == 0 {
				continue
			}
			ask := func(token string) reply { // everything is made anew, for a request may have used it up
				t.Helper()
				n++
				s.set(n)
				s.p.join(s.alice, s.project, viewer, "viewer")
				e := s.examples()[pattern]
				return s.send(pattern, token, e.query, e.body, e.form, e.headers)
			}
			e := s.examples()[pattern]
			if e.admin {
				continue // TestContract tries those
			}
			if r := ask(s.bob.AccessToken); strings.Contains(path, "{id}") && r.status != http.StatusNotFound {
				t.Errorf("%s by a stranger: %d", pattern, r.status)
			} else if text := string(r.body); strings.Contains(text, s.alice.User.ID.String()) || strings.Contains(text, "hero.png") || strings.Contains(text, s.asset.ID.String()) && r.status < 300 {
				t.Errorf("%s tells a stranger: %s", pattern, text)
			}
			if least, ok := leastRole[pattern]; ok {
				tried[pattern] = true
				for role, token := range map[string]string{"viewer": viewer.AccessToken, "editor": s.member.AccessToken} {
					want := e.status
					if least == "owner" || least == "editor" && role == "viewer" {
						want = http.StatusForbidden
					}
					if r := ask(token); r.status != want {
						t.Errorf("%s by a %s: %d, want %d; %s", pattern, role, r.status, want, r.body)
					}
				}
			}
			// Without its scope, a key is refused before anything else is looked at.
			key := readKey.Key
			if method == "get" {
				key = writeKey.Key
			}
			if r := ask(key); r.status != http.StatusForbidden {
				t.Errorf("%s by a key without its scope: %d %s", pattern, r.status, r.body)
			}
		}
	}
	for pattern := range leastRole {
		if !tried[pattern] {
			t.Errorf("%s is not in the document", pattern)
		}
	}
}
