package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

func (p *platform) patch(path, token, body string, headers ...string) reply {
	p.t.Helper()
	return p.do("PATCH", path, token, strings.NewReader(body), append(headers, "Content-Type", "application/json")...)
}

func (p *platform) delete(path, token string, headers ...string) reply {
	p.t.Helper()
	return p.do("DELETE", path, token, nil, headers...)
}

// newProject makes a project with some assets of its owner.
func (p *platform) newProject(owner sessionBody, name string, assets ...assetBody) projectBody {
	p.t.Helper()
	project := decode1[projectBody](p.post("/api/projects", owner.AccessToken, fmt.Sprintf(`{"name":%q}`, name)).want(201))
	for _, asset := range assets {
		project = decode1[projectBody](p.post("/api/projects/"+project.ID.String()+"/assets", owner.AccessToken, fmt.Sprintf(`{"assetId":%q}`, asset.ID)).want(201))
	}
	return project
}

// join makes somebody a member.
func (p *platform) join(owner sessionBody, project projectBody, member sessionBody, role string) {
	p.t.Helper()
	p.post("/api/projects/"+project.ID.String()+"/members", owner.AccessToken, fmt.Sprintf(`{"username":%q,"role":%q}`, member.User.Username, role)).want(201)
}

// names are those of the assets that a list answers.
func (p *platform) names(path, token string) (names []string) {
	p.t.Helper()
	var answer list[assetBody]
	p.get(path, token).want(200).decode(&answer.Body)
	for _, a := range answer.Body.Data {
		names = append(names, a.OriginalName)
	}
	return names
}

func TestProjects(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	hero, slime := p.uploadPNG(alice.AccessToken, "hero.png", png("1")), p.uploadPNG(alice.AccessToken, "slime.png", png("2"))
	r := p.post("/api/projects", alice.AccessToken, `{"name":" 勇者の村 ","description":"Line 1\nDragon's Lair; --"}`).want(201)
	project := decode1[projectBody](r)
	if project.Name != "勇者の村" || project.Description != "Line 1\nDragon's Lair; --" || project.Role != "owner" || project.UserID != alice.User.ID || project.Counts.Assets != 0 {
		t.Errorf("made %s", r.body)
	}
	path := "/api/projects/" + project.ID.String()
	if r.header.Get("Location") != path {
		t.Errorf("Location %q", r.header.Get("Location"))
	}
	p.post(path+"/assets", alice.AccessToken, fmt.Sprintf(`{"assetIds":[%q,%q,%q]}`, hero.ID, slime.ID, hero.ID)).want(201)
	p.post(path+"/assets", alice.AccessToken, fmt.Sprintf(`{"assetId":%q}`, hero.ID)).wantProblem(409, "CONFLICT", "")
	p.post(path+"/assets", alice.AccessToken, fmt.Sprintf(`{"assetId":%q}`, uuid.New())).wantProblem(404, "NOT_FOUND", "")
	p.post(path+"/assets", alice.AccessToken, `{}`).wantProblem(400, "VALIDATION_ERROR", "assetIds")
	if got := p.names(path+"/assets?sortBy=originalName&sortOrder=asc", alice.AccessToken); !slices.Equal(got, []string{"hero.png", "slime.png"}) {
		t.Errorf("assets: %v", got)
	}
	if got := p.names("/api/assets?projectId="+project.ID.String()+"&fileType=AUDIO", alice.AccessToken); len(got) != 0 {
		t.Errorf("sounds: %v", got)
	}
	if a := decode1[assetBody](p.get("/api/assets/"+hero.ID.String(), alice.AccessToken).want(200)); !slices.Equal(a.ProjectIDs, []uuid.UUID{project.ID}) {
		t.Errorf("projectIds: %v", a.ProjectIDs)
	}

	// What changes its representation changes its entity tag; a change can be bound to one.
	first := p.get(path, alice.AccessToken).want(200)
	p.delete(path+"/assets/"+slime.ID.String(), alice.AccessToken).want(204)
	p.delete(path+"/assets/"+slime.ID.String(), alice.AccessToken).wantProblem(404, "NOT_FOUND", "")
	p.get(path, alice.AccessToken, "If-None-Match", first.header.Get("ETag")).want(200)
	p.patch(path, alice.AccessToken, `{"name":"Village"}`, "If-Match", first.header.Get("ETag")).wantProblem(412, "PRECONDITION_FAILED", "")
	second := p.get(path, alice.AccessToken).want(200)
	p.get(path, alice.AccessToken, "If-None-Match", second.header.Get("ETag")).want(304)
	renamed := decode1[projectBody](p.patch(path, alice.AccessToken, `{"name":"Village"}`, "If-Match", second.header.Get("ETag")).want(200))
	if renamed.Name != "Village" || renamed.Description != project.Description || renamed.Counts.Assets != 1 || !renamed.UpdatedAt.After(project.UpdatedAt) {
		t.Errorf("renamed: %+v", renamed)
	}
	p.delete("/api/assets/"+hero.ID.String(), alice.AccessToken).want(204)
	if got := decode1[projectBody](p.get(path, alice.AccessToken).want(200)); got.Counts.Assets != 0 {
		t.Errorf("what is in the trash counts: %+v", got)
	}

	other := p.newProject(alice, "Castle", slime)
	var listed list[projectBody]
	p.get("/api/projects?sortBy=name&sortOrder=asc&limit=1", alice.AccessToken).want(200).decode(&listed.Body)
	if len(listed.Body.Data) != 1 || listed.Body.Data[0].ID != other.ID || listed.Body.Data[0].Counts.Assets != 1 || listed.Body.Pagination.Total != 2 {
		t.Fatalf("first page: %+v", listed.Body)
	}
	p.get("/api/projects?sortBy=name&sortOrder=asc&limit=1&cursor="+*listed.Body.Pagination.NextCursor, alice.AccessToken).want(200).decode(&listed.Body)
	if len(listed.Body.Data) != 1 || listed.Body.Data[0].ID != project.ID || listed.Body.Pagination.NextCursor != nil {
		t.Errorf("second page: %+v", listed.Body)
	}
	p.get("/api/projects?search=CAST", alice.AccessToken).want(200).decode(&listed.Body)
	if len(listed.Body.Data) != 1 || listed.Body.Data[0].ID != other.ID {
		t.Errorf("found: %+v", listed.Body.Data)
	}
	if profile := decode1[profileBody](p.get("/api/auth/profile", alice.AccessToken).want(200)); profile.Counts != (countsBody{Assets: 1, Projects: 2}) {
		t.Errorf("counts: %+v", profile.Counts)
	}
	p.get("/api/projects", bob.AccessToken).want(200).decode(&listed.Body)
	if len(listed.Body.Data) != 0 {
		t.Errorf("bob sees %+v", listed.Body.Data)
	}
	p.get(path, bob.AccessToken).wantProblem(404, "NOT_FOUND", "")

	p.delete(path, alice.AccessToken, "If-Match", first.header.Get("ETag")).wantProblem(412, "PRECONDITION_FAILED", "")
	p.delete(path, alice.AccessToken).want(204)
	p.get(path, alice.AccessToken).want(404)
	p.get("/api/assets/"+slime.ID.String(), alice.AccessToken).want(200)
}

func TestProjectRefusals(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	for _, test := range []struct{ body, field string }{
		{`{}`, "name"},
		{`{"name":"  "}`, "name"},
		{`{"name":"` + strings.Repeat("x", 101) + `"}`, "name"},
		{`{"name":"a\u0007"}`, "name"},
		{`{"name":"x","description":"` + strings.Repeat("x", 501) + `"}`, "description"},
		{`{"name":"x","description":"\u0000"}`, "description"},
		{`{"name":"x","userId":"` + alice.User.ID.String() + `"}`, "userId"},
	} {
		p.post("/api/projects", alice.AccessToken, test.body).wantProblem(400, "VALIDATION_ERROR", test.field)
	}
	p.post("/api/projects", alice.AccessToken, `{"name":"勇`+strings.Repeat("者", 99)+`"}`).want(201)
	p.get("/api/projects?sortBy=owner", alice.AccessToken).wantProblem(400, "VALIDATION_ERROR", "sortBy")
	p.get("/api/assets?projectId=x", alice.AccessToken).wantProblem(400, "VALIDATION_ERROR", "projectId")
	p.get("/api/assets?projectId="+uuid.NewString(), alice.AccessToken).wantProblem(404, "NOT_FOUND", "")
}

// Roles hold on all routes: an editor changes a project and what is in it, a viewer looks at it, others know nothing of it.
func TestProjectRoles(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	owner, editor, viewer, other := p.register("owner"), p.register("editor"), p.register("viewer"), p.register("other")
	hero := p.uploadPNG(owner.AccessToken, "hero.png", png("1"))
	project := p.newProject(owner, "Village", hero)
	p.join(owner, project, editor, "editor")
	p.join(owner, project, viewer, "viewer")
	path, asset := "/api/projects/"+project.ID.String(), "/api/assets/"+hero.ID.String()

	for name, test := range map[string]struct {
		session                  sessionBody
		see, change, administers int
	}{
		"owner": {owner, 200, 200, 204}, "editor": {editor, 200, 200, 403}, "viewer": {viewer, 200, 403, 403}, "other": {other, 404, 404, 404},
	} {
		token := test.session.AccessToken
		for _, route := range []string{path, path + "/assets", path + "/members", "/api/assets?projectId=" + project.ID.String(), asset, asset + "/download"} {
			if r := p.get(route, token); r.status != test.see {
				t.Errorf("%s: GET %s: %d", name, route, r.status)
			}
		}
		if r := p.patch(path, token, `{"description":"`+name+`"}`); r.status != test.change {
			t.Errorf("%s: changes the project: %d", name, r.status)
		}
		if r := p.patch(asset, token, `{"tags":["`+name+`"]}`); r.status != test.change {
			t.Errorf("%s: changes the asset: %d", name, r.status)
		}
		if r := p.patch(path+"/members/"+viewer.User.ID.String(), token, `{"role":"viewer"}`); r.status != test.administers {
			t.Errorf("%s: sets a role: %d", name, r.status)
		}
		upload := p.upload(token, newForm().field("projectId", project.ID.String()).file(name+".png", "image/png", png(name)))
		if want := map[int]int{200: 201, 403: 403, 404: 400}[test.change]; upload.status != want {
			t.Errorf("%s: uploads into it: %d, want %d", name, upload.status, want)
		}
		if name != "owner" { // an asset is its uploader's
			if r := p.delete(asset, token); r.status != map[int]int{200: 403, 404: 404}[test.see] {
				t.Errorf("%s: deletes the asset: %d", name, r.status)
			}
			if r := p.delete(asset+"?permanent=true", token); r.status != map[int]int{200: 403, 404: 404}[test.see] {
				t.Errorf("%s: deletes the asset for good: %d", name, r.status)
			}
			if r := p.delete(path, token); r.status != test.administers {
				t.Errorf("%s: deletes the project: %d", name, r.status)
			}
			if got := p.names("/api/assets", token); slices.Contains(got, "hero.png") {
				t.Errorf("%s: the own list shows another's asset", name)
			}
		}
	}
	if got := p.names(path+"/assets?sortBy=originalName&sortOrder=asc", viewer.AccessToken); !slices.Equal(got, []string{"editor.png", "hero.png", "owner.png"}) {
		t.Errorf("in the project: %v", got)
	}
	p.post(path+"/assets", editor.AccessToken, fmt.Sprintf(`{"assetId":%q}`, hero.ID)).want(404) // not the editor's to share
	// A copy shares nothing that others put into the original.
	copied := decode1[projectBody](p.post(path+"/duplicate", viewer.AccessToken, "").want(201))
	if copied.Name != "Village (copy)" || copied.Role != "owner" || copied.Counts.Assets != 0 {
		t.Errorf("the viewer's copy: %+v", copied)
	}
	copied = decode1[projectBody](p.post(path+"/duplicate", owner.AccessToken, `{"name":"Second"}`).want(201))
	if copied.Name != "Second" || copied.Counts.Assets != 2 {
		t.Errorf("the owner's copy: %+v", copied)
	}
}

func TestProjectMembers(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob, carol := p.register("alice"), p.register("bob"), p.register("carol")
	hero := p.uploadPNG(alice.AccessToken, "hero.png", png("1"))
	project := p.newProject(alice, "Village", hero)
	members := "/api/projects/" + project.ID.String() + "/members"
	p.join(alice, project, bob, "viewer")
	p.post(members, alice.AccessToken, `{"email":"BOB@example.com","role":"editor"}`).wantProblem(409, "CONFLICT", "")
	p.post(members, alice.AccessToken, `{"username":"nobody","role":"editor"}`).wantProblem(400, "VALIDATION_ERROR", "username")
	p.post(members, alice.AccessToken, `{"username":"carol","role":"owner"}`).wantProblem(400, "VALIDATION_ERROR", "role")
	p.post(members, alice.AccessToken, `{"role":"viewer"}`).wantProblem(400, "VALIDATION_ERROR", "username")
	p.post(members, bob.AccessToken, `{"username":"carol","role":"viewer"}`).wantProblem(403, "FORBIDDEN", "")
	p.post(members, carol.AccessToken, `{"username":"carol","role":"viewer"}`).wantProblem(404, "NOT_FOUND", "")
	list := decode1[[]memberBody](p.get(members, bob.AccessToken).want(200))
	if r := p.get(members, bob.AccessToken); strings.Contains(string(r.body), "@example.com") {
		t.Errorf("members see the addresses of others: %s", r.body)
	}
	if len(list) != 2 || list[0].UserID != alice.User.ID || list[0].Role != "owner" || list[1].Username != "bob" || list[1].Role != "viewer" {
		t.Errorf("members: %+v", list)
	}

	// A project always has an owner, and its hand-over leaves the former one an editor.
	of := func(s sessionBody) string { return members + "/" + s.User.ID.String() }
	p.delete(of(alice), alice.AccessToken).wantProblem(409, "CONFLICT", "")
	p.patch(of(alice), alice.AccessToken, `{"role":"viewer"}`).wantProblem(409, "CONFLICT", "")
	p.patch(of(carol), alice.AccessToken, `{"role":"owner"}`).wantProblem(404, "NOT_FOUND", "")
	p.patch(of(bob), alice.AccessToken, `{"role":"owner"}`).want(204)
	if got := decode1[projectBody](p.get("/api/projects/"+project.ID.String(), alice.AccessToken).want(200)); got.Role != "editor" || got.UserID != bob.User.ID {
		t.Errorf("after the hand-over: %+v", got)
	}
	p.patch(of(bob), alice.AccessToken, `{"role":"editor"}`).wantProblem(403, "FORBIDDEN", "")

	// Who leaves sees no more; what they have put in stays.
	p.delete(of(alice), alice.AccessToken).want(204)
	p.get("/api/projects/"+project.ID.String(), alice.AccessToken).want(404)
	p.get("/api/assets/"+hero.ID.String(), bob.AccessToken).want(200)
	p.delete(of(alice), bob.AccessToken).wantProblem(404, "NOT_FOUND", "")
	if a := decode1[assetBody](p.get("/api/assets/"+hero.ID.String(), alice.AccessToken).want(200)); len(a.ProjectIDs) != 0 {
		t.Errorf("alice sees projects of others: %v", a.ProjectIDs)
	}
	// But it is theirs to take out.
	place := "/api/projects/" + project.ID.String() + "/assets/" + hero.ID.String()
	p.delete(place, carol.AccessToken).wantProblem(404, "NOT_FOUND", "")
	p.delete(place, alice.AccessToken).want(204)
	p.delete(place, alice.AccessToken).wantProblem(404, "NOT_FOUND", "")
	p.get("/api/assets/"+hero.ID.String(), bob.AccessToken).want(404)

	// A disabled account becomes no member, and least of all the owner.
	p.join(bob, project, alice, "editor")
	admin := p.register("admin_1")
	p.makeAdmin(admin)
	for _, disabled := range []sessionBody{alice, carol} {
		p.administer(admin.AccessToken, disabled.User.ID, `{"disabled":true}`).want(200)
	}
	p.patch(of(alice), bob.AccessToken, `{"role":"owner"}`).wantProblem(400, "VALIDATION_ERROR", "role")
	p.post(members, bob.AccessToken, `{"username":"carol","role":"viewer"}`).wantProblem(400, "VALIDATION_ERROR", "username")
}

// begin opens a transaction of somebody else, which the test ends by Commit.
func (p *platform) begin(statements ...string) pgx.Tx {
	p.t.Helper()
	tx, err := p.store.Pool().Begin(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	for _, sql := range statements {
		if _, err := tx.Exec(context.Background(), sql); err != nil {
			p.t.Fatal(err)
		}
	}
	return tx
}

// meanwhile sends a request, waits until it waits for a lock of the transaction, does something, and commits.
func (p *platform) meanwhile(tx pgx.Tx, request func() reply, do func()) reply {
	p.t.Helper()
	done := make(chan reply)
	go func() { done <- request() }()
	eventually(p.t, "the request waits for the lock", func() bool {
		var waiting int
		p.query("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'", &waiting)
		return waiting > 0
	})
	do()
	if err := tx.Commit(context.Background()); err != nil {
		p.t.Fatal(err)
	}
	return <-done
}

// What is put into a project while that is deleted finds none.
func TestIntoAProjectThatIsDeleted(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	hero := p.uploadPNG(alice.AccessToken, "hero.png", png("1"))
	for name, request := range map[string]func(projectBody) reply{
		"upload": func(project projectBody) reply {
			return p.upload(alice.AccessToken, newForm().field("projectId", project.ID.String()).file("b.png", "", png("2")))
		},
		"bulk": func(project projectBody) reply {
			return p.bulk(alice.AccessToken, fmt.Sprintf(`"addToProject":%q`, project.ID), hero.ID)
		},
		"add": func(project projectBody) reply {
			return p.post("/api/projects/"+project.ID.String()+"/assets", alice.AccessToken, fmt.Sprintf(`{"assetId":%q}`, hero.ID))
		},
	} {
		project := p.newProject(alice, name)
		tx := p.begin(fmt.Sprintf("delete from projects where id = '%s'", project.ID))
		if r := p.meanwhile(tx, func() reply { return request(project) }, func() {}); name == "upload" {
			r.wantProblem(400, "VALIDATION_ERROR", "projectId")
		} else {
			r.wantProblem(404, "NOT_FOUND", "")
		}
	}
	if keys, notes := p.leftovers(); len(keys) != 1 || notes != 0 {
		t.Errorf("left behind: %v, %d notes", keys, notes)
	}
}

// A role that ends while an edit waits for its turn allows no more.
func TestRolesThatEndMeanwhile(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	hero := p.uploadPNG(alice.AccessToken, "hero.png", png("1"))
	project := p.newProject(alice, "Village", hero)
	for name, request := range map[string]func() reply{
		"edit":    func() reply { return p.patch(assetPath(hero.ID), bob.AccessToken, `{"originalName":"defaced.png"}`) },
		"version": func() reply { return p.addVersion(bob.AccessToken, hero, "x.png", png("2")) },
		"bulk":    func() reply { return p.bulk(bob.AccessToken, `"addTags":["defaced"],"partial":true`, hero.ID) },
	} {
		p.join(alice, project, bob, "editor")
		tx := p.begin(fmt.Sprintf("select 1 from assets where id = '%s' for update", hero.ID))
		r := p.meanwhile(tx, request, func() {
			p.delete("/api/projects/"+project.ID.String()+"/members/"+bob.User.ID.String(), alice.AccessToken).want(204)
		})
		if name == "bulk" {
			if answer := decode1[bulkAnswer](r.want(200)); answer.Results[0].OK {
				t.Error("a bulk edit was made")
			}
			continue
		}
		r.wantProblem(404, "NOT_FOUND", "")
	}
	if got := decode1[assetBody](p.get(assetPath(hero.ID), alice.AccessToken).want(200)); got.OriginalName != "hero.png" || got.Version != 1 || len(got.Tags) != 0 {
		t.Errorf("changed: %+v", got)
	}
}

func TestUpdateAsset(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	uploaded := p.upload(alice.AccessToken, newForm().field("tags", "a,b").field("category", "sprites").file("hero.png", "image/png", png("1"))).want(201)
	asset := decode1[assetBody](uploaded)
	path := "/api/assets/" + asset.ID.String()
	r := p.patch(path, alice.AccessToken, `{"originalName":"勇者.png","tags":[" red ","red","青"]}`, "If-Match", uploaded.header.Get("ETag")).want(200)
	changed := decode1[assetBody](r)
	if changed.OriginalName != "勇者.png" || !slices.Equal(changed.Tags, []string{"red", "青"}) || *changed.Category != "sprites" || !changed.UpdatedAt.After(asset.UpdatedAt) {
		t.Errorf("changed: %s", r.body)
	}
	p.patch(path, alice.AccessToken, `{"category":"x"}`, "If-Match", uploaded.header.Get("ETag")).wantProblem(412, "PRECONDITION_FAILED", "")
	if got := decode1[assetBody](p.do("PUT", path, alice.AccessToken, strings.NewReader(`{"category":null,"tags":null}`), "Content-Type", "application/json").want(200)); got.Category != nil || len(got.Tags) != 0 || got.OriginalName != "勇者.png" {
		t.Errorf("after a PUT: %+v", got)
	}
	if got := decode1[assetBody](p.patch(path, alice.AccessToken, `{}`).want(200)); got.OriginalName != "勇者.png" {
		t.Errorf("after a change of nothing: %+v", got)
	}
	for _, test := range []struct{ body, field string }{
		{`{"originalName":" "}`, "originalName"},
		{`{"originalName":"a/b.png"}`, "originalName"},
		{`{"tags":["` + strings.Repeat("x", 65) + `"]}`, "tags"},
		{`{"tags":["a\u0000"]}`, "tags"},
		{`{"tags":["red, blue"]}`, "tags"},
		{`{"tags":[` + strings.Repeat(`"a",`, 50) + `"a"]}`, "tags"}, // also where they are one: refused before they are compared
		{`{"category":7}`, "category"},
		{`{"category":"` + strings.Repeat("x", 65) + `"}`, "category"},
		{`{"fileSize":1}`, "fileSize"},
		{`{"userId":"x"}`, "userId"},
	} {
		p.patch(path, alice.AccessToken, test.body).wantProblem(400, "VALIDATION_ERROR", test.field)
	}
	for _, field := range []string{"originalName", "tags"} { // all at once
		p.patch(path, alice.AccessToken, `{"originalName":"a/b","tags":["a\u0000"]}`).wantProblem(400, "VALIDATION_ERROR", field)
	}
	p.patch("/api/assets/"+uuid.NewString(), alice.AccessToken, `{}`).wantProblem(404, "NOT_FOUND", "")
}
