package backup

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// A database's URL that PostgreSQL's programs understand otherwise than our driver does replaces no other database, and a platform without a
// name is not overwritten by one who names none.
func TestRestoreIntoWhatWasLookedAt(t *testing.T) {
	t.Parallel()
	p, q := newPlatform(t), newPlatform(t)
	p.fill(2)
	q.fill(1)
	_, d := archive(t)
	p.backUp(d)
	empty := vacant(t)
	u, err := url.Parse(empty.url)
	if err != nil {
		t.Fatal(err)
	}
	other, err := url.Parse(q.url)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery, u.Path = "dbname="+strings.TrimPrefix(u.Path, "/"), other.Path // of which our driver takes the first, libpq the second
	o := empty.restoring(d)
	o.DatabaseURL = u.String()
	_, err = Restore(t.Context(), o)
	problem(t, err, config.CodeConfigInvalid)
	if n := q.count("select count(*) from assets"); n != 2 {
		t.Errorf("%d assets are left of 2", n)
	}
	_, err = Restore(t.Context(), q.restoring(d, func(o *RestoreOptions) { o.Name, o.Overwrite = "", "" }))
	problem(t, err, config.CodeTargetNotEmpty)
}

// A restore that is done is done again only if asked to as the first time was, and not instead of another one.
func TestRestoreIsNotTakenForAnother(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	_, d := archive(t)
	first, second := p.backUp(d), p.backUp(d)
	of := func(set Set, id string) func(*RestoreOptions) {
		return func(o *RestoreOptions) { o.Set, o.ID = set.ID, id }
	}
	q, _ := restored(t, d, of(first, ""))
	q.exec("delete from assets where user_id = $1", p.users[0].ID)
	_, err := Restore(t.Context(), q.restoring(d, of(first, "")))
	problem(t, err, config.CodeTargetNotEmpty)
	q, _ = restored(t, d, of(first, "one"))
	_, err = Restore(t.Context(), q.restoring(d, overwriting, of(second, "one")))
	problem(t, err, config.CodeConfigInvalid)
}

// What a server acknowledges while its database is replaced would be lost: it is waited for, and refused if it goes on.
func TestRestoreUnderAServer(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	_, d := archive(t)
	p.backUp(d)
	server, err := store.OpenServer(p.url)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	serve := func() {
		if _, _, err := server.Identity(t.Context()); err != nil {
			t.Error(err)
		}
	}
	serve()
	var during func()
	o := p.restoring(d, overwriting, func(o *RestoreOptions) {
		o.recheck, o.lastWords = time.Millisecond, 50*time.Millisecond
		o.step = func(name string) {
			if name == "target in use" {
				during()
			}
		}
	})
	during = serve
	_, err = Restore(t.Context(), o)
	problem(t, err, config.CodeTargetInUse)
	if n := p.count("select count(*) from assets"); n != 3 {
		t.Errorf("%d assets are left of 3", n)
	}
	o.lastWords, during = time.Minute, server.Close
	if _, err := Restore(t.Context(), o); err != nil {
		t.Error(err)
	}
	// One that begins behind the check.
	again, err := store.OpenServer(p.url)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	server = again
	o.step = func(name string) {
		if name == "database" {
			serve()
		}
	}
	_, err = Restore(t.Context(), o)
	problem(t, err, config.CodeTargetInUse)
}

// The bucket of a platform that another one's set is restored over stays its own where that fails, and comes back to it where the restore was
// killed and a set of its own is restored in its place.
func TestBucketComesBack(t *testing.T) {
	t.Parallel()
	p, q := newPlatform(t), newPlatform(t)
	q.exec("update assetplatform_schema set platform_id = gen_random_uuid(), instance = gen_random_uuid()") // all are copies of one database
	var owner objectstore.Owner
	var err error
	if owner.Platform, owner.Instance, err = q.store.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.settings = services.SharedS3(t).Bucket(t)
	ours := func() error {
		bucket, err := objectstore.New(t.Context(), q.settings, nil)
		if err != nil {
			t.Fatal(err)
		}
		return bucket.Claim(t.Context(), owner)
	}
	if err := ours(); err != nil {
		t.Fatal(err)
	}
	p.fill(2)
	_, d := archive(t)
	set := p.backUp(d)
	_, kept := archive(t)
	o := q.options(kept)
	o.Bucket = q.restoring(kept).Bucket
	if _, err := Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}

	limited := q.settings
	limited.Endpoint = services.Front(t, q.settings.Endpoint, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.Method == http.MethodDelete
	})
	_, err = Restore(t.Context(), (&platform{t: t, url: q.url, settings: limited}).restoring(d, overwriting))
	if !errors.Is(err, objectstore.ErrRefused) {
		t.Errorf("without the right to delete: %v", err)
	}
	if err := ours(); err != nil {
		t.Errorf("without the right to delete: %v", err)
	}

	target, err := store.OpenTarget(t.Context(), q.url)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if err := target.NoteBucketOf(t.Context(), set.Platform.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := q.restoring(d).Bucket.HandOver(t.Context(), owner, set.Platform.ID, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	if err := ours(); err == nil {
		t.Error("the restore that was killed has changed nothing")
	}
	if _, err := Restore(t.Context(), q.restoring(kept, overwriting)); err != nil {
		t.Error(err)
	}
	q.open()
}

// A set whose dump or inventory is damaged says so, counts as verified no more, and is not chosen again.
func TestRestoreOfDamagedFiles(t *testing.T) {
	t.Parallel()
	for _, file := range []string{dumpFile, inventoryFile} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(2)
			settings, d := archive(t)
			whole, damaged := p.backUp(d), p.backUp(d)
			services.SharedS3(t).Damage(t, settings.Name, setKey(damaged.ID, file))
			q := vacant(t)
			if _, err := Restore(t.Context(), q.restoring(d)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), setKey(damaged.ID, file)) {
				t.Errorf("%v", err)
			}
			if done, err := Restore(t.Context(), q.restoring(d)); err != nil || done.Set != whole.ID {
				t.Errorf("%+v, %v", done, err)
			}
		})
	}
}

// The newest set of a platform is not that of a copy of it which was backed up to its destination.
func TestRestoreChoosesNoCopysSet(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	_, d := archive(t)
	set := p.backUp(d)
	later := p.backUp(d)
	rewrite(t, d, later.ID, func(m *Manifest) { m.Platform.Instance = uuid.New() })
	if _, err := d.Verify(t.Context(), later.ID, VerifyOptions{}); err != nil {
		t.Fatal(err)
	}
	p.exec("update assetplatform_schema set instance_since = $1", set.SnapshotTime)
	if done, err := Restore(t.Context(), p.restoring(d, overwriting)); err != nil || done.Set != set.ID {
		t.Errorf("%+v, %v", done, err)
	}
}
