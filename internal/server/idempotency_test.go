package server

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// send uploads a form under an idempotency key.
func (p *platform) sendOnce(token, key string, f *form) reply {
	p.t.Helper()
	f.writer.Close()
	return p.do("POST", "/api/assets/upload", token, &f.buffer, "Content-Type", f.writer.FormDataContentType(), "Idempotency-Key", key)
}

// A retry is answered as the first request was, and makes nothing new.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	upload := func() *form { return newForm().field("tags", "a").file("hero.png", "", png("1")) }
	first := p.sendOnce(alice.AccessToken, "k-1", upload()).want(201)
	again := p.sendOnce(alice.AccessToken, "k-1", upload()).want(201)
	if string(again.body) != string(first.body) {
		t.Errorf("answered\n%s, and again\n%s", first.body, again.body)
	}
	for _, name := range []string{"Location", "ETag"} {
		if again.header.Get(name) != first.header.Get(name) || first.header.Get(name) == "" {
			t.Errorf("%s: %q, and again %q", name, first.header.Get(name), again.header.Get(name))
		}
	}
	for name, other := range map[string]*form{
		"other bytes": newForm().field("tags", "a").file("hero.png", "", png("2")),
		"other tags":  newForm().field("tags", "b").file("hero.png", "", png("1")),
		"other name":  newForm().field("tags", "a").file("slime.png", "", png("1")),
	} {
		if r := p.sendOnce(alice.AccessToken, "k-1", other); r.status != 409 {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	p.sendOnce(bob.AccessToken, "k-1", upload()).want(201) // a key is its user's
	p.sendOnce(alice.AccessToken, "k-2", upload()).want(201)
	p.sendOnce(alice.AccessToken, strings.Repeat("k", 256), upload()).wantProblem(400, "VALIDATION_ERROR", "Idempotency-Key")
	if got := p.names("/api/assets", alice.AccessToken); len(got) != 2 {
		t.Errorf("made %v", got)
	}
	if keys, notes := p.leftovers(); len(keys) != 2 || notes != 0 { // one for each user
		t.Errorf("the bucket holds %v, and %d notes", keys, notes)
	}
	project := p.newProject(alice, "Village")
	into := func() *form { return newForm().field("projectId", project.ID.String()).file("hut.png", "", png("3")) }
	first = p.sendOnce(alice.AccessToken, "k-3", into()).want(201)
	p.do("DELETE", "/api/projects/"+project.ID.String(), alice.AccessToken, nil).want(204)
	if again := p.sendOnce(alice.AccessToken, "k-3", into()).want(201); string(again.body) != string(first.body) {
		t.Errorf("once the project is gone: %s", again.body)
	}
	p.sendOnce(alice.AccessToken, "k-4", into()).wantProblem(400, "VALIDATION_ERROR", "projectId")
	// After a day it is another request.
	var n int
	p.query("update idempotency_keys set created_at = created_at - interval '25 hours' where key = 'k-1' and user_id = '"+alice.User.ID.String()+"' returning 1", &n)
	later := decode1[assetBody](p.sendOnce(alice.AccessToken, "k-1", upload()).want(201))
	if later.ID == decode1[assetBody](first).ID {
		t.Error("a key of yesterday still counts")
	}
}

// Of many requests with one key at a time one counts.
func TestConcurrentIdempotencyKey(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	ids := make([]uuid.UUID, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			ids[i] = decode1[assetBody](p.sendOnce(alice.AccessToken, "k", newForm().file("hero.png", "", png("1"))).want(201)).ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("made %s and %s", ids[0], id)
		}
	}
	if got := p.names("/api/assets", alice.AccessToken); len(got) != 1 {
		t.Errorf("made %v", got)
	}
	if keys, notes := p.leftovers(); len(keys) != 1 || notes != 0 {
		t.Errorf("the bucket holds %v, and %d notes", keys, notes)
	}
}
