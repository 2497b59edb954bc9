package server

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	for i, a := range []struct{ name, tags string }{
		{"伝説の勇者.png", ""},
		{"Goblin_walk.png", "enemy"},
		{"walk goblin.png", ""},
		{"hobgoblin.png", ""},
		{"slime.png", "goblin,緑"},
		{"100%_done.png", ""},
		{"ﾄﾞﾗｺﾞﾝ.png", ""},
		{"Straße.png", ""},
		{"Dragon's Lair; --.png", ""},
		{`back\slash.png`, ""},
	} {
		f := newForm()
		if a.tags != "" {
			f.field("tags", a.tags)
		}
		p.upload(alice.AccessToken, f.file(a.name, "", png(fmt.Sprint(i)))).want(201)
	}
	p.uploadPNG(bob.AccessToken, "bobs goblin.png", png("bob"))
	find := func(q string) []string { return p.names("/api/assets/search"+queryString("q", q), alice.AccessToken) }
	for q, want := range map[string][]string{
		"勇者":          {"伝説の勇者.png"},
		"勇":           {"伝説の勇者.png"},
		"の勇者":         {"伝説の勇者.png"},
		"gob":         {"Goblin_walk.png", "hobgoblin.png", "walk goblin.png", "slime.png"}, // beginnings, then names, then tags; the newest first
		"GOBLIN":      {"Goblin_walk.png", "hobgoblin.png", "walk goblin.png", "slime.png"},
		"walk gob":    {"walk goblin.png", "Goblin_walk.png"},
		"slime 緑":     {"slime.png"},
		"%":           {"100%_done.png"},
		"%_d":         {"100%_done.png"},
		"ドラゴン":        {"ﾄﾞﾗｺﾞﾝ.png"},
		"どらごん":        {"ﾄﾞﾗｺﾞﾝ.png"},
		"STRASSE":     {"Straße.png"},
		"n's lair; -": {"Dragon's Lair; --.png"},
		"enemy":       {"Goblin_walk.png"},
		"zzz":         nil,
		"slime walk":  nil,
	} {
		if got := find(q); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", q, got, want)
		}
		if len(want) == 0 {
			continue
		}
		got := p.names("/api/assets"+queryString("search", q, "sortBy", "originalName", "sortOrder", "asc"), alice.AccessToken)
		if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
			t.Errorf("%s by name: %v, want %v", q, got, want)
		}
	}

	// Other filters hold as well, and pages follow each other.
	if got := p.names("/api/assets/search?q=goblin&tags=enemy", alice.AccessToken); !slices.Equal(got, []string{"Goblin_walk.png"}) {
		t.Errorf("with a tag: %v", got)
	}
	for _, limit := range []int{1, 2, 3} {
		var seen []string
		for path := fmt.Sprintf("/api/assets/search?q=gob&limit=%d", limit); ; {
			var page list[assetBody]
			p.get(path, alice.AccessToken).want(200).decode(&page.Body)
			for _, a := range page.Body.Data {
				seen = append(seen, a.OriginalName)
			}
			if page.Body.Pagination.Total != 4 || len(page.Body.Data) == 0 {
				t.Fatalf("limit %d: %+v", limit, page.Body.Pagination)
			}
			if page.Body.Pagination.NextCursor == nil {
				break
			}
			path = fmt.Sprintf("/api/assets/search?q=gob&limit=%d&cursor=%s", limit, *page.Body.Pagination.NextCursor)
		}
		if want := find("gob"); !slices.Equal(seen, want) {
			t.Errorf("by %d: %v", limit, seen)
		}
	}
	for offset, want := range find("gob") {
		if got := p.names(fmt.Sprintf("/api/assets/search?q=gob&limit=1&offset=%d", offset), alice.AccessToken); !slices.Equal(got, []string{want}) {
			t.Errorf("offset %d: %v, want %s", offset, got, want)
		}
	}

	for query, field := range map[string]string{
		"/api/assets/search": "q", "/api/assets/search?q=": "q", "/api/assets/search?q=%20": "q", "/api/assets/search?q=a%00": "q", "/api/assets?search=%20": "search",
		"/api/assets/search?q=%E3%80%80": "q", "/api/assets/search?q=%C2%A0&sortBy=createdAt": "q",
		"/api/assets?sortBy=rank": "sortBy", "/api/assets?search=a&sortOrder=asc": "sortOrder", "/api/assets/search?q=a&cursor=x": "cursor", "/api/assets/search?q=a&search=b": "search",
		"/api/assets?search=a+b+c+d+e+f+g+h+i": "search", "/api/assets?search=%E3%80%80": "search",
	} {
		p.get(query, alice.AccessToken).wantProblem(400, "VALIDATION_ERROR", field)
	}
}

// fill gives a user so many assets at once, named by an expression of their number i, the older the higher it is. They share the bytes of
// one that was uploaded.
func (p *platform) fill(user sessionBody, count int, name string) {
	p.t.Helper()
	p.exec(fmt.Sprintf(`insert into assets (id, user_id, sha256, original_name, file_type, mime_type, file_size, created_at)
select gen_random_uuid(), b.user_id, b.sha256, %s, 'IMAGE', 'image/png', b.size, now() - i * interval '1 second'
from generate_series(1, %d) i, (select * from blobs where user_id = '%s' limit 1) b`, name, count, user.User.ID))
	for found := 1; found > 0; {
		var err error
		if found, err = p.store.IndexAssets(p.t.Context(), 500); err != nil {
			p.t.Fatal(err)
		}
	}
	p.exec("analyze assets")
}

// Each is on one page, also by offset and where a rank has more than are counted.
func TestSearchPagesOfMany(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	p.uploadPNG(alice.AccessToken, "one.png", png("1"))
	p.fill(alice, 1250, "'sword ' || i")
	p.fill(alice, 1250, "'old sword ' || i")
	walk := func(search string, next func(list[assetBody], int) string) (names []string) {
		t.Helper()
		seen := map[uuid.UUID]bool{}
		for query := ""; ; {
			var page list[assetBody]
			p.get("/api/assets?"+search+"&limit=100"+query, alice.AccessToken).want(200).decode(&page.Body)
			for _, a := range page.Body.Data {
				seen[a.ID] = true
				names = append(names, a.OriginalName)
			}
			if len(names) != len(seen) {
				t.Fatalf("%s: %d of %d are twice there", search, len(names)-len(seen), len(names))
			}
			if page.Body.Pagination.NextCursor == nil {
				return names
			}
			query = next(page, len(names))
		}
	}
	// In the order of ranks, as many as are sorted after they were gathered, and few, whose ids are known.
	for search, want := range map[string]int{"search=sword": 2500, "search=sword&sortBy=originalName": 2500, "search=old&sortBy=originalName": 1250, "search=old+12&sortBy=originalName": 83} {
		byOffset := walk(search, func(_ list[assetBody], count int) string { return fmt.Sprintf("&offset=%d", count) })
		byCursor := walk(search, func(page list[assetBody], _ int) string { return "&cursor=" + *page.Body.Pagination.NextCursor })
		if len(byOffset) != want || !slices.Equal(byOffset, byCursor) {
			t.Errorf("%s: %d by offset, %d by cursor, want %d in the same order", search, len(byOffset), len(byCursor), want)
		}
		if strings.Contains(search, "originalName") && !slices.IsSortedFunc(byOffset, func(a, b string) int { return strings.Compare(b, a) }) {
			t.Errorf("%s: not sorted", search)
		}
	}
	if got := p.names("/api/assets?search=sword&offset=2500", alice.AccessToken); len(got) != 0 {
		t.Errorf("behind the end: %v", got)
	}
}

// What changes is found as it is now, and in a project what anybody put into it.
func TestSearchFollowsChanges(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	hero := p.uploadPNG(alice.AccessToken, "hero.png", png("1"))
	find := func(token, q string) []string { return p.names("/api/assets/search?q="+q, token) }
	p.patch(assetPath(hero.ID), alice.AccessToken, `{"originalName":"knight.png","tags":["blue"]}`).want(200)
	if len(find(alice.AccessToken, "hero")) != 0 || len(find(alice.AccessToken, "knight")) != 1 || len(find(alice.AccessToken, "blue")) != 1 {
		t.Error("a changed name or tag is not found, or a former one is")
	}
	p.bulk(alice.AccessToken, `"addTags":["silver"],"removeTags":["blue"]`, hero.ID).want(200)
	if len(find(alice.AccessToken, "silver")) != 1 || len(find(alice.AccessToken, "blue")) != 0 {
		t.Error("tags of a bulk edit are not found")
	}
	project := p.newProject(alice, "Village", hero)
	p.join(alice, project, bob, "viewer")
	for _, q := range []string{"knight", "silver", "nig"} {
		if got := find(bob.AccessToken, q+"&projectId="+project.ID.String()); !slices.Equal(got, []string{"knight.png"}) {
			t.Errorf("%s in the project: %v", q, got)
		}
	}
	if len(find(bob.AccessToken, "knight")) != 0 {
		t.Error("bob's own library has alice's asset")
	}
	p.delete(assetPath(hero.ID), alice.AccessToken).want(204)
	if len(find(alice.AccessToken, "knight")) != 0 || len(find(alice.AccessToken, "knight&deleted=true")) != 1 {
		t.Error("the trash is not kept apart")
	}
}

// A search that finds nothing finds what is like it, and says so.
func TestSearchToleratesTypos(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	for i, name := range []string{"goblin_walk.png", "dragon.png", "legendary_hero.png"} {
		p.uploadPNG(alice.AccessToken, name, png(fmt.Sprint(i)))
	}
	for q, want := range map[string]string{
		"gobln": "goblin_walk.png", "goblim": "goblin_walk.png", "drgaon": "", "dragoon": "dragon.png", "legandary_heero": "legendary_hero.png", "xyzzy": "",
		"gobln walk": "goblin_walk.png", "legendray hero": "legendary_hero.png", "legendery heroo": "legendary_hero.png", "walk goblim": "goblin_walk.png", "goblim xyzzy": "", "goblim run": "", "goblin dragon": "",
	} {
		var page list[assetBody]
		p.get("/api/assets/search?q="+url.QueryEscape(q), alice.AccessToken).want(200).decode(&page.Body)
		got := ""
		if len(page.Body.Data) > 0 {
			got = page.Body.Data[0].OriginalName
		}
		if got != want || page.Body.Pagination.Approximate != (want != "") || page.Body.Pagination.Total != int64(len(page.Body.Data)) {
			t.Errorf("%s: %q, %+v", q, got, page.Body.Pagination)
		}
	}

	// Also in a project, whose assets have several owners, and among many that are rather like it.
	bob := p.register("bob")
	dragon := decode1[[]assetBody](p.get("/api/assets?search=dragon", alice.AccessToken).want(200))
	project := p.newProject(alice, "Village", dragon...)
	p.join(alice, project, bob, "editor")
	sword := p.uploadPNG(bob.AccessToken, "silver_sword_0007.png", png("sword"))
	p.post("/api/projects/"+project.ID.String()+"/assets", bob.AccessToken, fmt.Sprintf(`{"assetId":%q}`, sword.ID)).want(201)
	p.fill(bob, 1000, "'silver_sword_1' || lpad(i::text, 3, '0')")
	for q, want := range map[string]string{"dragoon": "dragon.png", "gobln": "", "silver+sword+0007": "silver_sword_0007.png"} {
		for _, user := range []sessionBody{alice, bob} {
			if got := strings.Join(p.names("/api/assets?search="+q+"&projectId="+project.ID.String(), user.AccessToken), " "); got != want {
				t.Errorf("%s in the project, by %s: %q, want %q", q, user.User.Username, got, want)
			}
		}
	}
	if got := p.names("/api/assets?search=silver+sword+0007", bob.AccessToken); len(got) == 0 || got[0] != "silver_sword_0007.png" {
		t.Errorf("among many: %v", got)
	}
}
