package server

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

func (p *platform) administer(token string, id uuid.UUID, body string) reply {
	p.t.Helper()
	return p.do("PATCH", "/api/admin/users/"+id.String(), token, strings.NewReader(body), "Content-Type", "application/json")
}

func TestAdministration(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	root, alice := p.register("root_1"), p.register("alice")
	p.get("/api/admin/users", root.AccessToken).wantProblem(403, "FORBIDDEN", "") // nobody is one by guess, not even the first
	p.makeAdmin(root)

	var users list[accountBody]
	p.get("/api/admin/users?limit=1", root.AccessToken).want(200).decode(&users.Body)
	if len(users.Body.Data) != 1 || users.Body.Data[0].ID != alice.User.ID || users.Body.Pagination.Total != 2 || users.Body.Pagination.NextCursor == nil {
		t.Fatalf("users: %+v", users.Body)
	}
	p.get("/api/admin/users?limit=1&cursor="+*users.Body.Pagination.NextCursor, root.AccessToken).want(200).decode(&users.Body)
	if len(users.Body.Data) != 1 || users.Body.Data[0].ID != root.User.ID || users.Body.Data[0].Role != "admin" || users.Body.Pagination.NextCursor != nil {
		t.Errorf("the second page: %+v", users.Body)
	}

	// A disabled account is out at once, in every way.
	key := p.newKey(alice, `["read"]`)
	p.administer(alice.AccessToken, root.User.ID, `{"disabled":true}`).wantProblem(403, "FORBIDDEN", "")
	if got := decode1[accountBody](p.administer(root.AccessToken, alice.User.ID, `{"disabled":true}`).want(200)); got.DisabledAt == nil {
		t.Errorf("disabled: %+v", got)
	}
	p.get("/api/auth/profile", alice.AccessToken).want(401)
	p.get("/api/assets", key.Key).want(401)
	p.post("/api/auth/refresh", "", `{"refreshToken":"`+alice.RefreshToken+`"}`).want(401)
	p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`).wantProblem(403, "FORBIDDEN", "")
	p.post("/api/auth/login", "", `{"username":"alice","password":"wrong"}`).wantProblem(401, "INVALID_CREDENTIALS", "") // no more is told
	if got := p.events(root.AccessToken, "&action=user.login_failed&userId="+alice.User.ID.String()); len(got) != 2 || got[0].Success {
		t.Errorf("refused logins: %+v", got)
	}
	p.administer(root.AccessToken, alice.User.ID, `{"disabled":false}`).want(200)
	p.get("/api/assets", key.Key).want(200)
	p.get("/api/auth/profile", alice.AccessToken).want(401) // whoever has the tokens of before has to log in
	p.post("/api/auth/refresh", "", `{"refreshToken":"`+alice.RefreshToken+`"}`).want(401)
	alice = decode1[sessionBody](p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`).want(200))

	// So is an upload that was under way.
	f := newForm().file("late.png", "", png("late"))
	f.writer.Close()
	content := f.buffer.Bytes()
	conn := p.rawUpload(alice.AccessToken, f, len(content))
	send(t, conn, content[:len(content)-20])
	eventually(t, "the upload is under way", func() bool { _, notes := p.leftovers(); return notes > 0 })
	p.administer(root.AccessToken, alice.User.ID, `{"disabled":true}`).want(200)
	send(t, conn, content[len(content)-20:])
	readReply(t, conn).wantProblem(403, "FORBIDDEN", "")
	p.wantNothing()
	p.administer(root.AccessToken, alice.User.ID, `{"disabled":false}`).want(200)
	alice = decode1[sessionBody](p.post("/api/auth/login", "", `{"username":"alice","password":"`+password+`"}`).want(200))

	// Somebody is left who can let others in.
	p.administer(root.AccessToken, root.User.ID, `{"role":"user"}`).wantProblem(409, "CONFLICT", "")
	p.administer(root.AccessToken, root.User.ID, `{"disabled":true}`).wantProblem(409, "CONFLICT", "")
	p.administer(root.AccessToken, alice.User.ID, `{"role":"admin"}`).want(200)
	p.administer(alice.AccessToken, root.User.ID, `{"role":"user"}`).want(200)
	p.get("/api/admin/users", root.AccessToken).want(403)
	p.administer(alice.AccessToken, uuid.New(), `{"role":"user"}`).wantProblem(404, "NOT_FOUND", "")
	p.administer(alice.AccessToken, root.User.ID, `{"role":"king"}`).wantProblem(400, "VALIDATION_ERROR", "role")
	p.administer(alice.AccessToken, root.User.ID, `{}`).wantProblem(400, "VALIDATION_ERROR", "body")

	// A key of an administrator administers only with that scope.
	p.get("/api/admin/users", p.newKey(alice, `["read","write"]`).Key).wantProblem(403, "FORBIDDEN", "")
	p.get("/api/admin/users", p.newKey(alice, `["admin"]`).Key).want(200)
}
