package backup

import (
	"context"
	"crypto/ed25519"
	"slices"
	"testing"

	"filippo.io/age"

	"github.com/assetplatform/assetplatform/internal/config"
)

// to encrypts for these.
func to(identities ...*age.X25519Identity) func(*CreateOptions) {
	return func(o *CreateOptions) {
		for _, i := range identities {
			o.Recipients = append(o.Recipients, i.Recipient())
		}
	}
}

// tried is what comes of a set with these options.
func (p *platform) tried(d Destination, edits ...func(*CreateOptions)) (Set, error) {
	o := p.options(d)
	for _, edit := range edits {
		edit(&o)
	}
	return Create(p.t.Context(), o)
}

// endsAt ends the making of a set in a step.
func (p *platform) endsAt(d Destination, step string, edits ...func(*CreateOptions)) {
	p.t.Helper()
	ctx, end := context.WithCancel(p.t.Context())
	defer end()
	o := p.options(d)
	for _, edit := range edits {
		edit(&o)
	}
	o.step = func(name string) {
		if name == step {
			end()
		}
	}
	if set, err := Create(ctx, o); err == nil {
		p.t.Fatalf("it did not end in %s: %+v", step, set)
	}
}

// Blobs that an attempt has left are for its recipients, also if there is no set of it.
func TestReadersOfAnUnfinishedSet(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	settings, d := archive(t)
	one, two := newIdentity(t), newIdentity(t)
	p.endsAt(d, "manifest", to(one))
	if keysIn(t, settings, blobsFolder) != 2 {
		t.Fatal("it has left no blobs")
	}
	for range 2 { // that one was refused binds nobody
		_, err := p.tried(d, to(two))
		problem(t, err, config.CodeConfigInvalid)
	}
	both := p.backUp(d, to(one, two))
	if !slices.Equal(both.Readers, []string{one.Recipient().String()}) || both.Blobs.Copied != 0 {
		t.Errorf("%v; %+v", both.Readers, both.Blobs)
	}
	q, _ := restored(t, d, func(o *RestoreOptions) { o.Identities = []age.Identity{one} })
	if rows, wrong := q.check(); int64(rows) != both.Blobs.Objects || len(wrong) > 0 {
		t.Errorf("%d rows, %v", rows, wrong)
	}
}

// The note of an older version, and one that is none, name nobody.
func TestReadersOfAnOlderAttempt(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(1)
	_, d := archive(t)
	one := newIdentity(t)
	for _, note := range []any{map[string]string{"host": "old"}, []int{1}} {
		id, err := idAfter(nil)
		if err == nil {
			err = d.writeJSON(t.Context(), setKey(id, startedFile), note)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if set := p.backUp(d, to(one)); !slices.Equal(set.Readers, []string{one.Recipient().String()}) {
		t.Errorf("%v", set.Readers)
	}
}

// Sets that were signed with another key are bad, and their blobs are for those whom they name all the same.
func TestReadersOfABadSet(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	_, d := archive(t)
	signed := func() func(*CreateOptions) {
		key := newSigningKey(t)
		return func(o *CreateOptions) {
			o.SigningKey = key
			o.Destination.VerifyKey = key.Public().(ed25519.PublicKey)
		}
	}
	one, two := newIdentity(t), newIdentity(t)
	p.backUp(d, to(one), signed())
	another := signed()
	_, err := p.tried(d, to(two), another)
	problem(t, err, config.CodeConfigInvalid)
	if set := p.backUp(d, to(two, one), another); !slices.Equal(set.Readers, []string{one.Recipient().String()}) {
		t.Errorf("%v", set.Readers)
	}
}
