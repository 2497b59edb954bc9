package backup

import (
	"context"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
)

// instance is which database of its platform it is.
func (p *platform) instance() (id string) {
	p.t.Helper()
	p.scan(&id, "select instance::text from assetplatform_schema")
	return id
}

// A copy of a database makes no sets where its original makes them, whichever of them was the last to make one.
func TestCopyInItsOriginalsDestination(t *testing.T) {
	t.Parallel()
	for name, copyFirst := range map[string]bool{"the original's was the last": false, "the copy's was the last": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(1)
			_, d := archive(t)
			p.backUp(d)
			q, _ := restored(t, d)
			if p.instance() == q.instance() {
				t.Fatal("both are one")
			}
			if copyFirst {
				q.backUp(d) // nothing tells yet that the original goes on
			}
			later := p.backUp(d)
			for range 2 {
				_, err := q.tried(d)
				problem(t, err, config.CodeConfigInvalid)
				if err == nil || !strings.Contains(err.Error(), later.ID) || !strings.Contains(err.Error(), p.instance()) {
					t.Errorf("%v", err)
				}
				q.backUp(d, safety)
				p.backUp(d)
			}
			_, own := archive(t)
			q.backUp(own)
		})
	}
}

// A destination of its own is the copy's also against its original.
func TestOriginalInItsCopysDestination(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(1)
	_, d := archive(t)
	p.backUp(d)
	q, _ := restored(t, d)
	_, own := archive(t)
	q.backUp(own)
	_, err := p.tried(own)
	problem(t, err, config.CodeConfigInvalid)
	q.backUp(own)
}

// What was restored goes on where the sets of before are: into a new database, or over itself, and again.
func TestRestoredDatabaseGoesOn(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(1)
	_, d := archive(t)
	first := p.backUp(d)
	was := p.instance()
	for range 2 {
		o := p.restoring(d, overwriting, func(o *RestoreOptions) { o.Set = first.ID })
		o.Safety = func(context.Context) (Set, error) { return p.tried(d, safety) }
		if _, err := Restore(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if now := p.instance(); now == was {
			t.Fatal("it is the same database")
		}
		p.backUp(d)
		p.backUp(d)
	}
	q, _ := restored(t, d) // the other is gone
	for range 2 {
		q.backUp(d)
	}
}
