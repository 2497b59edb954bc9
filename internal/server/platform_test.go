package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

func TestMain(m *testing.M) { os.Exit(services.Main(m)) }

// platform is a server over HTTP with a database, a bucket and a Redis of its own.
type platform struct {
	t      testing.TB
	url    string
	s3     *services.S3 // the shared one
	config config.Server
	bucket config.Bucket
	store  *store.Store
	server *Server
	log    *services.Log
}

// newPlatform starts a server on the shared services, with its settings edited.
func newPlatform(t testing.TB, edits ...func(*config.Server)) *platform {
	t.Helper()
	pg, s3 := services.SharedPostgres(t), services.SharedS3(t)
	cfg := config.Server{
		DatabaseURL: pg.URL(pg.Migrated(t, "platform", migrateURL)), RedisURL: services.SharedRedis(t),
		JWTSecret: "a key that is long enough for HS256", Bucket: s3.Bucket(t),
		MaxFileSizeImage: 10 << 20, MaxFileSizeAudio: 50 << 20, TrashRetention: time.Hour,
		RateLimits: config.RateLimits{LoginAccount: 5, LoginAddress: 30},
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	p := &platform{t: t, s3: s3, config: cfg, bucket: cfg.Bucket, log: &services.Log{}}
	p.serve()
	return p
}

// second is another server of the same platform.
func (p *platform) second() *platform {
	p.t.Helper()
	second := *p
	second.serve()
	return &second
}

// serve starts the server.
func (p *platform) serve() {
	t := p.t
	t.Helper()
	p.server, p.store = newServer(t, p.config, p.log)
	ctx, cancel := context.WithCancel(context.Background())
	p.server.readiness.observe(ctx) // before the first request, so that the bucket is claimed if it can be
	go p.server.readiness.run(ctx, 100*time.Millisecond)
	web := httptest.NewUnstartedServer(p.server.Handler())
	web.Config = p.server.httpServer(p.server.Handler())
	web.Listener = listener{web.Listener.(*net.TCPListener), p.server.log}
	web.Start()
	p.url = web.URL
	t.Cleanup(func() {
		web.Close()
		cancel()
		p.store.Close()
		if t.Failed() {
			t.Log("the server's log:\n", p.log)
		}
	})
}

func newServer(t testing.TB, cfg config.Server, log io.Writer) (*Server, *store.Store) {
	t.Helper()
	db, err := store.Open(cfg.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	metrics := NewMetrics()
	bucket, err := objectstore.New(t.Context(), cfg.Bucket, metrics.ObserveBucket)
	if err != nil {
		t.Fatal(err)
	}
	rdb, err := NewRedis(cfg.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return New(Options{Config: cfg, Store: db, Bucket: bucket, Redis: rdb, Log: logger, Metrics: metrics}), db
}

func migrateURL(url string) error {
	_, err := store.Migrate(context.Background(), store.MigrateOptions{URL: url, LockWait: time.Minute, Log: slog.New(slog.DiscardHandler)})
	return err
}

// reply is an answer of the server, read in full.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
	closed bool // the server does not want to keep the connection
}

// do sends a request. token and body may be empty; headers are pairs.
func (p *platform) do(method, path, token string, body io.Reader, headers ...string) reply {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return p.send(r)
}

func (p *platform) send(r *http.Request) reply {
	p.t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return reply{p.t, answer.StatusCode, answer.Header, all, answer.Close}
}

func (p *platform) get(path, token string, headers ...string) reply {
	p.t.Helper()
	return p.do("GET", path, token, nil, headers...)
}

// post sends a JSON body, given as a text.
func (p *platform) post(path, token, body string) reply {
	p.t.Helper()
	return p.do("POST", path, token, strings.NewReader(body), "Content-Type", "application/json")
}

// want fails the test unless the status is that.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d; body: %s", r.status, status, r.body)
	}
	return r
}

// wantProblem checks the whole shape of an error: status, code and, if given, the field in details.
func (r reply) wantProblem(status int, code, field string) reply {
	r.t.Helper()
	r.want(status)
	var body struct {
		Error struct {
			Code, Message string
			Details       []detail
		}
		Timestamp time.Time
		Path      string
		RequestID string
	}
	r.decode(&body)
	if body.Error.Code != code {
		r.t.Errorf("code %s, want %s; body: %s", body.Error.Code, code, r.body)
	}
	if body.Error.Message == "" || body.Path == "" || body.RequestID == "" || body.RequestID != r.header.Get("X-Request-Id") || time.Since(body.Timestamp) > time.Minute {
		r.t.Errorf("incomplete error: %s", r.body)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/json" {
		r.t.Errorf("Content-Type %q", ct)
	}
	if field == "" {
		return r
	}
	for _, d := range body.Error.Details {
		if d.Field == field && d.Message != "" {
			return r
		}
	}
	r.t.Errorf("details do not name %q: %s", field, r.body)
	return r
}

func (r reply) decode(into any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, into); err != nil {
		r.t.Fatalf("%v in %s", err, r.body)
	}
}

// decode1 decodes the envelope of an answer with one object.
func decode1[T any](r reply) T {
	r.t.Helper()
	var envelope struct{ Data T }
	r.decode(&envelope)
	return envelope.Data
}

const password = "correct horse battery"

// register makes an account and returns its session.
func (p *platform) register(name string) sessionBody {
	p.t.Helper()
	body := fmt.Sprintf(`{"email":"%s@example.com","username":"%s","password":"%s"}`, name, name, password)
	return decode1[sessionBody](p.post("/api/auth/register", "", body).want(http.StatusCreated))
}

// form is a multipart body under construction.
type form struct {
	buffer bytes.Buffer
	writer *multipart.Writer
}

func newForm() *form {
	f := &form{}
	f.writer = multipart.NewWriter(&f.buffer)
	return f
}

func (f *form) field(name, value string) *form {
	_ = f.writer.WriteField(name, value) // into memory: cannot fail
	return f
}

// file adds the file part as browsers write it: the name in raw UTF-8.
func (f *form) file(name, contentType string, content []byte) *form {
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", fmt.Sprintf(`form-data; name="file"; filename="%s"`, name))
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	w, _ := f.writer.CreatePart(h)
	_, _ = w.Write(content)
	return f
}

// upload sends the form.
func (p *platform) upload(token string, f *form) reply {
	p.t.Helper()
	f.writer.Close()
	return p.do("POST", "/api/assets/upload", token, &f.buffer, "Content-Type", f.writer.FormDataContentType())
}

// uploadPNG stores a small image and returns its asset.
func (p *platform) uploadPNG(token, name string, content []byte) assetBody {
	p.t.Helper()
	return decode1[assetBody](p.upload(token, newForm().file(name, "image/png", content)).want(http.StatusCreated))
}

// leftovers lists what the bucket and the notes of objects hold.
func (p *platform) leftovers() (keys []string, notes int) {
	p.t.Helper()
	p.query("select count(*) from object_intents", &notes)
	keys = slices.DeleteFunc(p.s3.Keys(p.t, p.bucket.Name), func(key string) bool { return key == "rights-check" || key == "platform-id" }) // what checks of the bucket leave
	return keys, notes
}

// query reads one value from the database.
func (p *platform) query(sql string, into any) {
	p.t.Helper()
	if err := p.store.Pool().QueryRow(context.Background(), sql).Scan(into); err != nil {
		p.t.Fatal(err)
	}
}

func queryString(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Add(pairs[i], pairs[i+1])
	}
	return "?" + q.Encode()
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 30 s: " + what)
		}
	}
}
