package server

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // of the protocol
	"encoding/base64"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
)

// tusMetadata writes the header Upload-Metadata: keys and texts in turn.
func tusMetadata(pairs ...string) string {
	var all []string
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, pairs[i]+" "+base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return strings.Join(all, ",")
}

// tus sends a request of the protocol.
func (p *platform) tus(method, path, token string, body io.Reader, headers ...string) reply {
	p.t.Helper()
	return p.do(method, path, token, body, append([]string{"Tus-Resumable", "1.0.0"}, headers...)...)
}

// beginUpload makes an upload and returns its address.
func (p *platform) beginUpload(token string, size int, metadata ...string) string {
	p.t.Helper()
	r := p.tus("POST", "/api/uploads", token, nil, "Upload-Length", strconv.Itoa(size), "Upload-Metadata", tusMetadata(metadata...)).want(201)
	if expires, err := http.ParseTime(r.header.Get("Upload-Expires")); err != nil || time.Until(expires) < 23*time.Hour {
		p.t.Errorf("expires %s, %v", r.header.Get("Upload-Expires"), err)
	}
	return r.header.Get("Location")
}

// goOn sends the bytes of content between two offsets.
func (p *platform) goOn(address, token string, content []byte, from, to int, headers ...string) reply {
	p.t.Helper()
	return p.tus("PATCH", address, token, bytes.NewReader(content[from:to]),
		append([]string{"Content-Type", tusBody, "Upload-Offset", strconv.Itoa(from)}, headers...)...)
}

// collect deletes what the collector would.
func (p *platform) collect() {
	p.t.Helper()
	for after := ""; ; {
		key, err := p.store.CollectObject(p.t.Context(), after, p.server.bucket.Discard)
		if err != nil {
			p.t.Fatal(err)
		}
		if after = key; key == "" {
			return
		}
	}
}

// wantObjects checks that once the collector was there, the bucket has so many objects.
func (p *platform) wantObjects(n int) {
	p.t.Helper()
	p.collect()
	if keys, notes := p.leftovers(); len(keys) != n || notes != 0 {
		p.t.Errorf("left: %v, %d notes", keys, notes)
	}
}

// noiseWAV is a sound of about so many bytes.
func noiseWAV(size int) []byte {
	samples := make([]byte, size)
	var seed [32]byte
	seed[0] = byte(size)
	_, _ = rand.NewChaCha8(seed).Read(samples) // never fails
	return wav(size, samples)
}

func TestResumableUpload(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice")
	project := p.newProject(alice, "Village")
	content := noiseWAV(2*pieceSize + 100)
	address := p.beginUpload(alice.AccessToken, len(content), "filename", "勇者.wav", "filetype", "audio/x-wav", "tags", "red,blue", "category", "hits",
		"projectId", project.ID.String(), "relativePath", "null")
	p.goOn(address, alice.AccessToken, content, 0, 10).want(204) // less than tells the type
	r := p.goOn(address, alice.AccessToken, content, 10, pieceSize+77).want(204)
	if r.header.Get("Upload-Offset") != strconv.Itoa(pieceSize+77) || r.header.Get("Location-Asset") != "" || r.header.Get("Tus-Resumable") != "1.0.0" {
		t.Errorf("after the second: %v", r.header)
	}
	r = p.tus("HEAD", address, alice.AccessToken, nil).want(200)
	if h := r.header; h.Get("Upload-Offset") != strconv.Itoa(pieceSize+77) || h.Get("Upload-Length") != strconv.Itoa(len(content)) ||
		!strings.HasPrefix(h.Get("Upload-Metadata"), "filename ") || h.Get("Cache-Control") != "no-store" {
		t.Errorf("HEAD: %v", h)
	}
	if u := decode1[uploadBody](p.get(address, alice.AccessToken).want(200)); u.Status != "UPLOADING" || u.Offset != pieceSize+77 || u.Size != int64(len(content)) || u.AssetID != nil {
		t.Errorf("GET: %+v", u)
	}
	if n := len(p.list(alice.AccessToken).Data); n != 0 {
		t.Errorf("%d assets are visible before the end", n)
	}
	r = p.goOn(address, alice.AccessToken, content, pieceSize+77, len(content)).want(204)
	asset := decode1[assetBody](p.get(r.header.Get("Location-Asset"), alice.AccessToken).want(200))
	if asset.OriginalName != "勇者.wav" || !slices.Equal(asset.Tags, []string{"red", "blue"}) || *asset.Category != "hits" ||
		asset.FileSize != int64(len(content)) || len(asset.ProjectIDs) != 1 || asset.MIMEType != "audio/wav" {
		t.Errorf("asset: %+v", asset)
	}
	if got := p.get(asset.DownloadURL, alice.AccessToken).want(200).body; !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back, equal %t", len(got), bytes.Equal(got, content))
	}
	// A client that did not get the answer learns from any of these what became of it.
	for _, r := range []reply{
		p.tus("HEAD", address, alice.AccessToken, nil).want(200), p.goOn(address, alice.AccessToken, content, len(content), len(content)).want(204),
	} {
		if r.header.Get("Upload-Offset") != strconv.Itoa(len(content)) || r.header.Get("Location-Asset") != assetPath(asset.ID) {
			t.Errorf("once complete: %v", r.header)
		}
	}
	if u := decode1[uploadBody](p.get(address, alice.AccessToken).want(200)); u.Status != "COMPLETED" || *u.AssetID != asset.ID {
		t.Errorf("GET: %+v", u)
	}
	p.wantObjects(1)
	p.tus("DELETE", address, alice.AccessToken, nil).want(204)
	p.get(assetPath(asset.ID), alice.AccessToken).want(200)
}

// What is in one piece is stored once, also by a creation that has its bytes with it; equal bytes are kept once.
func TestUploadWithItsCreation(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := png("whole")
	for range 2 {
		r := p.tus("POST", "/api/uploads", token, bytes.NewReader(content), "Upload-Length", strconv.Itoa(len(content)),
			"Upload-Metadata", tusMetadata("name", "a.png", "type", "image/png"), "Content-Type", tusBody).want(201)
		if r.header.Get("Upload-Offset") != strconv.Itoa(len(content)) || r.header.Get("Location") == "" || r.header.Get("Location-Asset") == "" {
			t.Errorf("answer: %v", r.header)
		}
	}
	p.wantObjects(1)
	if n := len(p.list(token).Data); n != 2 {
		t.Errorf("%d assets", n)
	}
}

// A client whose connection broke goes on where it was: nothing that came is lost, whichever pod it comes to.
func TestUploadThatIsCutOff(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := noiseWAV(2*pieceSize + 100)
	address := p.beginUpload(token, len(content), "filename", "a.wav")
	sent := pieceSize + 12345
	conn := p.rawRequest("PATCH", address, token, len(content), "Content-Type: "+tusBody, "Upload-Offset: 0", "Tus-Resumable: 1.0.0")
	if _, err := conn.Write(content[:sent]); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	offset := func() string { return p.tus("HEAD", address, token, nil).want(200).header.Get("Upload-Offset") }
	eventually(t, "what came is kept", func() bool { return offset() == strconv.Itoa(sent) })
	other := p.second()
	r := other.goOn(address, token, content, sent, len(content)).want(204)
	if got := p.get(r.header.Get("Location-Asset")+"/download", token).want(200).body; !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back, equal %t", len(got), bytes.Equal(got, content))
	}
}

func TestUploadChecksums(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := png("summed")
	address := p.beginUpload(token, len(content), "filename", "a.png")
	sum := func(part []byte) string {
		s := sha1.Sum(part) //nolint:gosec // of the protocol
		return "sha1 " + base64.StdEncoding.EncodeToString(s[:])
	}
	p.goOn(address, token, content, 0, 20, "Upload-Checksum", sum(content[:20])).want(204)
	p.goOn(address, token, content, 20, len(content), "Upload-Checksum", sum(content)).wantProblem(460, "CHECKSUM_MISMATCH", "")
	p.goOn(address, token, content, 20, len(content), "Upload-Checksum", "crc32 AAAA").wantProblem(400, "VALIDATION_ERROR", "Upload-Checksum")
	if r := p.tus("HEAD", address, token, nil).want(200); r.header.Get("Upload-Offset") != "20" {
		t.Errorf("bytes with a wrong sum count: %v", r.header)
	}
	r := p.goOn(address, token, content, 20, len(content), "Upload-Checksum", sum(content[20:])).want(204)
	if got := p.get(r.header.Get("Location-Asset")+"/download", token).want(200).body; !bytes.Equal(got, content) {
		t.Errorf("came back as %q", got)
	}
	p.wantObjects(1)
}

// What can never become an asset is refused as soon as that is known, and leaves nothing.
func TestUploadsThatAreRefused(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, func(c *config.Server) { c.MaxFileSizeImage = 1000 })
	token := p.register("alice").AccessToken
	text := bytes.Repeat([]byte("text"), 100)
	damaged := slices.Concat(png("damaged")[:60], []byte("x"))
	large := noiseWAV(2000)
	for name, test := range map[string]struct {
		file    string
		content []byte
		parts   []int // where requests end
		size    int
		status  int
		code    string
	}{
		"no asset":    {"a.png", text, []int{100}, 400, 400, "INVALID_FILE_TYPE"},
		"late":        {"a.png", text, []int{10, 100}, 400, 400, "INVALID_FILE_TYPE"},
		"damaged":     {"a.png", damaged, []int{30, len(damaged)}, len(damaged), 400, "VALIDATION_ERROR"},
		"large image": {"a", png(strings.Repeat("x", 2000)), []int{100}, 2099, 413, "FILE_TOO_LARGE"},
		"other name":  {"a.png", large, []int{100}, 900, 400, "INVALID_FILE_TYPE"},
	} {
		address := p.beginUpload(token, test.size, "filename", test.file)
		from := 0
		for i, to := range test.parts {
			r := p.goOn(address, token, test.content, from, to)
			if from = to; i < len(test.parts)-1 && r.status == 204 {
				continue
			}
			if r.status == 204 && test.size > to { // it is known only at the end
				r = p.goOn(address, token, test.content, to, test.size)
			}
			r.wantProblem(test.status, test.code, "")
		}
		if r := p.tus("HEAD", address, token, nil); r.status != 404 {
			t.Errorf("%s: it is still there: %d", name, r.status)
		}
	}
	p.wantNothing()
}

func TestUploadProtocol(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice"), p.register("bob")
	r := p.do("OPTIONS", "/api/uploads", "", nil).want(204)
	for name, want := range map[string]string{
		"Tus-Version": "1.0.0", "Tus-Resumable": "1.0.0", "Tus-Extension": tusExtensions, "Tus-Checksum-Algorithm": tusAlgorithms, "Tus-Max-Size": "52428800",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	create := func(headers ...string) reply {
		return p.tus("POST", "/api/uploads", alice.AccessToken, nil, headers...)
	}
	name := tusMetadata("filename", "a.png")
	create("Upload-Length", "100", "Upload-Metadata", tusMetadata("filename", "a.exe")).wantProblem(400, "INVALID_FILE_TYPE", "file")
	create("Upload-Length", "100", "Upload-Metadata", tusMetadata("filename", "a.wav", "filetype", "image/png")).wantProblem(400, "INVALID_FILE_TYPE", "file")
	create("Upload-Length", "100", "Upload-Metadata", tusMetadata("filename", "a.wav", "filetype", "audio/wave")).want(201)
	create("Upload-Length", "11000000", "Upload-Metadata", name).wantProblem(413, "FILE_TOO_LARGE", "file")
	create("Upload-Length", "11000000", "Upload-Metadata", tusMetadata("filename", "a")).want(201)
	create("Upload-Length", "100", "Upload-Metadata", name+","+name).wantProblem(400, "VALIDATION_ERROR", "Upload-Metadata")
	p.tus("POST", "/api/uploads", alice.AccessToken, strings.NewReader("x"), "Upload-Length", "100", "Upload-Metadata", name, "Content-Type", "image/png").wantProblem(415, "UNSUPPORTED_MEDIA_TYPE", "")
	create("Upload-Metadata", name).wantProblem(400, "VALIDATION_ERROR", "Upload-Length")
	create("Upload-Metadata", name, "Upload-Length", "0").wantProblem(400, "VALIDATION_ERROR", "Upload-Length")
	create("Upload-Metadata", name, "Upload-Length", "52428801").wantProblem(413, "FILE_TOO_LARGE", "")
	create("Upload-Length", "100").wantProblem(400, "VALIDATION_ERROR", "filename")
	create("Upload-Length", "100", "Upload-Metadata", "filename !").wantProblem(400, "VALIDATION_ERROR", "Upload-Metadata")
	create("Upload-Length", "100", "Upload-Metadata", tusMetadata("filename", "a.png", "tags", "[7]")).wantProblem(400, "VALIDATION_ERROR", "tags")
	create("Upload-Length", "100", "Upload-Metadata", tusMetadata("filename", "a.png", "projectId", "7")).wantProblem(400, "VALIDATION_ERROR", "projectId")

	content := png("protocol")
	address := p.beginUpload(alice.AccessToken, len(content), "filename", "a.png")
	r = p.do("HEAD", address, alice.AccessToken, nil, "Tus-Resumable", "0.2.2").want(412)
	if r.header.Get("Tus-Version") != "1.0.0" {
		t.Errorf("another version: %v", r.header)
	}
	p.tus("PATCH", address, alice.AccessToken, bytes.NewReader(content), "Upload-Offset", "0").wantProblem(415, "UNSUPPORTED_MEDIA_TYPE", "")
	p.tus("PATCH", address, alice.AccessToken, nil, "Content-Type", tusBody, "Upload-Offset", "x").wantProblem(400, "VALIDATION_ERROR", "Upload-Offset")
	p.goOn(address, alice.AccessToken, content, 5, 10).wantProblem(409, "CONFLICT", "")
	p.goOn(address, alice.AccessToken, append(content, 0), 0, len(content)+1).wantProblem(413, "FILE_TOO_LARGE", "")
	p.tus("PATCH", address, alice.AccessToken, io.MultiReader(bytes.NewReader(content), strings.NewReader("x")), // of unknown length
		"Content-Type", tusBody, "Upload-Offset", "0").wantProblem(413, "FILE_TOO_LARGE", "")
	for _, method := range []string{"HEAD", "PATCH", "DELETE", "GET"} {
		if r := p.tus(method, address, bob.AccessToken, nil, "Content-Type", tusBody, "Upload-Offset", "0"); r.status != 404 {
			t.Errorf("%s by somebody else: %d", method, r.status)
		}
	}
	p.tus("POST", address, alice.AccessToken, bytes.NewReader(content[:10]), "X-HTTP-Method-Override", "PATCH", "Content-Type", tusBody, "Upload-Offset", "0").want(204)
	p.tus("POST", address, alice.AccessToken, nil).wantProblem(400, "VALIDATION_ERROR", "X-HTTP-Method-Override")
	p.tus("POST", address, alice.AccessToken, nil, "X-HTTP-Method-Override", "DELETE").want(204)
	p.tus("HEAD", address, alice.AccessToken, nil).want(404)
	p.wantNothing()
}

// Of a hundred requests that complete one upload, one makes the asset.
func TestParallelFinishes(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := noiseWAV(200_000)
	address := p.beginUpload(token, len(content), "filename", "a.wav")
	p.goOn(address, token, content, 0, 100_000).want(204)
	var finished, refused atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			switch r := p.goOn(address, token, content, 100_000, len(content)); r.status {
			case 204:
				finished.Add(1)
			case 409, 423:
				refused.Add(1)
			default:
				t.Errorf("%d: %s", r.status, r.body)
			}
		})
	}
	all.Wait()
	if finished.Load() != 1 || refused.Load() != 99 {
		t.Errorf("%d finished it, %d were refused", finished.Load(), refused.Load())
	}
	assets := p.list(token).Data
	if len(assets) != 1 || !bytes.Equal(p.get(assets[0].DownloadURL, token).want(200).body, content) {
		t.Errorf("assets: %+v", assets)
	}
	p.wantObjects(1)
}

// An upload that nobody went on with goes, and so do its bytes.
func TestUploadExpires(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := png("late")
	address := p.beginUpload(token, len(content), "filename", "a.png")
	p.goOn(address, token, content, 0, 10).want(204)
	p.exec("update uploads set expires_at = now()")
	p.tus("HEAD", address, token, nil).want(404)
	p.goOn(address, token, content, 10, len(content)).want(404)
	if err := p.store.DeleteExpiredUploads(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.collect()
	p.wantNothing()
}

// A request that died while it made the asset keeps others from it for no longer than its claim.
func TestUploadOfADeadClaim(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := png("claimed")
	address := p.beginUpload(token, len(content), "filename", "a.png")
	p.exec("update uploads set claim = gen_random_uuid(), claimed_until = now() + interval '1 minute'")
	p.goOn(address, token, content, 0, len(content)).wantProblem(423, "CONFLICT", "")
	if u := decode1[uploadBody](p.get(address, token).want(200)); u.Status != "PROCESSING" {
		t.Errorf("%+v", u)
	}
	p.exec("update uploads set claimed_until = now()")
	p.goOn(address, token, content, 0, len(content)).want(204)
}

func TestUploadsOfOtherOrigins(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, func(c *config.Server) { c.AllowedOrigins = []string{"https://studio.example.com"} })
	r := p.do("OPTIONS", "/api/uploads", "", nil, "Origin", "https://studio.example.com", "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "authorization,tus-resumable,upload-length,upload-metadata")
	if r.status/100 != 2 || r.header.Get("Access-Control-Allow-Headers") == "" {
		t.Errorf("preflight: %d %v", r.status, r.header)
	}
	r = p.do("POST", "/api/uploads", p.register("alice").AccessToken, nil, "Origin", "https://studio.example.com", "Tus-Resumable", "1.0.0",
		"Upload-Length", "10", "Upload-Metadata", tusMetadata("filename", "a.png")).want(201)
	if exposed := r.header.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, "Upload-Offset") || !strings.Contains(exposed, "Location-Asset") {
		t.Errorf("exposed: %s", exposed)
	}
}
