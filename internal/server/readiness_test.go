package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// probe asks /api/ready.
func (p *platform) probe() (int, config.Readiness) {
	p.t.Helper()
	r := p.get(config.PathReady, "")
	var body config.Readiness
	r.decode(&body)
	return r.status, body
}

// awaitStatus waits until the pod answers with this HTTP status and this word, and
// returns the checks.
func (p *platform) awaitStatus(status int, word string) config.Checks {
	p.t.Helper()
	var body config.Readiness
	eventually(p.t, word, func() bool {
		var got int
		got, body = p.probe()
		return got == status && body.Status == word
	})
	return body.Checks
}

func wantDown(t *testing.T, name string, c config.Check, says string) {
	t.Helper()
	if c.Status != config.CheckDown || !strings.Contains(c.Reason, says) || strings.Contains(c.Reason, services.PostgresPassword) || strings.Contains(c.Reason, services.SecretKey) {
		t.Errorf("%s: %+v, want down because %q", name, c, says)
	}
}

func TestHealthAndReady(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	if r := p.get(config.PathHealth, "").want(200); strings.TrimSpace(string(r.body)) != `{"status":"ok"}` {
		t.Errorf("health: %s", r.body)
	}
	checks := p.awaitStatus(200, config.StatusOK)
	ok := config.Check{Status: config.CheckOK}
	if checks != (config.Checks{Database: ok, Schema: ok, Storage: ok, Cache: ok}) {
		t.Errorf("checks: %+v", checks)
	}
	p.do("HEAD", config.PathReady, "", nil).want(200)
	p.server.readiness.drain()
	if status, body := p.probe(); status != 503 || body.Status != config.StatusUnavailable {
		t.Errorf("while draining: %d %+v", status, body)
	}
	if r := p.get(config.PathHealth, "").want(200); !r.closed {
		t.Error("a draining pod keeps connections")
	}
}

// A pod whose dependencies go away after it was ready stays ready, names them, answers
// with their codes, and recovers by itself.
func TestDependenciesGoAndComeBack(t *testing.T) {
	t.Parallel()
	pg, redis, s3 := services.NewPostgres(t), services.NewRedis(t, ""), services.NewS3(t)
	database := pg.Migrated(t, "platform", migrateURL)
	p := newPlatform(t, func(c *config.Server) {
		c.DatabaseURL, c.RedisURL, c.Bucket = pg.URL(database), "redis://"+redis.Address, s3.Bucket(t)
	})
	p.s3 = s3
	p.awaitStatus(200, config.StatusOK)
	token := p.register("alice").AccessToken

	pg.Stop()
	var checks config.Checks
	eventually(t, "the database is found to be away", func() bool {
		checks = p.awaitStatus(200, config.StatusDegraded)
		return strings.Contains(checks.Database.Reason, "the connection to the database at "+pg.Address+" was refused")
	})
	if checks.Schema.Status != config.CheckOK || checks.Storage.Status != config.CheckOK || checks.Cache.Status != config.CheckOK {
		t.Errorf("with the database away: %+v", checks)
	}
	r := p.get("/api/assets", token).wantProblem(503, "DATABASE_UNAVAILABLE", "")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	p.upload(token, newForm().file("a.png", "", png("1"))).wantProblem(503, "DATABASE_UNAVAILABLE", "")
	pg.Start(t)
	p.awaitStatus(200, config.StatusOK)
	p.get("/api/assets", token).want(200)

	redis.Stop()
	checks = p.awaitStatus(200, config.StatusDegraded)
	wantDown(t, "cache", checks.Cache, "the connection to Redis at "+redis.Address+" was refused")
	p.get("/api/assets", token).want(200)
	redis.Start(t)
	p.awaitStatus(200, config.StatusOK)

	s3.Stop()
	checks = p.awaitStatus(200, config.StatusDegraded)
	wantDown(t, "storage", checks.Storage, "http://"+s3.Address+", where bucket "+p.bucket.Name+" should be, refuses connections")
	s3.Start(t)
	p.awaitStatus(200, config.StatusOK)
	p.uploadPNG(token, "a.png", png("1"))
}

// A pod that starts before its database is alive, but takes no traffic until it has seen the schema.
func TestStartWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	pg := services.NewPostgres(t)
	database := pg.Migrated(t, "platform", migrateURL)
	pg.Stop()
	p := newPlatform(t, func(c *config.Server) { c.DatabaseURL = pg.URL(database) })
	eventually(t, "the first checks", func() bool { _, body := p.probe(); return body.Checks.Storage.Status == config.CheckOK })
	status, body := p.probe()
	if status != 503 || body.Status != config.StatusUnavailable {
		t.Errorf("%d %+v", status, body)
	}
	wantDown(t, "database", body.Checks.Database, "was refused")
	if body.Checks.Schema.Status != config.CheckUnknown {
		t.Errorf("schema: %+v", body.Checks.Schema)
	}
	p.get(config.PathHealth, "").want(200)
	select {
	case <-p.server.Started():
		t.Error("has started")
	default:
	}
	pg.Start(t)
	p.awaitStatus(200, config.StatusOK)
	<-p.server.Started()
}

// A pod that starts while its bucket and cache are away serves what it can.
func TestStartWithoutBucketAndCache(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, func(c *config.Server) {
		c.Bucket.Endpoint, c.RedisURL = "http://127.0.0.1:1", "redis://127.0.0.1:1"
	})
	checks := p.awaitStatus(200, config.StatusDegraded)
	<-p.server.Started()
	wantDown(t, "storage", checks.Storage, "refuses connections")
	wantDown(t, "cache", checks.Cache, "127.0.0.1:1 was refused")
	token := p.register("alice").AccessToken
	p.get("/api/assets", token).want(200)
	p.do("POST", "/api/assets/upload", token, strings.NewReader(""), "Content-Type", "text/plain").want(415)
}

// A pod whose bucket does not let it in takes no traffic and no jobs, so that a rollout with a
// wrong setting leaves the pods that work; it is ready once it was let in, and then for good.
func TestStartWithABucketThatRefuses(t *testing.T) {
	t.Parallel()
	s3 := services.NewS3(t)
	good := s3.Bucket(t)
	all := []string{"s3:ListBucket", "s3:GetObject", "s3:DeleteObject", "s3:PutObject"}
	for name, test := range map[string]struct {
		edit func(*config.Bucket)
		says string
	}{
		"bucket": {func(c *config.Bucket) { c.Name = "nowhere" }, "bucket nowhere does not exist"},
		"key":    {func(c *config.Bucket) { c.SecretKey = "hunter2" }, "refuses the credentials"},
		"rights": {func(c *config.Bucket) { c.AccessKey, c.SecretKey = services.GuestAccessKey, services.GuestSecretKey }, "is forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t, func(c *config.Server) {
				c.Bucket = good
				test.edit(&c.Bucket)
			})
			checks := p.awaitStatus(503, config.StatusUnavailable)
			wantDown(t, "storage", checks.Storage, test.says)
			if checks.Schema.Status != config.CheckOK {
				t.Errorf("schema: %+v", checks.Schema)
			}
			select {
			case <-p.server.Started():
				t.Error("has started")
			default:
			}
			if name != "rights" {
				return
			}

			s3.Stop() // says nothing new about what it will say when it is back
			eventually(t, "the bucket is found to be away", func() bool {
				_, body := p.probe()
				return strings.Contains(body.Checks.Storage.Reason, "refuses connections")
			})
			p.awaitStatus(503, config.StatusUnavailable)
			s3.Start(t)
			s3.Grant(t, good.Name, all...)
			p.awaitStatus(200, config.StatusOK)
			<-p.server.Started()
			s3.Grant(t, good.Name, "s3:PutObject")
			p.awaitStatus(200, config.StatusDegraded)
		})
	}
}

// Two platforms on one bucket: the second says so, and leaves what is there alone.
func TestBucketOfAnotherPlatform(t *testing.T) {
	t.Parallel()
	first := newPlatform(t)
	first.awaitStatus(200, config.StatusOK)
	first.upload(first.register("alice").AccessToken, newForm().file("a.png", "", png("1"))).want(201)
	kept := first.s3.Keys(t, first.bucket.Name)
	second := newPlatform(t, func(c *config.Server) {
		c.Bucket = first.bucket
		db, err := store.Open(c.DatabaseURL)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		// The tests' databases are copies of one, and copies have the same.
		if _, err := db.Pool().Exec(t.Context(), "update assetplatform_schema set platform_id = gen_random_uuid()"); err != nil {
			t.Fatal(err)
		}
	})
	checks := second.awaitStatus(503, config.StatusUnavailable)
	wantDown(t, "storage", checks.Storage, config.ForeignBucket)
	token := second.register("bob").AccessToken
	r := second.upload(token, newForm().file("b.png", "", png("2"))).wantProblem(503, "STORAGE_UNAVAILABLE", "")
	if strings.Contains(string(r.body), "in a moment") || !strings.Contains(string(r.body), "another installation") {
		t.Errorf("its clients are told %s", r.body)
	}
	if keys := first.s3.Keys(t, first.bucket.Name); !slices.Equal(keys, kept) {
		t.Errorf("the first one's bucket held %v, now %v", kept, keys)
	}
}

// A database that was given up and made anew, under a server that runs on: it leaves the bytes
// of the one before alone.
func TestDatabaseOfAnotherPlatform(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.awaitStatus(200, config.StatusOK)
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "a.png", png("1"))
	p.exec("update assetplatform_schema set platform_id = gen_random_uuid()")
	checks := p.awaitStatus(200, config.StatusDegraded)
	wantDown(t, "storage", checks.Storage, config.ForeignBucket)
	p.upload(token, newForm().file("b.png", "", png("2"))).wantProblem(503, "STORAGE_UNAVAILABLE", "")
	p.do("DELETE", assetPath(a.ID)+"?permanent=true", token, nil).want(204)
	if keys, _ := p.leftovers(); len(keys) != 1 {
		t.Errorf("the bucket holds %v", keys)
	}
	key := "platform-id"
	if _, err := p.s3.Client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &p.bucket.Name, Key: &key}); err != nil {
		t.Fatal(err)
	}
	p.awaitStatus(200, config.StatusOK)
	p.uploadPNG(token, "b.png", png("2"))
}

func TestReasons(t *testing.T) {
	t.Parallel()
	pg, redis := services.SharedPostgres(t), services.NewRedis(t, "right")
	empty := pg.URL(pg.Empty(t))
	ahead := pg.Migrated(t, "platform", migrateURL)
	behind := pg.Migrated(t, "platform", migrateURL)
	for name, test := range map[string]struct {
		edit  func(*config.Server)
		check func(config.Checks) config.Check
		says  string
	}{
		"wrong password": {func(c *config.Server) { c.DatabaseURL = pg.URLOf("postgres", "postgres", "hunter2") }, database, "refused user postgres"},
		"no database":    {func(c *config.Server) { c.DatabaseURL = pg.URL("nowhere") }, database, "has no database nowhere"},
		"unknown host":   {func(c *config.Server) { c.DatabaseURL = "postgres://u:p@db.invalid/x" }, database, "host db.invalid is unknown"},
		"no schema":      {func(c *config.Server) { c.DatabaseURL = empty }, schema, "has no schema yet"},
		"schema behind":  {func(c *config.Server) { c.DatabaseURL = pg.URL(behind) }, schema, "this image needs"},
		"schema ahead":   {func(c *config.Server) { c.DatabaseURL = pg.URL(ahead) }, schema, "deploy the newer image"},
		"redis password": {func(c *config.Server) { c.RedisURL = "redis://:hunter2@" + redis.Address }, cache, "refused the user or password"},
		"redis no auth":  {func(c *config.Server) { c.RedisURL = "redis://" + redis.Address }, cache, "refused the user or password"},
		"redis host":     {func(c *config.Server) { c.RedisURL = "redis://cache.invalid:6379" }, cache, "host cache.invalid is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t, test.edit)
			switch name {
			case "schema behind":
				p.exec("update assetplatform_schema set schema = 0")
			case "schema ahead":
				p.exec("update assetplatform_schema set schema = 1000, compatible_from = 1000")
			}
			eventually(t, test.says, func() bool {
				_, body := p.probe()
				c := test.check(body.Checks)
				return c.Status == config.CheckDown && strings.Contains(c.Reason, test.says)
			})
			status, body := p.probe()
			all, _ := json.Marshal(body)
			if strings.Contains(string(all), "hunter2") {
				t.Errorf("a password is in %s", all)
			}
			if wantStatus := map[bool]int{true: 200, false: 503}[strings.HasPrefix(name, "redis")]; status != wantStatus && !strings.HasPrefix(name, "schema") {
				t.Errorf("status %d: %s", status, all)
			}
		})
	}
}

func database(c config.Checks) config.Check { return c.Database }

func schema(c config.Checks) config.Check { return c.Schema }

func cache(c config.Checks) config.Check { return c.Cache }

// A schema that moved on under a running pod takes it out of service only if it does not fit any more.
func TestSchemaMovesOn(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.awaitStatus(200, config.StatusOK)
	p.exec("update assetplatform_schema set schema = schema + 1")
	time.Sleep(300 * time.Millisecond)
	p.awaitStatus(200, config.StatusOK)
	p.exec("update assetplatform_schema set compatible_from = schema")
	checks := p.awaitStatus(503, config.StatusUnavailable)
	wantDown(t, "schema", checks.Schema, "deploy the newer image")
	p.exec("update assetplatform_schema set compatible_from = 1")
	p.awaitStatus(200, config.StatusOK)
}

// exec changes the database.
func (p *platform) exec(sql string) {
	p.t.Helper()
	if _, err := p.store.Pool().Exec(context.Background(), sql); err != nil {
		p.t.Fatal(err)
	}
}

// A process that stops in the middle of its checks blames no dependency for that.
func TestStopWhileChecking(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.awaitStatus(200, config.StatusOK)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.server.readiness.observe(ctx)
	if log := p.log.String(); strings.Contains(log, `"down"`) || strings.Contains(log, "canceled") {
		t.Error(log)
	}
}

// A bucket that answers and does not let us write: the pod says so before and after
// somebody tries, and comes right by itself.
func TestBucketWithoutRights(t *testing.T) {
	t.Parallel()
	rights := []string{"s3:ListBucket", "s3:GetObject", "s3:DeleteObject"}
	p := newPlatform(t, func(c *config.Server) {
		c.Bucket.AccessKey, c.Bucket.SecretKey = services.GuestAccessKey, services.GuestSecretKey
		services.SharedS3(t).Grant(t, c.Bucket.Name, rights...)
	})
	refused := func(right string, status int, word string) {
		t.Helper()
		var checks config.Checks
		eventually(t, right, func() bool {
			checks = p.awaitStatus(status, word)
			return strings.Contains(checks.Storage.Reason, "lack the right "+right)
		})
		wantDown(t, "storage", checks.Storage, p.bucket.Name)
		if strings.Contains(checks.Storage.Reason, services.GuestSecretKey) {
			t.Errorf("a secret is in %s", checks.Storage.Reason)
		}
	}
	refused("s3:PutObject", 503, config.StatusUnavailable)
	token := p.register("alice").AccessToken
	for _, size := range []int{1, 6 << 20} {
		r := p.upload(token, newForm().file("a.png", "", png(strings.Repeat("x", size)))).wantProblem(503, "STORAGE_UNAVAILABLE", "")
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if l := p.list(token); len(l.Data) > 0 {
		t.Errorf("assets without bytes: %+v", l.Data)
	}
	p.s3.Grant(t, p.bucket.Name, append(rights, "s3:PutObject")...)
	p.awaitStatus(200, config.StatusOK)
	a := p.uploadPNG(token, "a.png", png("1"))

	p.s3.Grant(t, p.bucket.Name, "s3:ListBucket", "s3:PutObject", "s3:DeleteObject")
	p.get(a.DownloadURL, token).wantProblem(503, "STORAGE_UNAVAILABLE", "")
	refused("s3:GetObject", 200, config.StatusDegraded)
	p.s3.Grant(t, p.bucket.Name, append(rights, "s3:PutObject")...)
	p.awaitStatus(200, config.StatusOK)
	p.get(a.DownloadURL, token).want(200)
}

// The probes answer without a login, a database or a metric of their own cost.
func TestProbesTouchNothing(t *testing.T) {
	t.Parallel()
	s, db := newServer(t, config.Server{
		DatabaseURL: "postgres://u:p@127.0.0.1:1/x", RedisURL: "redis://127.0.0.1:1", JWTSecret: "k",
		Bucket: config.Bucket{Name: "b", Region: "r", Endpoint: "http://127.0.0.1:1", AccessKey: "a", SecretKey: "s"},
	}, io.Discard)
	defer db.Close()
	for path, status := range map[string]int{config.PathHealth: 200, config.PathReady: 503} {
		w := httptest.NewRecorder()
		start := time.Now()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != status || time.Since(start) > time.Second {
			t.Errorf("%s: %d after %v", path, w.Code, time.Since(start))
		}
	}
}
