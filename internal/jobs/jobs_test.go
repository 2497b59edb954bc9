package jobs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

func TestMain(m *testing.M) { os.Exit(services.Main(m)) }

// bench is a database and a bucket to work on.
type bench struct {
	t        *testing.T
	store    *store.Store
	bucket   *objectstore.Bucket
	settings config.Bucket
	user     store.User
	log      *services.Log
}

func newBench(t *testing.T, pg *services.Postgres) *bench {
	t.Helper()
	b := &bench{t: t, settings: services.SharedS3(t).Bucket(t), log: &services.Log{}}
	var err error
	b.store, err = store.Open(pg.URL(pg.Migrated(t, "jobs", func(url string) error {
		_, err := store.Migrate(context.Background(), store.MigrateOptions{URL: url, LockWait: time.Minute, Log: slog.New(slog.DiscardHandler)})
		return err
	})))
	if err == nil {
		t.Cleanup(b.store.Close)
		b.bucket, err = objectstore.New(t.Context(), b.settings, nil)
	}
	if err == nil {
		err = b.bucket.Claim(t.Context(), objectstore.Owner{Platform: uuid.New()})
	}
	if err == nil {
		b.user, err = b.store.CreateUser(t.Context(), store.NewUser{Email: "a@example.com", Username: "alice", PasswordHash: "x"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run works until the test ends; stop ends it before and waits for it.
func (b *bench) run(ready <-chan struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		log := slog.New(slog.NewTextHandler(b.log, nil))
		if err := Run(ctx, Options{Store: b.store, Bucket: b.bucket, Log: log, TrashRetention: time.Hour, AuditRetention: time.Hour}, ready); err != nil {
			b.t.Errorf("run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	b.t.Cleanup(stop)
	return stop
}

// begin notes a key and stores bytes under it, as an upload that died before its commit.
func (b *bench) begin(content string) string {
	b.t.Helper()
	key, err := b.store.BeginUpload(b.t.Context(), b.user.ID)
	if err == nil {
		err = b.bucket.Put(b.t.Context(), key, strings.NewReader(content))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return key
}

// asset uploads bytes that stand for a picture.
func (b *bench) asset(content string) (id uuid.UUID, key string) {
	b.t.Helper()
	a, key := b.upload(store.Image, "image/png", content)
	return a.ID, key
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.store.Pool().Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) count(table string) (n int) {
	b.t.Helper()
	if err := b.store.Pool().QueryRow(b.t.Context(), "select count(*) from "+table).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 30 s: " + what)
		}
	}
}

// The purge deletes what is past its time, in the database and in the bucket, and nothing else.
func TestPurge(t *testing.T) {
	t.Parallel()
	b := newBench(t, services.SharedPostgres(t))
	stale, fresh := b.begin("stale"), b.begin("fresh")
	parts := "blobs/00/parts" // a crash in the middle of a multipart upload
	if _, err := services.SharedS3(t).Client().CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &b.settings.Name, Key: &parts}); err != nil {
		t.Fatal(err)
	}
	b.exec("insert into object_intents values ($1, $2, now())", parts, b.user.ID)
	b.exec("update object_intents set delete_after = now() - interval '1 s' where object_key = $1", stale)
	const foreign = "blobs/00/of another platform"
	if err := b.bucket.Put(t.Context(), foreign, bytes.NewReader([]byte("x"))); err != nil {
		t.Fatal(err)
	}

	old, _ := b.asset("old trash")
	young, youngKey := b.asset("young trash")
	shared, sharedKey := b.asset("shared")
	if _, second := b.asset("shared"); second == sharedKey {
		t.Fatal("the second copy has the first one's key")
	}
	_, liveKey := b.asset("live")
	for _, id := range []uuid.UUID{old, young, shared} {
		if err := b.store.TrashAsset(t.Context(), b.user.ID, id); err != nil {
			t.Fatal(err)
		}
	}
	b.exec("update assets set deleted_at = deleted_at - interval '2 h' where id = any($1)", []uuid.UUID{old, shared})
	if _, err := b.store.CreateSession(t.Context(), b.user, "token", -time.Hour); err != nil {
		t.Fatal(err)
	}
	b.exec("update sessions set created_at = created_at - interval '8 days'")
	longAgo, err := uuid.Parse("01000000-0000-7000-8000-000000000000") // of the year 2004
	if err != nil {
		t.Fatal(err)
	}
	b.exec("insert into audit_events (id, action, user_agent, success, request_id) values ($1, 'old', '', true, '')", longAgo)
	events := b.count("audit_events")

	b.run(closed())
	want := []string{fresh, foreign, youngKey, sharedKey, liveKey, "platform-id"}
	slices.Sort(want)
	var keys []string
	eventually(t, fmt.Sprintf("only %q are left", want), func() bool {
		keys = services.SharedS3(t).Keys(t, b.settings.Name)
		return len(keys) <= len(want)
	})
	if slices.Sort(keys); !slices.Equal(keys, want) {
		t.Errorf("left: %q\nwant: %q", keys, want)
	}
	eventually(t, "the ended session is forgotten", func() bool {
		return b.count("sessions") == 0
	})
	eventually(t, "the old event is forgotten", func() bool { return b.count("audit_events") == events-1 })
	if assets, notes := b.count("assets"), b.count("object_intents"); assets != 3 || notes != 1 {
		t.Errorf("%d assets and %d notes are left, want 3 and the fresh one", assets, notes)
	}
	if log := b.log.String(); !strings.Contains(log, "msg=purged assets=2 objects=4") {
		t.Errorf("log: %s", log)
	}
}

// An object that cannot be deleted does not keep the others, and is tried again later.
func TestPurgeGoesOnPastAFailure(t *testing.T) {
	t.Parallel()
	b := newBench(t, services.SharedPostgres(t))
	for i := range 3 {
		b.begin(fmt.Sprint(i))
	}
	b.exec("update object_intents set delete_after = now()")
	var bad string
	w := &purgeWorker{o: Options{Store: b.store, Bucket: b.bucket, Log: slog.New(slog.DiscardHandler)}}
	if err := b.store.Pool().QueryRow(t.Context(), "select min(object_key) from object_intents").Scan(&bad); err != nil {
		t.Fatal(err)
	}
	// A key that S3 refuses: no object can have one of more than 1,024 bytes.
	b.exec("update object_intents set object_key = $1 || repeat('x', 2000) where object_key = $1", bad)
	collected, err := w.collectObjects(t.Context())
	if collected != 2 || err == nil {
		t.Errorf("collected %d, %v; want the other two and an error", collected, err)
	}
	if notes := b.count("object_intents"); notes != 1 {
		t.Errorf("%d notes are left", notes)
	}
}

func TestRunWaitsUntilReady(t *testing.T) {
	t.Parallel()
	b := newBench(t, services.SharedPostgres(t))
	ready := make(chan struct{})
	stop := b.run(ready)
	time.Sleep(200 * time.Millisecond)
	if b.log.String() != "" {
		t.Errorf("before it is ready: %s", b.log)
	}
	stop()

	stop = b.run(closed())
	eventually(t, "the workers have started", func() bool { return strings.Contains(b.log.String(), "River client started") })
	start := time.Now()
	if stop(); time.Since(start) > 5*time.Second {
		t.Errorf("took %v to stop", time.Since(start))
	}
}

func TestRunStartsOnceTheDatabaseIsBack(t *testing.T) {
	t.Parallel()
	pg := services.NewPostgres(t)
	b := newBench(t, pg)
	pg.Stop()
	b.run(closed())
	eventually(t, "the first attempt fails", func() bool { return strings.Contains(b.log.String(), "cannot start yet") })
	pg.Start(t)
	eventually(t, "the workers have started", func() bool { return strings.Contains(b.log.String(), "River client started") })
}

// What an older image has written becomes searchable.
func TestIndex(t *testing.T) {
	t.Parallel()
	b := newBench(t, services.SharedPostgres(t))
	for i := range 3 {
		b.asset(fmt.Sprint(i))
	}
	b.exec("update assets set search_text = null, grams = null, original_name = 'Hero.png'")
	find := func() int {
		found, _, _, err := b.store.ListAssets(t.Context(), b.user.ID, store.AssetFilter{Search: "hero"}, store.Page{Sort: store.SortRank, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := find(); n != 0 {
		t.Fatalf("%d are found before", n)
	}
	b.run(closed())
	eventually(t, "all are found", func() bool { return find() == 3 })
}
