package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// events are the audit events that a list answers, the oldest first.
func (p *platform) events(token, query string) []auditBody {
	p.t.Helper()
	var answer list[auditBody]
	p.get("/api/audit?limit=100"+query, token).want(200).decode(&answer.Body)
	slices.Reverse(answer.Body.Data)
	return answer.Body.Data
}

func actions(events []auditBody) (actions []string) {
	for _, e := range events {
		actions = append(actions, e.Action)
	}
	return actions
}

func TestAudit(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy)
	alice, bob := p.register("alice"), p.register("bob")
	p.login("alice", "wrong", "203.0.113.7").want(401)
	p.login("nobody", "wrong", "203.0.113.7").want(401)
	asset := p.uploadPNG(alice.AccessToken, "勇者.png", png("1"))
	p.do("DELETE", "/api/assets/"+asset.ID.String(), alice.AccessToken, nil, "User-Agent", "engine/1", "X-Request-Id", "r-1").want(204)
	p.do("DELETE", "/api/assets/"+asset.ID.String(), alice.AccessToken, nil).want(404) // nothing changed
	p.do("DELETE", "/api/assets/"+asset.ID.String()+"?permanent=true", alice.AccessToken, nil).want(204)
	key := p.newKey(alice, `["read"]`)
	p.do("DELETE", "/api/auth/keys/"+key.ID.String(), alice.AccessToken, nil).want(204)
	p.post("/api/auth/refresh", "", `{"refreshToken":"`+alice.RefreshToken+`"}`).want(200)
	p.post("/api/auth/password", alice.AccessToken, `{"currentPassword":"wrong","newPassword":"another horse battery"}`).want(403)

	events := p.events(alice.AccessToken, "")
	want := []string{
		"user.register", "user.login", "user.login_failed", "asset.upload", "asset.trash", "asset.purge",
		"key.create", "key.delete", "session.refresh", "user.password_failed",
	}
	if got := actions(events); !slices.Equal(got, want) {
		t.Fatalf("events: %v\nwant:   %v", got, want)
	}
	trash := events[4]
	if *trash.ResourceID != asset.ID.String() || *trash.ResourceType != "asset" || *trash.UserID != alice.User.ID || trash.UserAgent != "engine/1" || trash.RequestID != "r-1" || *trash.IP != "127.0.0.1" || !trash.Success {
		t.Errorf("event: %+v", trash)
	}
	if failed := events[2]; failed.Success || *failed.IP != "203.0.113.7" {
		t.Errorf("event: %+v", failed)
	}
	if string(events[3].Details) != fmt.Sprintf(`{"name":"勇者.png","size":%d}`, asset.FileSize) && string(events[3].Details) != fmt.Sprintf(`{"name": "勇者.png", "size": %d}`, asset.FileSize) {
		t.Errorf("details: %s", events[3].Details)
	}
	if got := actions(p.events(alice.AccessToken, "&resourceId="+asset.ID.String())); !slices.Equal(got, []string{"asset.upload", "asset.trash", "asset.purge"}) {
		t.Errorf("of the asset: %v", got)
	}
	if purge := events[5]; !strings.Contains(string(purge.Details), "勇者.png") {
		t.Errorf("details: %s", purge.Details)
	}
	if got := actions(p.events(alice.AccessToken, "&failed=true")); !slices.Equal(got, []string{"user.login_failed", "user.password_failed"}) {
		t.Errorf("failures: %v", got)
	}

	// Others see their own, an administrator all, also what nobody owns.
	if got := actions(p.events(bob.AccessToken, "")); !slices.Equal(got, []string{"user.register", "user.login"}) {
		t.Errorf("bob sees %v", got)
	}
	p.get("/api/audit?userId="+alice.User.ID.String(), bob.AccessToken).wantProblem(403, "FORBIDDEN", "")
	p.makeAdmin(bob)
	all := p.events(bob.AccessToken, "&action=user.login_failed")
	if len(all) != 2 || all[1].UserID != nil || !strings.Contains(string(all[1].Details), `"nobody"`) {
		t.Errorf("failed logins: %+v", all)
	}
	if got := p.events(bob.AccessToken, "&userId="+alice.User.ID.String()); len(got) != len(events) {
		t.Errorf("an administrator sees %d of %d events", len(got), len(events))
	}
	if got := p.events(p.newKey(bob, `["read"]`).Key, ""); slices.Contains(actions(got), "asset.upload") {
		t.Error("a key without the scope admin sees what others did")
	}
	if got := p.events(bob.AccessToken, "&createdBefore=0001-01-01T00:00:00Z"); len(got) != 0 {
		t.Errorf("%d events from before the year 1", len(got))
	}
	p.get("/api/audit?userId=x", bob.AccessToken).wantProblem(400, "VALIDATION_ERROR", "userId")
	p.get("/api/audit?cursor=x", bob.AccessToken).wantProblem(400, "VALIDATION_ERROR", "cursor")
	p.get("/api/audit?createdAfter=yesterday", bob.AccessToken).wantProblem(400, "VALIDATION_ERROR", "createdAfter")
}

// An event tells what was changed, from what to what.
func TestAuditTellsChanges(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	asset := p.uploadPNG(alice.AccessToken, "a.png", png("1"))
	p.patch(assetPath(asset.ID), alice.AccessToken, `{"originalName":"b.png","tags":["red"]}`).want(200)
	project := p.newProject(alice, "Village")
	p.patch("/api/projects/"+project.ID.String(), alice.AccessToken, `{"name":"Town"}`).want(200)
	p.patch("/api/auth/profile", alice.AccessToken, `{"email":"new@example.com"}`).want(200)
	for action, want := range map[string]map[string]any{
		"asset.update": {
			"name": "b.png", "originalName": map[string]any{"from": "a.png", "to": "b.png"}, "tags": map[string]any{"from": []any{}, "to": []any{"red"}},
		},
		"project.update": {"name": map[string]any{"from": "Village", "to": "Town"}},
		"user.update":    {"email": map[string]any{"from": "alice@example.com", "to": "new@example.com"}},
	} {
		var got map[string]any
		events := p.events(alice.AccessToken, "&action="+action)
		if err := json.Unmarshal(events[0].Details, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s, %v", action, events[0].Details, err)
		}
	}
}

// What a client calls itself may be any bytes: it is answered, and noted in what is UTF-8 of it.
func TestAuditOfOddUserAgents(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.register("alice")
	long := strings.Repeat("x", 255)
	for agent, kept := range map[string]string{"Unreal/\xe9": "Unreal/\uFFFD", long + "é": long, long + "xyz": long + "x", "勇者/1": "勇者/1"} {
		login := func(password string) reply {
			return p.do("POST", "/api/auth/login", "", strings.NewReader(`{"username":"alice","password":"`+password+`"}`), "Content-Type", "application/json", "User-Agent", agent)
		}
		session := decode1[sessionBody](login(password).want(200))
		login("wrong").want(401)
		events := p.events(session.AccessToken, "")
		for _, e := range events[len(events)-2:] {
			if e.UserAgent != kept {
				t.Errorf("%q: %s notes %q, want %q", agent, e.Action, e.UserAgent, kept)
			}
		}
		if last := events[len(events)-1]; last.Action != "user.login_failed" {
			t.Errorf("%q: the failure is not noted: %+v", agent, last)
		}
	}
}

// A page behind a cursor is right while events come in.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	for i := range 5 {
		p.uploadPNG(alice.AccessToken, fmt.Sprint(i, ".png"), png(fmt.Sprint(i)))
	}
	var seen []string
	for path := "/api/audit?limit=2"; ; {
		var page list[auditBody]
		p.get(path, alice.AccessToken).want(http.StatusOK).decode(&page.Body)
		seen = append(seen, actions(page.Body.Data)...)
		p.uploadPNG(alice.AccessToken, "more.png", png(fmt.Sprint("more", len(seen))))
		if page.Body.Pagination.NextCursor == nil {
			break
		}
		path = "/api/audit?limit=2&cursor=" + *page.Body.Pagination.NextCursor
	}
	if want := []string{"asset.upload", "asset.upload", "asset.upload", "asset.upload", "asset.upload", "user.login", "user.register"}; !slices.Equal(seen, want) {
		t.Errorf("saw %v", seen)
	}
}
