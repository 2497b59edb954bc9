package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
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
	limitList   = 50 * time.Millisecond
	limitSearch = 150 * time.Millisecond
)

// projectAssets of the library's assets are in one project.
const projectAssets = 100_000

// libraryAssets is how many the library has: a million, or LIBRARY_ASSETS for a quicker look.
func libraryAssets(b *testing.B) int {
	b.Helper()
	text := os.Getenv("LIBRARY_ASSETS")
	if text == "" {
		return 1_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < projectAssets {
		b.Fatalf("LIBRARY_ASSETS is no number of at least %d", projectAssets)
	}
	return n
}

// BenchmarkLibrary asks the real binary for parts of one user's library of a million assets, one request at a time.
func BenchmarkLibrary(b *testing.B) {
	// The tests' own has next to no memory; one with so much in it has a quarter of its machine's.
	program, env := build(b), environmentOn(b, services.NewPostgres(b, "shared_buffers=1GB"))
	server := startServer(b, program, env, "RATE_LIMIT_GENERAL=0")
	defer server.stop(b)
	l := &library{b: b, url: server.url}
	user, count := l.register("artist"), libraryAssets(b)
	fillLibrary(b, env, count, func(int) uuid.UUID { return user })
	project := fillProject(b, env, user, count)

	lists := map[string][]string{"list": nil, "filter": nil, "search": nil}
	for _, sort := range []string{"createdAt", "updatedAt", "originalName", "fileSize"} {
		for _, order := range []string{"asc", "desc"} {
			lists["list"] = append(lists["list"], "sortBy="+sort+"&sortOrder="+order)
		}
	}
	lists["filter"] = []string{
		"fileType=AUDIO", "category=category+7", "category=category+7&sortBy=originalName", "tags=tag+3", "tags=tag+190", "tags=tag+3&tags=tag+190&tagMode=all", "tags=tag+190&sortBy=fileSize",
		"category=nothing", "tags=nothing", "createdAfter=2026-01-01T00:00:00Z", "createdBefore=2025-01-02T00:00:00Z", "fileType=AUDIO&category=category+7&tags=tag+3",
		"minWidth=64", "minWidth=4000", "minWidth=4095", "maxWidth=1&sortBy=originalName", "minWidth=9999", "minWidth=1024&maxHeight=8", "minDuration=299.99", "minDuration=1&sortBy=fileSize",
	}
	for _, words := range []string{"gob", "goblin", "goblin walk", "勇者", "勇", "の勇", "png", "a", "xyzzy", "walk_000999", "999", "goblin 勇者", "tag 190", "goblim", "zombie run 0001"} {
		lists["search"] = append(lists["search"], "search="+url.QueryEscape(words))
	}
	for _, kind := range []string{"list", "search"} {
		for _, query := range lists[kind] {
			lists["project-"+kind] = append(lists["project-"+kind], query+"&projectId="+project.String())
		}
	}
	for name, queries := range lists {
		var worst time.Duration
		for _, query := range queries {
			took := l.measure("/api/assets?" + query)
			b.Logf("%-14s %6.1f ms  %s", name, milliseconds(took), query)
			worst = max(worst, took)
		}
		limit := limitList
		if strings.HasSuffix(name, "search") {
			limit = limitSearch
		}
		report(b, name+"-p99", "ms", milliseconds(worst), milliseconds(limit))
	}
	report(b, "deep-page-p99", "ms", milliseconds(l.deepPages("", count/2)), milliseconds(limitList))
	report(b, "project-deep-page-p99", "ms", milliseconds(l.deepPages("projectId="+project.String()+"&", projectAssets/2)), milliseconds(limitList))
	for name, path := range map[string]string{"project": "/api/projects/" + project.String(), "projects": "/api/projects", "tags": "/api/assets/tags", "categories": "/api/assets/categories"} {
		report(b, name+"-p99", "ms", milliseconds(l.measure(path)), milliseconds(limitList))
	}
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

// get asks for a path, and returns how long it took and the cursor of the list's next part.
func (l *library) get(path string) (took time.Duration, next string) {
	l.b.Helper()
	r, err := http.NewRequest(http.MethodGet, l.url+path, nil)
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
		l.b.Fatalf("%s: %s %s, %v", path, answer.Status, body, err)
	}
	return took, page.Pagination.NextCursor
}

// measure is what 99 of 100 requests for a path take at most.
func (l *library) measure(path string) time.Duration {
	l.b.Helper()
	const requests = 100
	all := make([]time.Duration, requests)
	l.get(path) // the first one reads from the disk
	for i := range all {
		all[i], _ = l.get(path)
	}
	slices.Sort(all)
	return all[requests-2]
}

// deepPages follows cursors for a hundred pages of every sort from an offset of the list that the filter makes on.
func (l *library) deepPages(filter string, offset int) time.Duration {
	l.b.Helper()
	var all []time.Duration
	for _, sort := range []string{"createdAt", "updatedAt", "originalName", "fileSize"} {
		query := "/api/assets?" + filter + "sortBy=" + sort + "&limit=100"
		_, cursor := l.get(fmt.Sprintf("%s&offset=%d", query, offset))
		for range 100 {
			took, next := l.get(query + "&cursor=" + cursor)
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

// blobMetadata is what the media job would have noted: pictures of up to 4,096 pixels, few of them large; sounds of up to five minutes.
func blobMetadata(random *rand.Rand, kind string) (text string, width, height *int, duration *float64) {
	if kind == "AUDIO" {
		seconds := 300 * random.Float64()
		peaks := strings.Repeat("0.5, ", 99) + "0.5"
		return fmt.Sprintf(`{"duration": %f, "bitrate": 128000, "sampleRate": 44100, "channels": 2, "format": "wav", "waveform": [%s]}`, seconds, peaks), nil, nil, &seconds
	}
	w, h := 1+random.IntN(1+random.IntN(4096)), 1+random.IntN(4096)
	return fmt.Sprintf(`{"width": %d, "height": %d, "format": "png", "hasAlpha": true, "palette": ["#000000", "#ffffff"], "frames": 1}`, w, h), &w, &h, nil
}

// fillLibrary makes so many assets of the users whom owner says, each with bytes of its own, which no bucket has.
func fillLibrary(b *testing.B, env []string, rows int, owner func(i int) uuid.UUID) {
	b.Helper()
	next, contents := assetRows(), make([]content, rows)
	for i := range contents {
		contents[i] = content{[32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i))), next(i).size, strconv.Itoa(i)}
	}
	fillLibraryOf(b, env, rows, owner, contents)
}

// content is what a blob's row says of bytes in the bucket.
type content struct {
	sha256 [32]byte
	size   int64
	key    string
}

// fillLibraryOf makes so many assets of these contents, which several may have.
func fillLibraryOf(b *testing.B, env []string, rows int, owner func(i int) uuid.UUID, contents []content) {
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
	next, random := assetRows(), rand.New(rand.NewPCG(3, 4))
	_, err = pool.CopyFrom(ctx, pgx.Identifier{"blobs"}, []string{"user_id", "sha256", "size", "object_key", "metadata", "width", "height", "duration"},
		pgx.CopyFromSlice(len(contents), func(i int) ([]any, error) {
			metadata, width, height, duration := blobMetadata(random, next(i).kind)
			c := contents[i]
			return []any{owner(i), c.sha256[:], c.size, c.key, metadata, width, height, duration}, nil
		}))
	if err != nil {
		b.Fatal(err)
	}
	exec("drop index assets_grams")
	columns := []string{"id", "user_id", "sha256", "original_name", "file_type", "mime_type", "file_size", "tags", "category", "created_at", "updated_at"}
	next = assetRows()
	_, err = pool.CopyFrom(ctx, pgx.Identifier{"assets"}, columns, pgx.CopyFromSlice(rows, func(i int) ([]any, error) {
		a, c := next(i), contents[i%len(contents)]
		return []any{uuid.Must(uuid.NewV7()), owner(i), c.sha256[:], a.name, a.kind, a.mime, c.size, a.tags, a.category, a.created, a.updated}, nil
	}))
	if err != nil {
		b.Fatal(err)
	}
	for found := 1; found > 0; {
		if found, err = db.IndexAssets(ctx, 2000); err != nil {
			b.Fatal(err)
		}
	}
	exec("create index assets_grams on assets using gin (grams) with (gin_pending_list_limit = 512)")
	exec("vacuum analyze assets")
	exec("vacuum analyze blobs")
}

// fillProject gives a user a project that holds some of the library's assets, of all ages.
func fillProject(b *testing.B, env []string, user uuid.UUID, count int) (project uuid.UUID) {
	b.Helper()
	db, err := store.Open(setting(env, config.DatabaseURL.Name))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	made, err := db.CreateProject(b.Context(), user, store.NewProject{Name: "Large"})
	if err != nil {
		b.Fatal(err)
	}
	_, err = db.Pool().Exec(b.Context(), "insert into project_assets (project_id, asset_id) select $1, id from (select id, row_number() over (order by id) as n from assets) numbered where n % $2 = 0", made.ID, count/projectAssets)
	if err == nil {
		_, err = db.Pool().Exec(b.Context(), "vacuum analyze project_assets")
	}
	if err != nil {
		b.Fatal(err)
	}
	return made.ID
}

// assetName is one of the names that a studio's files have.
func assetName(random *rand.Rand, i int) string {
	things := []string{"goblin", "slime", "dragon", "knight", "zombie", "chest", "sword", "tree", "伝説の勇者", "魔王", "スライム", "村人"}
	doings := []string{"walk", "run", "idle", "attack", "die", "jump", "歩く", "攻撃"}
	return fmt.Sprintf("%s_%s_%06d.png", things[random.IntN(len(things))], doings[random.IntN(len(doings))], i)
}
