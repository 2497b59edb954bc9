package backup

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// A restore changes neither what it reads nor, until all is there, what it writes to.
func TestF10RestoreDestroysNothing(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(5)
	settings, d := archive(t)
	set := p.backUp(d)
	keys := services.SharedS3(t).Keys(t, settings.Name)
	q := newPlatform(t)
	q.fill(3)
	overwrite := q.restoring(d, overwriting)
	_, kept := archive(t)
	overwrite.Safety = func(ctx context.Context) (Set, error) { return Create(ctx, q.options(kept)) }

	// The dump is cut off on its way.
	var cut atomic.Bool
	cut.Store(true)
	overwrite.Destination = behind(t, settings, func(w http.ResponseWriter, r *http.Request) bool {
		if cut.Load() && strings.HasSuffix(r.URL.Path, dumpFile) && r.Method == http.MethodGet {
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write([]byte("PGDMP"))
			panic(http.ErrAbortHandler)
		}
		return false
	})
	if _, err := Restore(t.Context(), overwrite); err == nil {
		t.Fatal("no error")
	}
	var assets int
	if q.scan(&assets, "select count(*) from assets"); assets != 4 {
		t.Errorf("%d assets are left of 4", assets)
	}
	cut.Store(false)
	overwrite.Overwrite = "another"
	_, err := Restore(t.Context(), overwrite)
	problem(t, err, config.CodeTargetNotEmpty)
	overwrite.Overwrite = "studio"
	done, err := Restore(t.Context(), overwrite)
	if err != nil || done.Set != set.ID || done.SafetySet == "" {
		t.Fatalf("%+v, %v", done, err)
	}
	if rows, wrong := q.check(); len(wrong) > 0 || int64(rows) != set.Blobs.Objects {
		t.Errorf("%d rows, %v", rows, wrong)
	}
	if now := services.SharedS3(t).Keys(t, settings.Name); !slices.Equal(now, keys) {
		t.Errorf("the destination has %d keys, and had %d", len(now), len(keys))
	}
	var left int
	if q.scan(&left, "select count(*) from object_intents where delete_after > now() + interval '6 days'"); left == 0 {
		t.Error("nobody will collect the bytes that were overwritten")
	}
	old, _ := restored(t, kept)
	if rows, wrong := old.check(); rows == 0 || len(wrong) > 0 {
		t.Errorf("the safety set: %d rows, %v", rows, wrong)
	}
}

// A restore into something that is not empty needs its name, and one into what is not ours is refused whatever is said.
func TestF14TargetNotEmpty(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	_, d := archive(t)
	p.backUp(d)
	o := p.restoring(d)
	_, err := Restore(t.Context(), o)
	problem(t, err, config.CodeTargetNotEmpty)
	pg := services.SharedPostgres(t)
	foreign := pg.Empty(t)
	o.DatabaseURL, o.Overwrite = pg.URL(foreign), "studio"
	other, err := store.Open(o.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Pool().Exec(t.Context(), "create table payroll (id int)"); err != nil {
		t.Fatal(err)
	}
	_, err = Restore(t.Context(), o)
	problem(t, err, config.CodeDatabaseForeign)
}
