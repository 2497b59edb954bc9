package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// newPlatformWithS3 starts a server on an S3 server of its own, which the test may stop.
func newPlatformWithS3(t *testing.T) *platform {
	t.Helper()
	s3 := services.NewS3(t)
	p := newPlatform(t, func(c *config.Server) { c.Bucket = s3.Bucket(t) })
	p.s3 = s3
	return p
}

func TestUpload(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	s := p.register("alice")
	content := png("bytes")
	sum := sha256.Sum256(content)
	r := p.upload(s.AccessToken, newForm().
		field("category", " sprites ").file("勇者 1.PNG", "image/png", content).field("tags", `["勇者","red"]`).field("tags", "red, 勇者")).want(201)
	a := decode1[assetBody](r)
	if a.OriginalName != "勇者 1.PNG" || a.UserID != s.User.ID || a.FileType != store.Image || a.MIMEType != "image/png" || a.FileSize != int64(len(content)) ||
		a.SHA256 != hex.EncodeToString(sum[:]) || a.Version != 1 || *a.Category != "sprites" || !slices.Equal(a.Tags, []string{"勇者", "red"}) ||
		a.DownloadURL != assetPath(a.ID)+"/download" || r.header.Get("Location") != assetPath(a.ID) {
		t.Errorf("asset: %s", r.body)
	}
	if got := p.get(a.DownloadURL, s.AccessToken).want(200).body; !bytes.Equal(got, content) {
		t.Errorf("came back as %q", got)
	}
	keys, notes := p.leftovers()
	if len(keys) != 1 || notes != 0 || strings.Contains(keys[0], s.User.ID.String()) || strings.Contains(keys[0], a.SHA256) {
		t.Errorf("bucket: %v, %d notes", keys, notes)
	}
}

func TestUploadNames(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	for i, test := range []struct{ sent, kept string }{
		{"勇者.png", "勇者.png"},
		{"Dragon's Lair; -- 100%.png", "Dragon's Lair; -- 100%.png"},
		{`say \"hi\".png`, `say "hi".png`},
		{"../../etc/passwd.png", "passwd.png"},
		{`C:\\art\\hero.png`, "hero.png"},
		{"emoji 🐉 é.png", "emoji 🐉 é.png"},
		{"no extension", "no extension"},
		{"folder/file/", "file"},
		{".png", ".png"},
		{"hero v1.2", "hero v1.2"},
		{"=?utf-8?B?5YuH6ICF55S7Lz8ucG5n?=", "?.png"}, // 勇者画/?.png
		{"=?utf-8?Q?=E5=8B=87=E8=80=85=20a.png?=", "勇者 a.png"},
		{"=?utf-8?B?5YuH6ICF44G744O/Pz8/LnBuZw==?=", "勇者ほヿ???.png"}, // with / in it
		{"=?klingon?Q?hero?=", "=?klingon?Q?hero?="},
		{strings.Repeat("勇", 251) + ".png", strings.Repeat("勇", 251) + ".png"},
	} {
		a := p.uploadPNG(token, test.sent, png(fmt.Sprint(i)))
		if a.OriginalName != test.kept {
			t.Errorf("%q became %q", test.sent, a.OriginalName)
		}
		disposition := p.get(a.DownloadURL, token).want(200).header.Get("Content-Disposition")
		if got := fileNameOf(t, disposition); got != test.kept {
			t.Errorf("%q is downloaded as %q (%s)", test.kept, got, disposition)
		}
	}
}

// Every refusal says why, and leaves nothing in the bucket or the database.
func TestUploadRefusals(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, func(c *config.Server) { c.MaxFileSizeImage, c.MaxFileSizeAudio = 6<<20, 7<<20 })
	alice := p.register("alice")
	token, project := alice.AccessToken, p.newProject(alice, "Village").ID.String()
	long := wav(-1, make([]byte, 7<<20))
	good := func() *form { return newForm().file("a.png", "image/png", png("x")) }
	for name, test := range map[string]struct {
		form   *form
		status int
		code   string
		field  string
	}{
		"no file":              {newForm().field("tags", "a"), 400, "VALIDATION_ERROR", "file"},
		"nothing":              {newForm(), 400, "VALIDATION_ERROR", ""},
		"empty file":           {newForm().file("a.png", "image/png", nil), 400, "VALIDATION_ERROR", "file"},
		"no name":              {newForm().file("", "image/png", png("x")), 400, "VALIDATION_ERROR", "file"},
		"control characters":   {newForm().file("a\x01.png", "image/png", png("x")), 400, "VALIDATION_ERROR", ""},
		"not UTF-8":            {newForm().file("\xff.png", "image/png", png("x")), 400, "VALIDATION_ERROR", "file"},
		"long name":            {newForm().file(strings.Repeat("x", 252)+".png", "image/png", png("x")), 400, "VALIDATION_ERROR", "file"},
		"two files":            {good().file("b.png", "image/png", png("y")), 400, "VALIDATION_ERROR", "file"},
		"unknown field":        {good().field("projectId", "x"), 400, "VALIDATION_ERROR", "projectId"},
		"unknown field before": {newForm().field("promptId", "x").file("a.png", "", png("x")), 400, "VALIDATION_ERROR", "promptId"},
		"tags not JSON":        {good().field("tags", `["a"`), 400, "VALIDATION_ERROR", "tags"},
		"too many tags":        {good().field("tags", strings.Join(slices.Collect(numbers(51)), ",")), 400, "VALIDATION_ERROR", "tags"},
		"many fields of tags":  {many(200, good()), 400, "VALIDATION_ERROR", "tags"},
		"long tag":             {good().field("tags", strings.Repeat("勇", 65)), 400, "VALIDATION_ERROR", "tags"},
		"NUL in a tag":         {good().field("tags", "a\x00"), 400, "VALIDATION_ERROR", "tags"},
		"long category":        {good().field("category", strings.Repeat("勇", 65)), 400, "VALIDATION_ERROR", "category"},
		"NUL in the category":  {good().field("category", "a\x00"), 400, "VALIDATION_ERROR", "category"},
		"two categories":       {good().field("category", "a").field("category", "a"), 400, "VALIDATION_ERROR", "category"},
		"two projects":         {good().field("projectId", project).field("projectId", project), 400, "VALIDATION_ERROR", "projectId"},
		"huge field":           {good().field("category", strings.Repeat("x", maxField+1)), 400, "VALIDATION_ERROR", "category"},
		"tags are an object":   {good().field("tags", `{"a":1}`), 400, "VALIDATION_ERROR", "tags"},
		"tags are null":        {good().field("tags", "null"), 400, "VALIDATION_ERROR", "tags"},
		"a tag is a number":    {good().field("tags", "[1]"), 400, "VALIDATION_ERROR", "tags"},
		"a tag is null":        {good().field("tags", `[null,"a"]`), 400, "VALIDATION_ERROR", "tags"},
		"tags are no Unicode":  {good().field("tags", `["\ud800"]`), 400, "VALIDATION_ERROR", "tags"},
		"SVG as PNG":           {newForm().file("a.png", "image/png", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`)), 400, "INVALID_FILE_TYPE", "file"},
		"SVG":                  {newForm().file("a.svg", "image/svg+xml", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`)), 400, "INVALID_FILE_TYPE", "file"},
		"HTML as PNG":          {newForm().file("a.png", "image/png", []byte("<html><script>alert(1)</script>")), 400, "INVALID_FILE_TYPE", "file"},
		"text":                 {newForm().file("a.txt", "text/plain", []byte("hello")), 400, "INVALID_FILE_TYPE", "file"},
		"PNG named wav":        {newForm().file("a.wav", "", png("x")), 400, "INVALID_FILE_TYPE", "file"},
		"PNG named html":       {newForm().file("a.html", "image/png", png("x")), 400, "INVALID_FILE_TYPE", "file"},
		"PNG declared as HTML": {newForm().file("a.png", "text/html", png("x")), 400, "INVALID_FILE_TYPE", "file"},
		"image too large":      {newForm().file("a.png", "image/png", png(strings.Repeat("x", 6<<20))), 413, "FILE_TOO_LARGE", "file"},
		"audio too large":      {newForm().file("a.wav", "audio/wav", long), 413, "FILE_TOO_LARGE", "file"},
	} {
		t.Run(name, func(t *testing.T) {
			p := *p
			p.t = t
			p.upload(token, test.form).wantProblem(test.status, test.code, test.field)
			p.wantNothing()
		})
	}
	p.do("POST", "/api/assets/upload", token, strings.NewReader(`{}`), "Content-Type", "application/json").wantProblem(415, "UNSUPPORTED_MEDIA_TYPE", "")
	p.do("POST", "/api/assets/upload", token, strings.NewReader("x"), "Content-Type", "multipart/form-data").wantProblem(400, "VALIDATION_ERROR", "")
	p.upload("", good()).wantProblem(401, "UNAUTHORIZED", "")
	p.wantNothing()
	p.upload(token, good()).want(201)
}

// wantNothing checks that no asset, note or object is there.
func (p *platform) wantNothing() {
	p.t.Helper()
	keys, notes := p.leftovers()
	var assets, blobs int
	p.query("select count(*) from assets", &assets)
	p.query("select count(*) from blobs", &blobs)
	if len(keys) > 0 || notes+assets+blobs > 0 {
		p.t.Errorf("left behind: objects %v, %d notes, %d assets, %d blobs", keys, notes, assets, blobs)
	}
}

// many adds n fields with one tag each.
func many(n int, f *form) *form {
	for i := range n {
		f.field("tags", fmt.Sprint(i))
	}
	return f
}

func numbers(n int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := range n {
			if !yield(fmt.Sprint(i)) {
				return
			}
		}
	}
}

// A limit is exact: that many bytes are taken, one more is not, with and without a Content-Length.
func TestUploadLimitIsExact(t *testing.T) {
	t.Parallel()
	const limit = 5<<20 + 3 // more than one part
	p := newPlatform(t, func(c *config.Server) { c.MaxFileSizeImage = limit })
	token := p.register("alice").AccessToken
	for _, chunked := range []bool{false, true} {
		for _, over := range []int{1, 0} {
			f := newForm().file("a.png", "image/png", png(strings.Repeat("x", limit-len(png(""))+over)))
			f.writer.Close()
			body := io.Reader(&f.buffer)
			if chunked {
				body = io.MultiReader(body) // hides the length
			}
			r := p.do("POST", "/api/assets/upload", token, body, "Content-Type", f.writer.FormDataContentType())
			if over > 0 {
				r.wantProblem(413, "FILE_TOO_LARGE", "file")
				continue
			}
			a := decode1[assetBody](r.want(201))
			p.do("DELETE", assetPath(a.ID)+"?permanent=true", token, nil).want(204)
		}
		p.wantNothing()
	}
}

// rawUpload sends the head of an upload and returns the connection, for tests that
// misbehave on it.
func (p *platform) rawUpload(token string, f *form, length int) net.Conn {
	p.t.Helper()
	return p.rawRequest("POST", "/api/assets/upload", token, length, "Content-Type: "+f.writer.FormDataContentType())
}

func (p *platform) rawRequest(method, path, token string, length int, headers ...string) net.Conn {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n%s\r\n\r\n",
		method, path, token, length, strings.Join(headers, "\r\n"))
	return conn
}

// readReply reads an answer from a connection.
func readReply(t *testing.T, conn net.Conn) reply {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Error(err)
		return reply{t: t}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{t, answer.StatusCode, answer.Header, body, answer.Close}
}

// send writes to a connection that must answer within some seconds from then on.
func send(t *testing.T, conn net.Conn, part []byte) {
	t.Helper()
	if _, err := conn.Write(part); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
}

func TestTruncatedUploads(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	whole := newForm().field("tags", "a").file("a.png", "image/png", png(strings.Repeat("x", 9<<20))).field("category", "c")
	whole.writer.Close()
	content := whole.buffer.Bytes()
	for _, cut := range []int{0, 20, 150, 300, 100_000, 6 << 20, len(content) - 60, len(content) - 10} {
		// The body is complete for HTTP, but not for multipart.
		p.do("POST", "/api/assets/upload", token, bytes.NewReader(content[:cut]), "Content-Type", whole.writer.FormDataContentType()).
			wantProblem(400, "VALIDATION_ERROR", "")
		p.wantNothing()
	}
	for _, cut := range []int{150, 100_000, 6 << 20} {
		// The client goes away in the middle.
		conn := p.rawUpload(token, whole, len(content))
		send(t, conn, content[:cut])
		conn.Close()
	}
	eventually(t, "all uploads have ended", func() bool { return strings.Count(p.log.String(), `"/api/assets/upload"`) >= 2*11 })
	p.wantNothing()
}

// A client may be slow, but it may not stop.
func TestSlowUploads(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.server.progressTime = time.Second
	token := p.register("alice").AccessToken
	f := newForm().file("a.png", "image/png", png(strings.Repeat("x", 5*progressBytes)))
	f.writer.Close()
	content := f.buffer.Bytes()

	conn := p.rawUpload(token, f, len(content))
	send(t, conn, content[:progressBytes])
	answer, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") || !strings.Contains(string(answer), "REQUEST_TIMEOUT") {
		t.Errorf("a client that stopped: %s", answer)
	}
	p.wantNothing()

	start := time.Now()
	conn = p.rawUpload(token, f, len(content))
	for part := range slices.Chunk(content, progressBytes) { // in all longer than the time for one piece
		send(t, conn, part)
		time.Sleep(300 * time.Millisecond)
	}
	line := make([]byte, 13)
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != "HTTP/1.1 201 " || time.Since(start) < p.server.progressTime {
		t.Errorf("a slow client: %s after %v", line, time.Since(start))
	}
}

// While an upload waits for us, its client is not the slow one.
func TestUploadsThatWaitForUs(t *testing.T) {
	t.Parallel()
	g := newGate(t, services.SharedS3(t).Address)
	p := newPlatform(t, func(c *config.Server) { c.Bucket.Endpoint = "http://" + g.Addr().String() })
	p.awaitStatus(200, config.StatusOK)
	p.server.progressTime = 500 * time.Millisecond
	session := p.register("alice")
	large := func(name string) *form {
		return newForm().file(name, "image/png", png(strings.Repeat(name, 9<<20/len(name))))
	}

	// All that one user may send at a time are under way.
	release := make(chan struct{})
	var all sync.WaitGroup
	begun := make(chan struct{}, 4)
	for i := range cap(begun) {
		all.Go(func() {
			err := p.server.bucket.PutFor(context.Background(), session.User.ID, fmt.Sprint(i), readerFunc(func([]byte) (int, error) {
				begun <- struct{}{}
				<-release
				return 0, io.EOF
			}))
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	all.Go(func() { p.upload(session.AccessToken, large("a.png")).want(201) })
	time.Sleep(3 * p.server.progressTime)
	close(release)
	all.Wait()

	// The bucket takes its time.
	b := large("b.png")
	b.writer.Close()
	conn := p.rawUpload(session.AccessToken, b, b.buffer.Len())
	content := b.buffer.Bytes()
	send(t, conn, content[:6<<20])
	eventually(t, "the upload has begun", func() bool {
		return strings.Contains(fmt.Sprint(p.s3.Keys(t, p.bucket.Name)), "upload:")
	})
	g.silent.Lock()
	resume := time.AfterFunc(3*p.server.progressTime, g.silent.Unlock)
	defer resume.Stop()
	send(t, conn, content[6<<20:])
	readReply(t, conn).want(201)

	// And that, when all has come, does not end the connection either.
	c := newForm().file("c.png", "image/png", png("c"))
	c.writer.Close()
	conn = p.rawUpload(session.AccessToken, c, c.buffer.Len())
	g.silent.Lock()
	resume = time.AfterFunc(3*p.server.progressTime, g.silent.Unlock)
	defer resume.Stop()
	send(t, conn, c.buffer.Bytes())
	readReply(t, conn).want(201)
	fmt.Fprintf(conn, "GET /api/assets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", session.AccessToken)
	readReply(t, conn).want(200)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Clients that send everything before they read, as Python's does, get the refusal.
func TestRefusalsReachWhoSendsFirst(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	large := strings.Repeat("x", 12<<20)
	for name, test := range map[string]struct {
		token, file, says string
		path              string
	}{
		"too large": {token, string(png(large)), "413 FILE_TOO_LARGE", "/api/assets/upload"},
		"bad type":  {token, large, "400 INVALID_FILE_TYPE", "/api/assets/upload"},
		"bad token": {"x", large, "401 UNAUTHORIZED", "/api/assets/upload"},
		"no route":  {token, large, "404 NOT_FOUND", "/api/nothing"},
		"over all":  {token, string(png(strings.Repeat(large, 5))), "413 FILE_TOO_LARGE", "/api/assets/upload"},
		"JSON":      {token, `{"email":"` + large, "413 FILE_TOO_LARGE", "/api/auth/login"},
	} {
		f := newForm().file("a.png", "image/png", []byte(test.file))
		f.writer.Close()
		content, kind := f.buffer.Bytes(), f.writer.FormDataContentType()
		if name == "JSON" {
			content, kind = []byte(test.file), "application/json"
		}
		conn := p.rawRequest("POST", test.path, test.token, len(content), "Content-Type: "+kind)
		for part := range slices.Chunk(content, len(content)/3) {
			send(t, conn, part)
			time.Sleep(300 * time.Millisecond) // longer in all than net/http waits before it closes
		}
		status, code, _ := strings.Cut(test.says, " ")
		if r := readReply(t, conn); fmt.Sprint(r.status) != status {
			t.Errorf("%s: %d, want %s", name, r.status, test.says)
		} else {
			r.wantProblem(r.status, code, "")
		}
	}
	p.wantNothing()
}

func TestUploadWhileTheBucketIsAway(t *testing.T) {
	t.Parallel()
	p := newPlatformWithS3(t)
	token := p.register("alice").AccessToken
	p.s3.Stop()
	r := p.upload(token, newForm().file("a.png", "", png("1"))).wantProblem(503, "STORAGE_UNAVAILABLE", "")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	var assets int
	if p.query("select count(*) from assets", &assets); assets > 0 {
		t.Error("an asset without bytes")
	}
	p.s3.Start(t)
	p.uploadPNG(token, "a.png", png("1"))
}

func TestUploadOfEqualBytes(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice").AccessToken, p.register("bob").AccessToken
	content := png(strings.Repeat("same", 3<<20/4))
	assets := make([]assetBody, 6)
	var all sync.WaitGroup
	for i := range assets {
		all.Go(func() { assets[i] = p.uploadPNG(alice, fmt.Sprint(i, ".png"), content) })
	}
	all.Wait()
	bobs := p.uploadPNG(bob, "b.png", content)
	if keys, notes := p.leftovers(); len(keys) != 2 || notes != 0 {
		t.Errorf("bucket: %v, %d notes; want one copy for each owner", keys, notes)
	}
	// Delete all but one, while one more comes and goes.
	for _, a := range assets[1:] {
		all.Go(func() { p.do("DELETE", assetPath(a.ID)+"?permanent=true", alice, nil).want(204) })
	}
	all.Go(func() {
		a := p.uploadPNG(alice, "more.png", content)
		p.do("DELETE", assetPath(a.ID)+"?permanent=true", alice, nil).want(204)
	})
	all.Wait()
	for token, a := range map[string]assetBody{alice: assets[0], bob: bobs} {
		if got := p.get(a.DownloadURL, token).want(200).body; !bytes.Equal(got, content) {
			t.Error("the bytes of an asset were deleted with another one")
		}
	}
	p.do("DELETE", assetPath(assets[0].ID)+"?permanent=true", alice, nil).want(204)
	if keys, notes := p.leftovers(); len(keys) != 1 || notes != 0 {
		t.Errorf("bucket: %v, %d notes; want bob's only", keys, notes)
	}
}

func TestUploadMetrics(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	p.uploadPNG(token, "a.png", png("1"))
	p.uploadPNG(token, "a.png", png("1"))
	p.upload(token, newForm().file("a.txt", "", []byte("x"))).want(400)
	for _, want := range []string{
		`asset_uploads_total{file_type="IMAGE",status="stored"} 1`,
		`asset_uploads_total{file_type="IMAGE",status="duplicate"} 1`,
		`asset_uploads_total{file_type="unknown",status="refused"} 1`,
		`http_requests_total{method="POST",route="/api/assets/upload",status="201"} 2`,
	} {
		p.wantMetric(want)
	}
}

// wantMetric waits for a line of /metrics: a request is counted after its answer.
func (p *platform) wantMetric(line string) {
	p.t.Helper()
	eventually(p.t, line, func() bool { return strings.Contains(p.metrics(), line+"\n") })
}

func (p *platform) metrics() string {
	p.t.Helper()
	r, _ := http.NewRequestWithContext(context.Background(), "GET", "/metrics", nil)
	w := httptest.NewRecorder()
	p.server.metrics.handler().ServeHTTP(w, r)
	return w.Body.String()
}
