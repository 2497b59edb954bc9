package backup

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// Two backups at once, and a removal meanwhile, are two whole sets: what both need is there once, and nobody takes it away.
func TestTwoBackupsAtOnce(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed %v", sealed), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			_, d := archive(t)
			identity := newIdentity(t)
			o := p.options(d)
			if sealed {
				o.Recipients = append(o.Recipients, identity.Recipient())
			}
			var gone []store.Asset
			for range 5 { // of each kind
				gone = append(gone, p.upload(p.users[0], fmt.Appendf(nil, "%d %s", p.made, strings.Repeat("gone", 100))))
				for range 5 {
					p.upload(p.users[1], fmt.Appendf(nil, "%d %s", p.made, strings.Repeat("stays", 10_000)))
				}
				if len(gone) > 1 { // what the last two sets need, and these do not
					if _, err := p.store.PurgeAsset(t.Context(), p.users[0].ID, gone[len(gone)-2].ID); err != nil {
						t.Fatal(err)
					}
				}
				var made [2]Set
				var all sync.WaitGroup
				for i := range made {
					all.Go(func() {
						var err error
						if made[i], err = Create(t.Context(), o); err != nil {
							t.Error(err)
						}
					})
				}
				all.Go(func() {
					for range 5 {
						if _, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 2}, Log: discard, delay: -1, dead: time.Hour}); err != nil {
							t.Error(err)
						}
					}
				})
				all.Wait()
				for _, s := range made {
					if found, err := d.Verify(t.Context(), s.ID, VerifyOptions{}); err != nil || !found.Verified() {
						t.Errorf("%s: %v", s.ID, err)
					}
				}
			}
			back := vacant(t).restoring(d)
			back.Identities = append(back.Identities, identity)
			if _, err := Restore(t.Context(), back); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A backup that was begun before another one, and ends after it, is not taken for dead: nothing of it goes meanwhile.
func TestPruneBesideABackup(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	_, d := archive(t)
	p.upload(p.users[0], []byte(strings.Repeat("stays", 100)))
	p.backUp(d)
	only := p.upload(p.users[0], []byte(strings.Repeat("only in the first one", 100)))
	o := p.options(d)
	o.step = func(name string) {
		if name != "manifest" {
			return
		}
		if _, err := p.store.PurgeAsset(t.Context(), p.users[0].ID, only.ID); err != nil {
			t.Error(err)
		}
		p.backUp(d)
		for range 3 {
			pruned, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1, dead: time.Hour})
			if err != nil || pruned.Collected > 0 {
				t.Errorf("%+v, %v", pruned, err)
			}
		}
	}
	set, err := Create(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := d.Verify(t.Context(), set.ID, VerifyOptions{}); err != nil || !found.Verified() {
		t.Error(err)
	}
}

// Two restores into the same target at once end as one: each succeeds or says why not, and what is there is the set.
func TestTwoRestoresAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(5)
	_, d := archive(t)
	set := p.backUp(d)
	for range 3 {
		q := vacant(t)
		var all sync.WaitGroup
		var failed [2]error
		for i := range failed {
			all.Go(func() {
				_, failed[i] = Restore(t.Context(), q.restoring(d))
			})
		}
		all.Wait()
		for i, err := range failed {
			if err != nil {
				problem(t, err, config.CodeTargetNotEmpty)
			}
			if err != nil && failed[1-i] != nil {
				t.Errorf("neither: %v", failed)
			}
		}
		q.open()
		if rows, wrong := q.check(); int64(rows) != set.Blobs.Objects || len(wrong) > 0 {
			t.Errorf("%d rows of %d, %v", rows, set.Blobs.Objects, wrong)
		}
		if n := q.count("select count(*) from assets"); int64(n) != set.Database.Rows["assets"] {
			t.Errorf("%d assets", n)
		}
	}
}
