package backup

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

func TestMain(m *testing.M) {
	os.Setenv("PATH", "/usr/lib/postgresql/15/bin:"+os.Getenv("PATH")) // Debian's own are wrappers in Perl
	if text := os.Getenv(victimVariable); text != "" {
		victim(text)
	}
	var err error
	if programDir, err = os.MkdirTemp("", "assetplatform-test-program-"); err != nil {
		panic(err)
	}
	code := services.Main(m)
	os.RemoveAll(programDir)
	os.Exit(code)
}

// platform is a database and a bucket, with users whose assets have bytes.
type platform struct {
	t        testing.TB
	url      string
	store    *store.Store
	settings config.Bucket
	bucket   *objectstore.Bucket
	users    []store.User
	made     int // assets so far
}

func migrate(url string) error {
	_, err := store.Migrate(context.Background(), store.MigrateOptions{URL: url, LockWait: time.Minute, Log: slog.New(slog.DiscardHandler)})
	return err
}

func newPlatform(t testing.TB) *platform {
	t.Helper()
	pg := services.SharedPostgres(t)
	p := &platform{t: t, url: pg.URL(pg.Migrated(t, "backup", migrate)), settings: services.SharedS3(t).Bucket(t)}
	p.open()
	for _, name := range []string{"alice", "bob"} {
		user, err := p.store.CreateUser(context.Background(), store.NewUser{Email: name + "@example.com", Username: name, PasswordHash: "x"})
		if err != nil {
			t.Fatal(err)
		}
		p.users = append(p.users, user)
	}
	return p
}

// open connects to database and bucket.
func (p *platform) open() {
	p.t.Helper()
	var err error
	if p.store, err = store.Open(p.url); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.store.Close)
	if p.bucket, err = objectstore.New(context.Background(), p.settings, nil); err != nil {
		p.t.Fatal(err)
	}
	var owner objectstore.Owner
	if owner.Platform, owner.Instance, err = p.store.Identity(context.Background()); err == nil {
		err = p.bucket.Claim(context.Background(), owner)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *platform) scan(into any, sql string, args ...any) {
	p.t.Helper()
	if err := p.store.Pool().QueryRow(context.Background(), sql, args...).Scan(into); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
}

func (p *platform) count(sql string) (n int) {
	p.t.Helper()
	p.scan(&n, sql)
	return n
}

func (p *platform) exec(sql string, args ...any) {
	p.t.Helper()
	if _, err := p.store.Pool().Exec(context.Background(), sql, args...); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
}

// upload makes an asset of these bytes.
func (p *platform) upload(user store.User, content []byte) store.Asset {
	p.t.Helper()
	p.made++
	a, err := p.tryUpload(user, fmt.Sprintf("asset-%d.png", p.made), content)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *platform) tryUpload(user store.User, name string, content []byte) (store.Asset, error) {
	ctx := context.Background()
	key, err := p.store.BeginUpload(ctx, user.ID)
	if err == nil {
		err = p.bucket.Put(ctx, key, bytes.NewReader(content))
	}
	if err != nil {
		return store.Asset{}, err
	}
	a, duplicate, _, err := p.store.CommitUpload(ctx, store.NewAsset{
		UserID: user.ID, ObjectKey: key, SHA256: sha256.Sum256(content), FileSize: int64(len(content)), OriginalName: name, FileType: store.Image, MIMEType: "image/png",
	})
	if err == nil && duplicate {
		err = p.store.DiscardObject(ctx, user.ID, key, p.bucket.Delete)
	}
	return a, err
}

// fill makes assets of random bytes, of which some are equal.
func (p *platform) fill(count int) {
	p.t.Helper()
	for i := range count {
		content := make([]byte, 1+rand.IntN(50_000))
		if i%10 == 0 {
			content = make([]byte, 6<<20) // several parts
		}
		_, _ = crand.Read(content)
		p.upload(p.users[i%2], content)
		if i%5 == 0 {
			p.upload(p.users[(i+1)%2], content)
		}
	}
}

// check reads the bytes of every row, and tells what is wrong.
func (p *platform) check() (rows int, wrong []string) {
	p.t.Helper()
	type blob struct {
		Sha  []byte
		Size int64
		Key  string
	}
	found, err := p.store.Pool().Query(context.Background(), "select sha256, size, object_key from blobs")
	if err != nil {
		p.t.Fatal(err)
	}
	blobs, err := pgx.CollectRows(found, pgx.RowToStructByPos[blob])
	if err != nil {
		p.t.Fatal(err)
	}
	for _, b := range blobs {
		body, err := p.bucket.Get(context.Background(), b.Key, 0, -1)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", b.Key, err))
			continue
		}
		h := sha256.New()
		n, err := io.Copy(h, body)
		body.Close()
		if err != nil || n != b.Size || !bytes.Equal(h.Sum(nil), b.Sha) {
			wrong = append(wrong, fmt.Sprintf("%s: %d bytes, %v", b.Key, n, err))
		}
	}
	return len(blobs), wrong
}

// archive is a new bucket for backups.
func archive(t testing.TB) (config.Bucket, Destination) {
	t.Helper()
	settings := services.SharedS3(t).Bucket(t)
	return settings, destination(t, settings)
}

func destination(t testing.TB, settings config.Bucket) Destination {
	t.Helper()
	a, err := objectstore.NewArchive(context.Background(), settings)
	if err != nil {
		t.Fatal(err)
	}
	return Destination{Archive: a, Remover: a}
}

var discard = slog.New(slog.DiscardHandler)

// options to make a set of the platform.
func (p *platform) options(d Destination) CreateOptions {
	return CreateOptions{DatabaseURL: p.url, Bucket: p.bucket, Destination: d, Tool: "test", Log: discard}
}

func (p *platform) backUp(d Destination, edit ...func(*CreateOptions)) Set {
	p.t.Helper()
	o := p.options(d)
	for _, e := range edit {
		e(&o)
	}
	set, err := Create(context.Background(), o)
	if err != nil {
		p.t.Fatal(err)
	}
	if !set.Verified() {
		p.t.Fatalf("set %s is not verified: %v, %v", set.ID, set.Damage, set.Blobs.Missing)
	}
	return set
}

// vacant is an empty database and an empty bucket.
func vacant(t testing.TB) *platform {
	t.Helper()
	pg := services.SharedPostgres(t)
	return &platform{t: t, url: pg.URL(pg.Empty(t)), settings: services.SharedS3(t).Bucket(t)}
}

// restoring is how the newest set is restored into a platform, by a process of its own.
func (p *platform) restoring(d Destination, edits ...func(*RestoreOptions)) RestoreOptions {
	p.t.Helper()
	bucket, err := objectstore.New(context.Background(), p.settings, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	o := RestoreOptions{Destination: d, DatabaseURL: p.url, Bucket: bucket, Name: "studio", Log: discard}
	for _, edit := range edits {
		edit(&o)
	}
	return o
}

func overwriting(o *RestoreOptions) { o.Overwrite = o.Name }

// restored is a platform of a new database and a new bucket, restored from a set.
func restored(t testing.TB, d Destination, edits ...func(*RestoreOptions)) (*platform, Restored) {
	t.Helper()
	p := vacant(t)
	done, err := Restore(context.Background(), p.restoring(d, edits...))
	if err != nil {
		t.Fatal(err)
	}
	p.open()
	return p, done
}

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(30)
	_, d := archive(t)
	set := p.backUp(d)
	if rows, _ := p.check(); set.Blobs.Objects != int64(rows) || set.Blobs.Copied != set.Blobs.Count || set.Blobs.Count != 30 {
		t.Errorf("%+v of %d rows", set.Blobs, rows)
	}
	p.fill(5)
	if next := p.backUp(d); next.Blobs.Copied != 5 || next.Blobs.Count != 35 || next.Previous != set.ID {
		t.Errorf("the second set: %+v after %s", next.Blobs, next.Previous)
	}
	for id, assets := range map[string]int{set.ID: 36, "": 42} {
		q, done := restored(t, d, func(o *RestoreOptions) { o.Set = id })
		rows, wrong := q.check()
		if len(wrong) > 0 || int64(rows) != done.Copied {
			t.Errorf("set %q: %+v, wrong: %v", id, done, wrong)
		}
		if n := q.count("select count(*) from assets"); n != assets {
			t.Errorf("set %q: %d assets, want %d", id, n, assets)
		}
	}
	l, err := d.List(t.Context())
	if err != nil || len(l.Sets) != 2 || len(l.Unfinished)+len(l.Bad) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := d.Verify(t.Context(), set.ID, VerifyOptions{}); err != nil {
		t.Error(err)
	}
	_, err = Restore(t.Context(), p.restoring(d))
	var problem *store.Problem
	if !errors.As(err, &problem) || problem.Code != config.CodeTargetNotEmpty || !strings.Contains(problem.Error(), "42 assets") {
		t.Errorf("restored over a platform: %v", err)
	}
}
