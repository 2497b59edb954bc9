package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/store"
)

// newKey makes an API key of a session's user.
func (p *platform) newKey(session sessionBody, scopes string) apiKeyBody {
	p.t.Helper()
	return decode1[apiKeyBody](p.post("/api/auth/keys", session.AccessToken, `{"name":"ci","scopes":`+scopes+`}`).want(201))
}

func (p *platform) makeAdmin(session sessionBody) {
	p.t.Helper()
	if _, err := p.store.SetRole(context.Background(), session.User.Email, store.RoleAdmin); err != nil {
		p.t.Fatal(err)
	}
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	key := p.newKey(alice, `["write","read","read"]`)
	if !strings.HasPrefix(key.Key, "ap_") || !strings.HasPrefix(key.Key, key.Prefix) || len(key.Prefix) != 9 || fmt.Sprint(key.Scopes) != "[read write]" || key.LastUsedAt != nil {
		t.Errorf("made %+v", key)
	}
	asset := p.uploadPNG(key.Key, "a.png", png("1"))
	if asset.UserID != alice.User.ID {
		t.Error("the upload is another user's")
	}
	p.get("/api/assets/"+asset.ID.String(), key.Key).want(200)
	r := p.get("/api/auth/keys", alice.AccessToken).want(200)
	listed := decode1[[]apiKeyBody](r)
	if len(listed) != 1 || listed[0].LastUsedAt == nil || time.Since(*listed[0].LastUsedAt) > 2*time.Minute || listed[0].Key != "" {
		t.Errorf("listed %s", r.body)
	}
	var hashes int
	if p.query("select count(*) from api_keys where encode(hash, 'escape') like '%ap\\_%'", &hashes); hashes > 0 {
		t.Error("the key itself is in the database")
	}
	if others := decode1[[]apiKeyBody](p.get("/api/auth/keys", bob.AccessToken).want(200)); len(others) != 0 {
		t.Error("bob sees a key of alice")
	}

	// What a key must not do, and what lies beyond its scopes.
	p.get("/api/auth/keys", key.Key).wantProblem(403, "FORBIDDEN", "")
	p.post("/api/auth/keys", key.Key, `{"name":"x","scopes":["read"]}`).wantProblem(403, "FORBIDDEN", "")
	p.post("/api/auth/password", key.Key, `{"currentPassword":"`+password+`","newPassword":"another horse battery"}`).wantProblem(403, "FORBIDDEN", "")
	p.do("PATCH", "/api/auth/profile", key.Key, strings.NewReader(`{"username":"eve"}`), "Content-Type", "application/json").wantProblem(403, "FORBIDDEN", "")
	p.post("/api/auth/logout", key.Key, `{}`).wantProblem(403, "FORBIDDEN", "") // it has no session
	reader := p.newKey(alice, `["read"]`)
	p.upload(reader.Key, newForm().file("b.png", "image/png", png("2"))).wantProblem(403, "FORBIDDEN", "")
	p.do("DELETE", "/api/assets/"+asset.ID.String(), reader.Key, nil).wantProblem(403, "FORBIDDEN", "")
	writer := p.newKey(alice, `["write"]`)
	p.get("/api/assets", writer.Key).wantProblem(403, "FORBIDDEN", "")

	// A revoked one is dead at once; somebody else's cannot be revoked.
	p.do("DELETE", "/api/auth/keys/"+key.ID.String(), bob.AccessToken, nil).wantProblem(404, "NOT_FOUND", "")
	p.do("DELETE", "/api/auth/keys/"+key.ID.String(), alice.AccessToken, nil).want(204)
	p.get("/api/assets", key.Key).wantProblem(401, "UNAUTHORIZED", "")
	p.get("/api/assets", "ap_unknown").wantProblem(401, "UNAUTHORIZED", "")
}

func TestAPIKeyExpires(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	at := time.Now().Add(time.Hour).UTC()
	key := decode1[apiKeyBody](p.post("/api/auth/keys", alice.AccessToken, fmt.Sprintf(`{"name":"ci","scopes":["read"],"expiresAt":%q}`, at.Format(time.RFC3339))).want(201))
	if key.ExpiresAt == nil || !key.ExpiresAt.Equal(at.Truncate(time.Second)) {
		t.Errorf("expires at %v", key.ExpiresAt)
	}
	p.get("/api/assets", key.Key).want(200)
	var id string
	p.query("update api_keys set expires_at = now() returning id::text", &id)
	p.get("/api/assets", key.Key).wantProblem(401, "UNAUTHORIZED", "")
}

func TestAPIKeyRefusals(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	for _, test := range []struct{ body, field string }{
		{`{"name":" ","scopes":["read"]}`, "name"},
		{`{"name":"` + strings.Repeat("x", 101) + `","scopes":["read"]}`, "name"},
		{`{"name":"ci","scopes":[]}`, "scopes"},
		{`{"name":"ci"}`, "scopes"},
		{`{"name":"ci","scopes":null}`, "scopes"},
		{`{"name":"ci","scopes":["all"]}`, "scopes[0]"},
		{`{"name":"ci","scopes":["admin"]}`, "scopes"},
		{`{"name":"ci","scopes":["read"],"expiresAt":"2020-01-01T00:00:00Z"}`, "expiresAt"},
		{`{"name":"ci","scopes":["read"],"expiresAt":"tomorrow"}`, "expiresAt"},
	} {
		p.post("/api/auth/keys", alice.AccessToken, test.body).wantProblem(400, "VALIDATION_ERROR", test.field)
	}
	for range 100 {
		p.newKey(alice, `["read"]`)
	}
	p.post("/api/auth/keys", alice.AccessToken, `{"name":"ci","scopes":["read"]}`).wantProblem(409, "CONFLICT", "")
}
