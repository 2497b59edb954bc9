package server

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// bulk sends a bulk edit of these assets.
func (p *platform) bulk(token, edit string, assets ...uuid.UUID) reply {
	p.t.Helper()
	ids, _ := json.Marshal(assets)
	return p.post("/api/assets/bulk", token, fmt.Sprintf(`{"ids":%s,%s}`, ids, edit))
}

func TestBulkEdit(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	hero := decode1[assetBody](p.upload(alice.AccessToken, newForm().field("tags", "a,b").file("hero.png", "", png("1"))).want(201))
	slime := p.uploadPNG(alice.AccessToken, "slime.png", png("2"))
	others := p.uploadPNG(bob.AccessToken, "bobs.png", png("3"))
	project := p.newProject(alice, "Village", slime)
	get := func(a assetBody) assetBody {
		t.Helper()
		return decode1[assetBody](p.get(assetPath(a.ID), alice.AccessToken).want(200))
	}

	edit := fmt.Sprintf(`"addTags":["c","a"],"removeTags":["b"],"category":"sprites","addToProject":%q`, project.ID)
	answer := decode1[bulkAnswer](p.bulk(alice.AccessToken, edit, hero.ID, slime.ID).want(200))
	if len(answer.Results) != 2 || !answer.Results[0].OK || answer.Results[0].ID != hero.ID.String() || answer.Results[0].Error != nil {
		t.Errorf("results: %+v", answer)
	}
	if a := get(hero); !slices.Equal(a.Tags, []string{"a", "c"}) || *a.Category != "sprites" || len(a.ProjectIDs) != 1 || !a.UpdatedAt.After(hero.UpdatedAt) {
		t.Errorf("hero: %+v", a)
	}
	if a := get(slime); !slices.Equal(a.Tags, []string{"c", "a"}) || len(a.ProjectIDs) != 1 {
		t.Errorf("slime: %+v", a)
	}

	// All or nothing, unless the request wants what can be done.
	unknown := uuid.New()
	r := p.bulk(alice.AccessToken, `"category":null,"addTags":["d"]`, hero.ID, others.ID, unknown).wantProblem(409, "CONFLICT", "ids[1]")
	r.wantProblem(409, "CONFLICT", "ids[2]")
	if a := get(hero); a.Category == nil || slices.Contains(a.Tags, "d") {
		t.Errorf("a refused edit changed %+v", a)
	}
	answer = decode1[bulkAnswer](p.bulk(alice.AccessToken, `"category":null,"partial":true`, hero.ID, others.ID, unknown).want(200))
	if !answer.Results[0].OK || answer.Results[1].OK || answer.Results[1].Error.Code != "NOT_FOUND" || answer.Results[2].OK {
		t.Errorf("results: %+v", answer)
	}
	if a := get(hero); a.Category != nil {
		t.Errorf("hero: %+v", a)
	}
	if a := decode1[assetBody](p.get(assetPath(others.ID), bob.AccessToken).want(200)); a.Category != others.Category || len(a.Tags) != 0 {
		t.Errorf("another user's asset was changed: %+v", a)
	}
	var many []string
	for i := range 49 {
		many = append(many, fmt.Sprintf("%q", fmt.Sprint("t", i)))
	}
	p.bulk(alice.AccessToken, `"addTags":[`+strings.Join(many, ",")+`]`, hero.ID).wantProblem(409, "CONFLICT", "ids[0]")

	p.bulk(alice.AccessToken, fmt.Sprintf(`"removeFromProject":%q`, project.ID), hero.ID).want(200)
	if got := p.names("/api/projects/"+project.ID.String()+"/assets", alice.AccessToken); !slices.Equal(got, []string{"slime.png"}) {
		t.Errorf("in the project: %v", got)
	}
	p.bulk(alice.AccessToken, `"delete":true`, hero.ID, slime.ID).want(200)
	if got := p.names("/api/assets", alice.AccessToken); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestBulkEditRefusals(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	hero := p.uploadPNG(alice.AccessToken, "hero.png", png("1"))
	project := p.newProject(bob, "Village")
	for edit, field := range map[string]string{
		`"addTags":["` + strings.Repeat("x", 65) + `"]`: "addTags", `"removeTags":["\u0000"]`: "removeTags", `"category":7`: "category",
		`"addToProject":"x"`: "addToProject", `"removeFromProject":"x"`: "removeFromProject", `"userId":"x"`: "userId",
	} {
		p.bulk(alice.AccessToken, edit, hero.ID).wantProblem(400, "VALIDATION_ERROR", field)
	}
	p.post("/api/assets/bulk", alice.AccessToken, `{"ids":[]}`).wantProblem(400, "VALIDATION_ERROR", "ids")
	p.post("/api/assets/bulk", alice.AccessToken, `{"ids":["x"],"delete":true}`).wantProblem(400, "VALIDATION_ERROR", "ids")
	p.bulk(alice.AccessToken, `"partial":true,"addTags":[" "],"delete":false`, hero.ID).wantProblem(400, "VALIDATION_ERROR", "body")
	p.bulk(alice.AccessToken, fmt.Sprintf(`"addToProject":%q`, project.ID), hero.ID).wantProblem(404, "NOT_FOUND", "")

	// The roles of a project hold: an editor changes what is in it and deletes nothing of others, a viewer changes nothing.
	p.join(bob, project, alice, "editor")
	bobs := p.uploadPNG(bob.AccessToken, "bobs.png", png("2"))
	p.post("/api/projects/"+project.ID.String()+"/assets", bob.AccessToken, fmt.Sprintf(`{"assetId":%q}`, bobs.ID)).want(201)
	p.bulk(alice.AccessToken, `"addTags":["x"]`, bobs.ID).want(200)
	p.bulk(alice.AccessToken, `"delete":true`, bobs.ID).wantProblem(409, "CONFLICT", "ids[0]")
	p.patch("/api/projects/"+project.ID.String()+"/members/"+alice.User.ID.String(), bob.AccessToken, `{"role":"viewer"}`).want(204)
	p.bulk(alice.AccessToken, `"addTags":["y"]`, bobs.ID).wantProblem(409, "CONFLICT", "ids[0]")
	p.bulk(alice.AccessToken, fmt.Sprintf(`"addToProject":%q`, project.ID), hero.ID).wantProblem(403, "FORBIDDEN", "")
}

// Bulk edits and single ones of the same assets neither lose a tag nor wait for each other for ever.
func TestConcurrentBulkEdits(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	var ids []uuid.UUID
	for i := range 6 {
		ids = append(ids, p.uploadPNG(alice.AccessToken, "a.png", png(fmt.Sprint(i))).ID)
	}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			order := slices.Clone(ids)
			if i%2 == 0 {
				slices.Reverse(order)
			}
			p.bulk(alice.AccessToken, fmt.Sprintf(`"addTags":["t%d"]`, i), order...).want(200)
			p.patch(assetPath(ids[i%len(ids)]), alice.AccessToken, `{"category":"c"}`).want(200)
		})
	}
	wg.Wait()
	for _, id := range ids {
		if a := decode1[assetBody](p.get(assetPath(id), alice.AccessToken).want(200)); len(a.Tags) != 12 {
			t.Errorf("tags were lost: %v", a.Tags)
		}
	}
}

// The most that one edit may say is done in time, and what is searchable of it is bounded.
// Edits of one asset, in bulk and by itself, at a time: none is lost.
func TestBulkEditAgainstEdit(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "hero.png", png("1"))
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { p.bulk(token, fmt.Sprintf(`"addTags":["tag %d"]`, i), a.ID).want(200) })
		all.Go(func() {
			for {
				now := p.get(assetPath(a.ID), token).want(200)
				tags := append(decode1[assetBody](now).Tags, fmt.Sprint("other ", i))
				body, _ := json.Marshal(map[string]any{"tags": tags}) // of texts
				switch r := p.patch(assetPath(a.ID), token, string(body), "If-Match", now.header.Get("ETag")); r.status {
				case 200:
					return
				case 412, 409: // somebody was faster: again, from what is there now
				default:
					t.Errorf("%d: %s", r.status, r.body)
					return
				}
			}
		})
	}
	all.Wait()
	if got := decode1[assetBody](p.get(assetPath(a.ID), token).want(200)); len(got.Tags) != 40 {
		t.Errorf("%d of 40 tags are there: %q", len(got.Tags), got.Tags)
	}
}

func TestBulkEditOfManyTags(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	p.uploadPNG(alice.AccessToken, "one.png", png("1"))
	assets := 500
	if os.Getenv("SOAK") != "" {
		assets = 200 // within the deadline of a request, which the race detector makes go on for five times as long
	}
	p.fill(alice, assets, "'sword ' || i")
	var text string
	p.query("select json_agg(id) from assets where original_name <> 'one.png'", &text)
	var ids []uuid.UUID
	if err := json.Unmarshal([]byte(text), &ids); err != nil {
		t.Fatal(err)
	}
	tags := make([]string, 50)
	for i := range tags {
		for j := range 64 {
			tags[i] += string(rune('\u4e00' + 64*i + j))
		}
	}
	added, _ := json.Marshal(tags)
	p.bulk(alice.AccessToken, `"addTags":`+string(added), ids...).want(200)
	var most int
	if p.query("select max(cardinality(grams)) from assets", &most); most > 1000 {
		t.Errorf("%d pieces of one asset in the index", most)
	}
	for query, want := range map[[2]string]int64{{"search", tags[0][3:30]}: int64(assets), {"search", tags[49]}: 0, {"tags", tags[49]}: int64(assets)} {
		if got := p.list(alice.AccessToken, query[:]...); got.Pagination.Total != want {
			t.Errorf("%s: %d, want %d", query, got.Pagination.Total, want)
		}
	}
}

func TestPickers(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	for i, tags := range []string{"red,勇者", "red", "blue"} {
		p.upload(alice.AccessToken, newForm().field("tags", tags).field("category", "sprites").file("a.png", "", png(fmt.Sprint(i)))).want(201)
	}
	gone := decode1[assetBody](p.upload(alice.AccessToken, newForm().field("tags", "gone").field("category", "old").file("a.png", "", png("x"))).want(201))
	p.delete(assetPath(gone.ID), alice.AccessToken).want(204)
	if got := decode1[[]nameCountBody](p.get("/api/assets/tags", alice.AccessToken).want(200)); !slices.Equal(got, []nameCountBody{{"red", 2}, {"blue", 1}, {"勇者", 1}}) {
		t.Errorf("tags: %v", got)
	}
	if got := decode1[[]nameCountBody](p.get("/api/assets/categories", alice.AccessToken).want(200)); !slices.Equal(got, []nameCountBody{{"sprites", 3}}) {
		t.Errorf("categories: %v", got)
	}
	if got := decode1[[]nameCountBody](p.get("/api/assets/tags", bob.AccessToken).want(200)); len(got) != 0 {
		t.Errorf("bob sees %v", got)
	}
	shared := decode1[assetBody](p.upload(alice.AccessToken, newForm().field("tags", "hut").field("category", "houses").file("hut.png", "", png("hut"))).want(201))
	project := p.newProject(alice, "Village", shared)
	p.join(alice, project, bob, "viewer")
	for picker, want := range map[string]nameCountBody{"tags": {"hut", 1}, "categories": {"houses", 1}} {
		path := "/api/assets/" + picker + "?projectId="
		if got := decode1[[]nameCountBody](p.get(path+project.ID.String(), bob.AccessToken).want(200)); !slices.Equal(got, []nameCountBody{want}) {
			t.Errorf("%s of the project: %v", picker, got)
		}
		p.get(path+project.ID.String(), p.register("carol"+picker).AccessToken).wantProblem(404, "NOT_FOUND", "")
		p.get(path+"x", bob.AccessToken).wantProblem(400, "VALIDATION_ERROR", "projectId")
	}
}
