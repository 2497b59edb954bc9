package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// What a request for a part of a library of a million assets may take, 99 of 100 times.
const (
	libraryAssets = 1_000_000
	limitList     = 50 * time.Millisecond
	limitSearch   = 150 * time.Millisecond
)

// BenchmarkLibrary asks the real binary for parts of one user's library of a million assets, one request at a time.
func BenchmarkLibrary(b *testing.B) {
	// The tests' own has next to no memory; one with so much in it has a quarter of its machine's.
	program, env := build(b), environmentOn(b, services.NewPostgres(b, "shared_buffers=1GB"))
	server := startServer(b, program, env, "RATE_LIMIT_GENERAL=0")
	defer server.stop(b)
	l := &library{b: b, url: server.url}
	user := l.register("artist")
	fillLibrary(b, env, libraryAssets, func(int) uuid.UUID { return user })

	lists := map[string][]string{"list": nil, "filter": nil, "search": nil}
	for _, sort := range []string{"createdAt", "updatedAt", "originalName", "fileSize"} {
		for _, order := range []string{"asc", "desc"} {
			lists["list"] = append(lists["list"], "sortBy="+sort+"&sortOrder="+order)
		}
	}
	lists["filter"] = []string{
		"fileType=AUDIO", "category=category+7", "category=category+7&sortBy=originalName", "tags=tag+3", "tags=tag+190", "tags=tag+3&tags=tag+190&tagMode=all", "tags=tag+190&sortBy=fileSize",
		"category=nothing", "tags=nothing", "createdAfter=2026-01-01T00:00:00Z", "createdBefore=2025-01-02T00:00:00Z", "fileType=AUDIO&category=category+7&tags=tag+3",
	}
	for _, words := range []string{"gob", "goblin", "goblin walk", "勇者", "勇", "の勇", "png", "a", "xyzzy", "walk_000999", "999", "goblin 勇者", "tag 190", "goblim", "zombie run 0001"} {
		lists["search"] = append(lists["search"], "search="+url.QueryEscape(words))
	}
	for name, queries := range lists {
		var worst time.Duration
		for _, query := range queries {
			took := l.measure(query)
			b.Logf("%-8s %6.1f ms  %s", name, milliseconds(took), query)
			worst = max(worst, took)
		}
		limit := limitList
		if name == "search" {
			limit = limitSearch
		}
		report(b, name+"-p99", "ms", milliseconds(worst), milliseconds(limit))
	}
	report(b, "deep-page-p99", "ms", milliseconds(l.deepPages()), milliseconds(limitList))
	b.ReportMetric(0, "ns/op") // says nothing here
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// library is a user's, over HTTP.
type library struct {
	b          *testing.B
	url, token string
}

// password is that of all users.
const password = "correct horse battery"

func (l *library) register(name string) uuid.UUID {
	l.b.Helper()
	return l.begin("/api/auth/register", map[string]string{"email": name + "@example.com", "username": name, "password": password})
}

// login begins a new session: a token is good for 15 minutes.
func (l *library) login(name string) {
	l.b.Helper()
	l.begin("/api/auth/login", map[string]string{"username": name, "password": password})
}

// begin begins a session, and returns whose it is.
func (l *library) begin(path string, who map[string]string) uuid.UUID {
	l.b.Helper()
	var session struct {
		Data struct {
			AccessToken string
			User        struct{ ID uuid.UUID }
		}
	}
	post(l.b, l.url+path, who, &session)
	l.token = session.Data.AccessToken
	return session.Data.User.ID
}

// post sends JSON and reads the answer's.
func post(t testing.TB, url string, body, into any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(url, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil || answer.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
}

// page asks for a part of the list, and returns how long it took and the cursor of the next part.
func (l *library) page(query string) (took time.Duration, next string) {
	l.b.Helper()
	r, err := http.NewRequest(http.MethodGet, l.url+"/api/assets?"+query, nil)
	if err != nil {
		l.b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+l.token)
	start := time.Now()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		l.b.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	took = time.Since(start)
	var page struct{ Pagination struct{ NextCursor string } }
	if err == nil {
		err = json.Unmarshal(body, &page)
	}
	if err != nil || answer.StatusCode != http.StatusOK {
		l.b.Fatalf("%s: %s %s, %v", query, answer.Status, body, err)
	}
	return took, page.Pagination.NextCursor
}

// measure is what 99 of 100 requests for the first part of a list take at most.
func (l *library) measure(query string) time.Duration {
	l.b.Helper()
	const requests = 100
	all := make([]time.Duration, requests)
	l.page(query) // the first one reads from the disk
	for i := range all {
		all[i], _ = l.page(query)
	}
	slices.Sort(all)
	return all[requests-2]
}

// deepPages follows cursors for a hundred pages of every sort from the middle of the list on.
func (l *library) deepPages() time.Duration {
	l.b.Helper()
	var all []time.Duration
	for _, sort := range []string{"createdAt", "updatedAt", "originalName", "fileSize"} {
		query := "sortBy=" + sort + "&limit=100"
		_, cursor := l.page(query + "&offset=500000")
		for range 100 {
			took, next := l.page(query + "&cursor=" + cursor)
			all, cursor = append(all, took), next
		}
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

// assetRow is an asset of a large library.
type assetRow struct {
	name, kind, mime string
	size             int64 // bytes
	tags             []string
	category         string
	created, updated time.Time
}

// assetRows makes the rows of a library, always the same.
func assetRows() func(i int) assetRow {
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	return func(i int) assetRow {
		created := start.Add(time.Duration(i) * 40 * time.Second)
		kind, mime := "IMAGE", "image/png"
		if i%5 == 0 {
			kind, mime = "AUDIO", "audio/wav"
		}
		return assetRow{
			name: assetName(random, i), kind: kind, mime: mime, size: random.Int64N(10 << 20),
			tags:     []string{fmt.Sprint("tag ", random.IntN(1+random.IntN(200))), fmt.Sprint("tag ", random.IntN(200))},
			category: fmt.Sprint("category ", random.IntN(20)), created: created, updated: created.Add(time.Duration(random.IntN(1000)) * time.Hour),
		}
	}
}

// fillLibrary makes so many assets of the users whom owner says. Those of a user share their bytes, which no list looks at.
func fillLibrary(b *testing.B, env []string, rows int, owner func(i int) uuid.UUID) {
	b.Helper()
	db, err := store.Open(setting(env, config.DatabaseURL.Name))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	ctx, pool := context.Background(), db.Pool()
	exec := func(sql string, args ...any) {
		b.Helper()
		if _, err := pool.Exec(ctx, sql, args...); err != nil {
			b.Fatalf("%s: %v", sql, err)
		}
	}
	sha := make([]byte, 32)
	exec("insert into blobs (user_id, sha256, size, object_key, refs) select id, $1, 1, id::text, $2 from users", sha, rows)
	exec("drop index assets_grams")
	columns := []string{"id", "user_id", "sha256", "original_name", "file_type", "mime_type", "file_size", "tags", "category", "created_at", "updated_at"}
	next := assetRows()
	_, err = pool.CopyFrom(ctx, pgx.Identifier{"assets"}, columns, pgx.CopyFromSlice(rows, func(i int) ([]any, error) {
		a := next(i)
		return []any{uuid.Must(uuid.NewV7()), owner(i), sha, a.name, a.kind, a.mime, a.size, a.tags, a.category, a.created, a.updated}, nil
	}))
	if err != nil {
		b.Fatal(err)
	}
	for found := 1; found > 0; {
		if found, err = db.IndexAssets(ctx, 2000); err != nil {
			b.Fatal(err)
		}
	}
	exec("create index assets_grams on assets using gin (grams) with (fastupdate = off)")
	exec("vacuum analyze assets")
}

// assetName is one of the names that a studio's files have.
func assetName(random *rand.Rand, i int) string {
	things := []string{"goblin", "slime", "dragon", "knight", "zombie", "chest", "sword", "tree", "伝説の勇者", "魔王", "スライム", "村人"}
	doings := []string{"walk", "run", "idle", "attack", "die", "jump", "歩く", "攻撃"}
	return fmt.Sprintf("%s_%s_%06d.png", things[random.IntN(len(things))], doings[random.IntN(len(doings))], i)
}
