package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// listAnswer is the body of a list.
type listAnswer struct {
	Data       []assetBody
	Pagination pagination
}

func (p *platform) list(token string, query ...string) listAnswer {
	p.t.Helper()
	var l listAnswer
	p.get("/api/assets"+queryString(query...), token).want(200).decode(&l)
	return l
}

func names(assets []assetBody) string {
	var all []string
	for _, a := range assets {
		all = append(all, a.OriginalName)
	}
	return strings.Join(all, " ")
}

func TestAssetHasEveryField(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "a.png", png("1"))
	var fields map[string]json.RawMessage
	for _, r := range []reply{p.get(assetPath(a.ID), token).want(200), p.get("/api/assets", token).want(200)} {
		if strings.HasPrefix(string(r.body), `{"data":[`) {
			var l struct{ Data []map[string]json.RawMessage }
			r.decode(&l)
			fields = l.Data[0]
		} else {
			fields = decode1[map[string]json.RawMessage](r)
		}
		for _, name := range []string{
			"id", "userId", "originalName", "fileType", "mimeType", "fileSize", "sha256", "version", "tags", "category",
			"metadata", "downloadUrl", "thumbnailUrl", "promptId", "projectIds", "createdAt", "updatedAt", "deletedAt",
		} {
			if _, ok := fields[name]; !ok {
				t.Errorf("no %s in %s", name, r.body)
			}
		}
		if len(fields) != 18 || string(fields["category"]) != "null" || string(fields["tags"]) != "[]" || !strings.HasSuffix(string(fields["createdAt"]), `Z"`) {
			t.Errorf("asset: %s", r.body)
		}
	}
	if a.ID.Version() != 7 {
		t.Errorf("the id's version is %d", a.ID.Version())
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	if l := p.list(token); l.Data == nil || len(l.Data) != 0 || l.Pagination.Total != 0 || l.Pagination.NextCursor != nil {
		t.Errorf("an empty list: %+v", l)
	}
	for i := range 7 {
		p.uploadPNG(token, fmt.Sprintf("%d.png", i), png(fmt.Sprint(i)))
	}
	if got := names(p.list(token).Data); got != "6.png 5.png 4.png 3.png 2.png 1.png 0.png" {
		t.Errorf("not newest first: %s", got)
	}
	l := p.list(token, "limit", "3", "page", "2", "sortBy", "originalName", "sortOrder", "asc")
	if names(l.Data) != "3.png 4.png 5.png" || *l.Pagination.Offset != 3 || *l.Pagination.Page != 2 || l.Pagination.TotalPages != 3 || l.Pagination.Total != 7 {
		t.Errorf("page 2: %s %+v", names(l.Data), l.Pagination)
	}
	if l := p.list(token, "limit", "3", "offset", "100"); len(l.Data) != 0 || l.Pagination.Total != 7 {
		t.Errorf("behind the end: %+v", l)
	}
	var all []assetBody
	for cursor := ""; ; {
		l := p.list(token, "limit", "2", "sortBy", "fileSize", "cursor", cursor)
		all = append(all, l.Data...)
		if cursor != "" && (l.Pagination.Page != nil || l.Pagination.Offset != nil) {
			t.Errorf("a page number behind a cursor: %+v", l.Pagination)
		}
		if l.Pagination.NextCursor == nil {
			break
		}
		cursor = *l.Pagination.NextCursor
		p.uploadPNG(token, "later.png", png("later "+cursor)) // does not shift what follows... it is larger
	}
	if got := names(all); strings.Count(got, ".png") != 7 || strings.Contains(got, "later") {
		t.Errorf("by cursor: %s", got)
	}
}

func TestListBadValues(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	p.uploadPNG(token, "a.png", png("1"))
	p.uploadPNG(token, "b.png", png("2"))
	next := *p.list(token, "limit", "1").Pagination.NextCursor
	for _, test := range []struct{ name, value, field string }{
		{"limit", "0", "limit"},
		{"limit", "101", "limit"},
		{"limit", "-1", "limit"},
		{"limit", "ten", "limit"},
		{"limit", "1e3", "limit"},
		{"limit", "99999999999999999999", "limit"},
		{"offset", "-1", "offset"},
		{"offset", "x", "offset"},
		{"page", "0", "page"},
		{"page", "-3", "page"},
		{"cursor", "x", "cursor"},
		{"cursor", "bnVsbA", "cursor"},
		{"cursor", "e30", "cursor"},
		{"fileType", "VIDEO", "fileType"},
		{"fileType", "image", "fileType"},
		{"tagMode", "some", "tagMode"},
		{"sortBy", "id; drop table assets", "sortBy"},
		{"sortBy", "sha256", "sortBy"},
		{"sortOrder", "up", "sortOrder"},
		{"createdAfter", "yesterday", "createdAfter"},
		{"createdBefore", "2026-13-01T00:00:00Z", "createdBefore"},
		{"category", "a\x00b", "category"},
		{"category", "\xff", "category"},
		{"tags", "a\x00b", "tags"},
		{"deleted", "maybe", "deleted"},
		{"category", strings.Repeat("x", 65), "category"},
		{"tags", strings.Repeat("x", 65), "tags"},
		{"search", "", "search"},
		{"minWidth", "", "minWidth"},
	} {
		p.get("/api/assets"+queryString(test.name, test.value), token).wantProblem(400, "VALIDATION_ERROR", test.field)
	}
	p.get("/api/assets"+queryString("cursor", next, "sortBy", "fileSize"), token).wantProblem(400, "VALIDATION_ERROR", "cursor")
	p.get("/api/assets"+queryString("cursor", next, "sortOrder", "asc"), token).wantProblem(400, "VALIDATION_ERROR", "cursor")
	p.get("/api/assets"+queryString("cursor", next, "page", "2"), token).wantProblem(400, "VALIDATION_ERROR", "page")
	p.get("/api/assets"+queryString("offset", "2", "page", "2"), token).wantProblem(400, "VALIDATION_ERROR", "page")
	forged := cursor{Sort: "createdAt", Value: "not a time", ID: uuid.New()}.String()
	p.get("/api/assets"+queryString("cursor", forged), token).wantProblem(400, "VALIDATION_ERROR", "cursor")
	for _, malformed := range []string{"?category=%zz", "?category=a;b", "?%zz&limit=1"} { // and no list of everything
		p.get("/api/assets"+malformed, token).wantProblem(400, "VALIDATION_ERROR", "query")
	}
	p.get("/api/assets?unknown=1&limit=", token).want(200) // unknown parameters are ignored, empty ones are absent
	p.get("/api/assets", "").wantProblem(401, "UNAUTHORIZED", "")
}

// A filter that did nothing would hand a script that deletes the whole library.
func TestListRefusesFiltersOfLaterVersions(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	for _, name := range laterFilters {
		r := p.get("/api/assets"+queryString(name, "1"), token).wantProblem(400, "VALIDATION_ERROR", name)
		if !strings.Contains(string(r.body), "is not supported by this version yet") {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	for _, name := range []string{"createdAfter", "createdBefore"} {
		r := p.get("/api/assets"+queryString(name, "yesterday"), token).wantProblem(400, "VALIDATION_ERROR", name)
		if !strings.Contains(string(r.body), "2026-01-31T18:00:00Z") || strings.Contains(string(r.body), "2006") {
			t.Errorf("%s: %s", name, r.body)
		}
	}
}

// What would list more than was meant, in silence, is refused.
func TestListRefusesEmptyAndRepeatedFilters(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	p.uploadPNG(token, "a.png", png("1"))
	for query, field := range map[string]string{
		"tags=": "tags", "tags": "tags", "tags=,": "tags", "tags=%20,%20": "tags", "tags=a&tags=": "tags", "category=": "category", "category=+": "category", "fileType=": "fileType",
		"tags=%E3%80%80": "tags", "tags=%C2%A0,": "tags", "category=%E3%80%80": "category", "search=%E3%80%80": "search", "search=%E3%80%80&sortBy=createdAt": "search",
		"createdAfter=": "createdAfter", "createdBefore=": "createdBefore", "deleted=": "deleted",
		"category=a&category=b": "category", "fileType=IMAGE&fileType=AUDIO": "fileType", "deleted=true&deleted=false": "deleted",
		"createdAfter=2026-01-01T00:00:00Z&createdAfter=2027-01-01T00:00:00Z": "createdAfter",
		"limit=1&limit=100":               "limit",
		"sortBy=fileSize&sortBy=fileSize": "sortBy",
	} {
		p.get("/api/assets?"+query, token).wantProblem(400, "VALIDATION_ERROR", field)
	}
	p.get("/api/assets?tags=a,b&tags=c&tags=,d&category=,&cursor=&other=&other=", token).want(200)
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	p.uploadPNG(p.register("bob").AccessToken, "bobs.png", png("bob"))
	p.upload(token, newForm().field("tags", `["勇者", "red"]`).field("category", "sprites").file("hero.png", "image/png", png("1"))).want(201)
	p.upload(token, newForm().field("tags", "red, Dragon's Lair").file("lair.png", "", png("2"))).want(201)
	start := time.Now()
	p.upload(token, newForm().file("jump.wav", "audio/wav", wav(-1, []byte("1234")))).want(201)
	for _, test := range []struct {
		query []string
		want  string
	}{
		{nil, "hero.png jump.wav lair.png"},
		{[]string{"fileType", "AUDIO"}, "jump.wav"},
		{[]string{"category", "sprites"}, "hero.png"},
		{[]string{"category", "spr%"}, ""},
		{[]string{"tags", "勇者,Dragon's Lair"}, "hero.png lair.png"},
		{[]string{"tags", "勇者", "tags", "red", "tagMode", "all"}, "hero.png"},
		{[]string{"tags", "red,勇者", "tagMode", "all"}, "hero.png"},
		{[]string{"tags", "' or 1=1 --"}, ""},
		{[]string{"createdAfter", start.Format(time.RFC3339Nano)}, "jump.wav"},
		{[]string{"createdBefore", start.Format(time.RFC3339Nano)}, "hero.png lair.png"},
		{[]string{"createdBefore", "0001-01-01T00:00:00Z"}, ""}, // the least time of many languages is a time
		{[]string{"createdAfter", "0001-01-01T00:00:00Z"}, "hero.png jump.wav lair.png"},
		{[]string{"deleted", "true"}, ""},
	} {
		l := p.list(token, append(test.query, "sortBy", "originalName", "sortOrder", "asc")...)
		if got := names(l.Data); got != test.want || int(l.Pagination.Total) != len(l.Data) {
			t.Errorf("%v: %s (total %d), want %s", test.query, got, l.Pagination.Total, test.want)
		}
	}
}

func TestGetAndDelete(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice").AccessToken, p.register("bob").AccessToken
	a := p.uploadPNG(alice, "a.png", png("1"))
	path := assetPath(a.ID)
	if got := decode1[assetBody](p.get(path, alice).want(200)); got.ID != a.ID || got.SHA256 != a.SHA256 {
		t.Errorf("got %+v", got)
	}
	for _, wrong := range []string{assetPath(uuid.New()), "/api/assets/1", "/api/assets/" + strings.Repeat("x", 36), "/api/assets/%00", "/api/assets/{" + a.ID.String() + "}"} {
		for _, method := range []string{"GET", "DELETE"} {
			p.do(method, wrong, alice, nil).wantProblem(404, "NOT_FOUND", "")
		}
	}
	for _, method := range []string{"GET", "DELETE"} {
		p.do(method, path, bob, nil).wantProblem(404, "NOT_FOUND", "")
		p.do(method, path+"?permanent=true", bob, nil).wantProblem(404, "NOT_FOUND", "")
		p.do(method, path, "", nil).wantProblem(401, "UNAUTHORIZED", "")
	}
	p.do("DELETE", path+"?permanent=perhaps", alice, nil).wantProblem(400, "VALIDATION_ERROR", "permanent")

	if r := p.do("DELETE", path, alice, nil).want(204); len(r.body) > 0 {
		t.Errorf("a 204 with the body %q", r.body)
	}
	p.get(path, alice).wantProblem(404, "NOT_FOUND", "")
	p.get(path+"/download", alice).want(200) // the trash can be looked at
	p.get(path+"/download", bob).wantProblem(404, "NOT_FOUND", "")
	p.do("DELETE", path, alice, nil).wantProblem(404, "NOT_FOUND", "")
	if trash := p.list(alice, "deleted", "true"); names(trash.Data) != "a.png" || trash.Data[0].DeletedAt == nil {
		t.Errorf("trash: %+v", trash)
	}
	if keys, _ := p.leftovers(); len(keys) != 1 {
		t.Errorf("the trash lost its bytes: %v", keys)
	}
	p.do("DELETE", path+"?permanent=true", alice, nil).want(204)
	if keys, notes := p.leftovers(); len(keys) != 0 || notes != 0 {
		t.Errorf("left after the purge: %v, %d notes", keys, notes)
	}
}

// What one reads can be kept, and what one deletes can be bound to what one has read.
func TestConditions(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	created := p.upload(token, newForm().file("a.png", "", png("1"))).want(201)
	path := assetPath(decode1[assetBody](created).ID)
	r := p.get(path, token).want(200)
	tag := r.header.Get("ETag")
	if tag == "" || strings.HasPrefix(tag, "W/") || tag != created.header.Get("ETag") || r.header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("headers: %v, at the upload %v", r.header, created.header)
	}
	for none, status := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200} {
		for _, method := range []string{"GET", "HEAD"} {
			r := p.do(method, path, token, nil, "If-None-Match", none).want(status)
			if status == 304 && len(r.body) > 0 || r.header.Get("ETag") != tag {
				t.Errorf("%s If-None-Match: %s: %v %s", method, none, r.header, r.body)
			}
		}
	}
	p.get(path, token, "If-Match", `"x"`).wantProblem(412, "PRECONDITION_FAILED", "")
	p.get(path, token, "If-Match", tag).want(200)

	p.exec(`update assets set category = 'x', updated_at = updated_at + interval '1 microsecond'`)
	changed := p.get(path, token, "If-None-Match", tag).want(200).header.Get("ETag")
	if changed == tag {
		t.Error("the tag did not change with the asset")
	}
	for _, query := range []string{"", "?permanent=true"} {
		for _, stale := range []string{tag, "W/" + changed, `"x"`, changed + "0", strings.Trim(changed, `"`), `"ffffffffffffffff"`, `"7fffffffffffffff"`, `"-1"`, ",", tag + `, "y"`} {
			p.do("DELETE", path+query, token, nil, "If-Match", stale).wantProblem(412, "PRECONDITION_FAILED", "")
		}
		p.do("DELETE", assetPath(uuid.New())+query, token, nil, "If-Match", changed).wantProblem(404, "NOT_FOUND", "")
		p.do("DELETE", path+query, p.register("bob"+fmt.Sprint(len(query))).AccessToken, nil, "If-Match", changed).wantProblem(404, "NOT_FOUND", "")
	}
	p.get(path, token).want(200)
	p.do("DELETE", path, token, nil, "If-Match", tag+" ,"+changed).want(204)
	p.do("DELETE", path, token, nil, "If-Match", changed).wantProblem(404, "NOT_FOUND", "") // in the trash, as without the condition
	p.do("DELETE", path+"?permanent=true", token, nil, "If-Match", changed).wantProblem(412, "PRECONDITION_FAILED", "")
	p.do("DELETE", path+"?permanent=true", token, nil, "If-Match", "*").want(204)
	p.wantNothing()
}

// Of many who delete what they have all read, one does.
func TestConditionalDeletesInParallel(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	path := assetPath(p.uploadPNG(token, "a.png", png("1")).ID)
	tag := p.get(path, token).want(200).header.Get("ETag")
	var deleted atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if status := p.do("DELETE", path, token, nil, "If-Match", tag).status; status == 204 {
				deleted.Add(1)
			} else if status != 404 && status != 412 {
				t.Errorf("status %d", status)
			}
		})
	}
	all.Wait()
	if deleted.Load() != 1 {
		t.Errorf("%d of them did", deleted.Load())
	}
}

// What the bucket does not delete now, the collector finds later.
func TestPurgeWhileTheBucketIsAway(t *testing.T) {
	t.Parallel()
	p := newPlatformWithS3(t)
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "a.png", png("1"))
	p.s3.Stop()
	p.do("DELETE", assetPath(a.ID)+"?permanent=true", token, nil).want(204)
	p.s3.Start(t)
	if keys, notes := p.leftovers(); len(keys) != 1 || notes != 1 {
		t.Errorf("%v, %d notes", keys, notes)
	}
	key, err := p.store.CollectObject(t.Context(), "", p.server.bucket.Discard)
	if err != nil || key == "" {
		t.Errorf("collected %q, %v", key, err)
	}
	if keys, notes := p.leftovers(); len(keys) != 0 || notes != 0 {
		t.Errorf("left: %v, %d notes", keys, notes)
	}
}

func TestParseTags(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                                  nil,
		"a, b ,,a":                          {"a", "b"},
		` ["a, b", "勇者", ""]`:               {"a, b", "勇者"},
		"Dragon's Lair;--":                  {"Dragon's Lair;--"},
		`["\ud83d\ude00", "\\ud800", "{}"]`: {"😀", `\ud800`, "{}"},
	} {
		if got, err := parseTags(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, bad := range []string{`["a"`, `[1]`, `[["a"]]`, `{"a":1}`, ` {"a":`, `["\ud83d"]`, `["\ude00\ud83d"]`, `["\ud83dx"]`, `["\ud83d\n"]`} {
		if _, err := parseTags(bad); err == nil || problemOf(err).status != http.StatusBadRequest {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A list of tags may come in several lines.
func TestConditionsInTwoLines(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "a.png", png("1"))
	for path, status := range map[string]int{assetPath(a.ID): 200, a.DownloadURL: 200} {
		r, err := http.NewRequest("GET", p.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "If-Match": {`"other"`, p.get(path, token).header.Get("ETag")}}
		p.send(r).want(status)
		r.Header["If-Match"] = []string{`"other"`, `"another"`}
		p.send(r).want(412)
	}
}

// Every route serves on when a later migration has added a column to each table.
func TestColumnsOfLaterMigrations(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	walk := func(name string) {
		p.register(name)
		s := decode1[sessionBody](p.login(name, password, "").want(200))
		s = decode1[sessionBody](p.refresh(s.RefreshToken).want(200))
		p.get("/api/auth/profile", s.AccessToken).want(200)
		a, b := p.uploadPNG(s.AccessToken, "a.png", png("1")), p.uploadPNG(s.AccessToken, "b.png", png("2"))
		for _, path := range []string{"/api/assets", assetPath(a.ID), a.DownloadURL} {
			p.get(path, s.AccessToken).want(200)
		}
		p.do("DELETE", assetPath(a.ID), s.AccessToken, nil).want(204)
		p.do("DELETE", assetPath(b.ID)+"?permanent=true", s.AccessToken, nil).want(204)
		p.post("/api/auth/logout", s.AccessToken, "{}").want(204)
	}
	walk("alice")
	for _, table := range []string{"users", "sessions", "refresh_tokens", "assets", "blobs", "object_intents"} {
		p.exec("alter table " + table + " add column later text not null default 'x'")
	}
	walk("bob")
}
