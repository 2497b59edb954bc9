package server

import (
	"strings"
	"sync"
	"testing"
)

func TestUpdateProfile(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	patch := func(body string) reply {
		return p.do("PATCH", "/api/auth/profile", alice.AccessToken, strings.NewReader(body), "Content-Type", "application/json")
	}
	profile := decode1[profileBody](patch(`{"username":"Alice_2"}`).want(200))
	if profile.Username != "Alice_2" || profile.Email != alice.User.Email || profile.ID != alice.User.ID {
		t.Errorf("profile: %+v", profile)
	}
	patch(`{"email":"second@example.com"}`).want(200)
	p.post("/api/auth/login", "", `{"email":"second@example.com","password":"`+password+`"}`).want(200)
	p.post("/api/auth/login", "", `{"username":"alice_2","password":"`+password+`"}`).want(200)
	p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`).want(401)
	patch(`{"username":"BOB"}`).wantProblem(409, "CONFLICT", "")
	patch(`{"email":"Bob@example.com"}`).wantProblem(409, "CONFLICT", "")
	patch(`{"email":"bob"}`).wantProblem(400, "VALIDATION_ERROR", "email")
	patch(`{"username":"a b"}`).wantProblem(400, "VALIDATION_ERROR", "username")
	patch(`{"role":"admin"}`).wantProblem(400, "VALIDATION_ERROR", "role")
	if got := decode1[profileBody](p.get("/api/auth/profile", bob.AccessToken).want(200)); got.UserBody != bob.User {
		t.Errorf("bob is %+v now", got)
	}
}

// A new password ends all other sessions, and none of a wrong one is taken.
func TestChangePassword(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	here := p.register("alice")
	there := decode1[sessionBody](p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`).want(200))
	change := func(current, next string) reply {
		return p.post("/api/auth/password", here.AccessToken, `{"currentPassword":"`+current+`","newPassword":"`+next+`"}`)
	}
	change("wrong", "another horse battery").wantProblem(403, "INVALID_CREDENTIALS", "currentPassword")
	change(password, "short").wantProblem(400, "VALIDATION_ERROR", "newPassword")
	change(password, "Alice@example.com").wantProblem(400, "VALIDATION_ERROR", "newPassword")
	p.get("/api/auth/profile", there.AccessToken).want(200)

	change(password, "another horse battery").want(204)
	p.get("/api/auth/profile", here.AccessToken).want(200)
	p.get("/api/auth/profile", there.AccessToken).wantProblem(401, "UNAUTHORIZED", "")
	p.post("/api/auth/refresh", "", `{"refreshToken":"`+there.RefreshToken+`"}`).want(401)
	p.post("/api/auth/refresh", "", `{"refreshToken":"`+here.RefreshToken+`"}`).want(200)
	p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`).want(401)
	p.post("/api/auth/login", "", `{"username":"alice","password":"another horse battery"}`).want(200)
}

// Who holds a session must not find out the password by trying.
func TestChangePasswordIsLimited(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	for range 5 {
		p.post("/api/auth/password", alice.AccessToken, `{"currentPassword":"wrong","newPassword":"another horse battery"}`).want(403)
	}
	p.post("/api/auth/password", alice.AccessToken, `{"currentPassword":"`+password+`","newPassword":"another horse battery"}`).wantLimited(5)
}

// Of two changes at a time one counts, and its sender knows.
func TestConcurrentPasswordChanges(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	statuses := make([]int, 2)
	var wg sync.WaitGroup
	for i, next := range []string{"first horse battery", "second horse battery"} {
		wg.Go(func() {
			statuses[i] = p.post("/api/auth/password", alice.AccessToken, `{"currentPassword":"`+password+`","newPassword":"`+next+`"}`).status
		})
	}
	wg.Wait()
	for i, next := range []string{"first horse battery", "second horse battery"} {
		login := p.post("/api/auth/login", "", `{"username":"alice","password":"`+next+`"}`)
		if (statuses[i] == 204) != (login.status == 200) && (statuses[0] == 204) != (statuses[1] == 204) {
			t.Errorf("a change answered %d, and its password logs in with %d", statuses[i], login.status)
		}
	}
	if statuses[0] != 204 && statuses[1] != 204 {
		t.Errorf("no change counted: %v", statuses)
	}
}
