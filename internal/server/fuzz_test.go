package server

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// Fuzzing sends what it makes up to a real server: whatever that is, the answer is no 500, and what is refused says so in our words.

// newFuzzed is a platform with an asset of alice, without limits on requests.
func newFuzzed(f *testing.F) (p *platform, token string) {
	p = newPlatform(f, func(c *config.Server) { c.RateLimits.General, c.RateLimits.Upload = 0, 0 })
	token = p.register("alice").AccessToken
	p.uploadPNG(token, "勇者.png", png("1"))
	return p, token
}

// maxFuzzed bounds what is sent in a header, bytes: net/http refuses longer ones (431) before we see them.
const maxFuzzed = 16 << 10

// on is the platform for one run of a fuzz target.
func (p *platform) on(t *testing.T) *platform {
	run := *p
	run.t = t
	return &run
}

// wantOneOf checks an answer; an error has our shape.
func wantOneOf(t *testing.T, r reply, statuses ...int) {
	t.Helper()
	for _, status := range statuses {
		if r.status == status {
			if status >= http.StatusBadRequest && !bytes.Contains(r.body, []byte(`"requestId"`)) {
				t.Errorf("%d without our body: %q", r.status, r.body)
			}
			return
		}
	}
	t.Errorf("%d: %s", r.status, r.body)
}

func FuzzListAssets(f *testing.F) {
	p, token := newFuzzed(f)
	for _, query := range []string{
		"", "limit=1&offset=2", "page=2", "sortBy=fileSize&sortOrder=asc", "search=勇&sortBy=rank", "search=%25_%5C", "tags=a,b&tags=c&tagMode=all",
		"createdAfter=2026-01-31T18:00:00Z", "createdBefore=9999-12-31T23:59:59.999999999%2B14:00", "fileType=IMAGE&category=x", "projectId=" + uuid.NewString(),
		"minWidth=1&maxHeight=2147483647&minDuration=1e-300&maxDuration=Inf", "deleted=true", "limit=99999999999999999999", "search=%00", "search=%ff",
		"cursor=" + cursor{Sort: "createdAt", Value: "2026-01-31T18:00:00Z", ID: uuid.New()}.String(),
		"sortBy=rank&search=勇&cursor=" + cursor{Sort: "rank", Value: "1|2026-01-31T18:00:00Z", ID: uuid.New()}.String(),
		"sortBy=fileSize&cursor=" + cursor{Sort: "fileSize", Value: "99999999999999999999", ID: uuid.New()}.String(),
		"sortBy=originalName&cursor=" + cursor{Sort: "originalName", Value: "\x00", ID: uuid.New()}.String(),
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		p := p.on(t)
		escaped := (&url.URL{Path: "/api/assets", RawQuery: query}).String()
		if _, err := url.Parse(p.url + escaped); err != nil || len(escaped) > maxFuzzed {
			return // no client can send it
		}
		wantOneOf(t, p.get(escaped, token), 200, 400, 404)
	})
}

// FuzzCursor fuzzes what is within the base64, which fuzzing a query hardly reaches.
func FuzzCursor(f *testing.F) {
	p, token := newFuzzed(f)
	for _, sort := range []string{"createdAt", "updatedAt", "originalName", "fileSize", "rank"} {
		f.Add(sort, "2026-01-31T18:00:00Z", true)
		f.Add(sort, "1|0001-01-01T00:00:00Z", false)
		f.Add(sort, "-9223372036854775808", false)
		f.Add(sort, "勇者\x00", false)
	}
	f.Fuzz(func(t *testing.T, sort, value string, ascending bool) {
		p := p.on(t)
		if len(sort)+len(value) > maxFuzzed/4 { // base64 and escapes make more of it
			return
		}
		order := "desc"
		if ascending {
			order = "asc"
		}
		place := cursor{Sort: store.Sort(sort), Ascending: ascending, Value: value, ID: uuid.Max}
		query := url.Values{"sortBy": {sort}, "sortOrder": {order}, "cursor": {place.String()}}
		wantOneOf(t, p.get("/api/assets?search=a&"+query.Encode(), token), 200, 400)
	})
}

func FuzzUploadForm(f *testing.F) {
	p, token := newFuzzed(f)
	whole := newForm().field("tags", `["a"]`).field("category", "x").file("勇者.png", "image/png", png("2"))
	whole.writer.Close()
	boundary := whole.writer.Boundary()
	body := bytes.ReplaceAll(whole.buffer.Bytes(), []byte(boundary), []byte("B"))
	f.Add(body)
	f.Add(body[:len(body)/2])
	f.Add(bytes.Replace(body, []byte("form-data"), []byte("attachment"), 1))
	f.Add(bytes.Replace(body, []byte(`filename="`), []byte(`filename*=UTF-8''%00; filename="../`), 1))
	f.Add([]byte("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF"))
	f.Add([]byte("--B--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		p := p.on(t)
		r := p.do("POST", "/api/assets/upload", token, bytes.NewReader(body), "Content-Type", "multipart/form-data; boundary=B")
		wantOneOf(t, r, 201, 400, 413, 415)
		if r.status != 201 {
			if _, notes := p.leftovers(); notes != 0 {
				t.Errorf("refused, and left %d notes", notes)
			}
		}
	})
}

func FuzzTusHeaders(f *testing.F) {
	p, token := newFuzzed(f)
	f.Add("99", "filename YS5wbmc=", "0", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "\x89PNG\r\n\x1a\n")
	f.Add("1", "filename YS5wbmc=,tags W10=,projectId eA==,category ,x", "1", "md5", "x")
	f.Add("9223372036854775808", "filename", "-1", "sha256 AAAA", "")
	f.Add("1", "filename YS5wbmc=,\x93tags", "1", "md5", "x")
	f.Add(" 5", "filename =,,", "00", "crc32 AAAA", "RIFF")
	f.Fuzz(func(t *testing.T, length, metadata, offset, sum, body string) {
		p := p.on(t)
		for _, header := range []string{length, metadata, offset, sum} {
			if len(header) > maxFuzzed/4 || strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return // no client can send it
			}
		}
		r := p.tus("POST", "/api/uploads", token, nil, "Upload-Length", length, "Upload-Metadata", metadata)
		wantOneOf(t, r, 201, 400, 413)
		if r.status != 201 {
			return
		}
		address := r.header.Get("Location")
		wantOneOf(t, p.tus("PATCH", address, token, strings.NewReader(body), "Content-Type", tusBody, "Upload-Offset", offset, "Upload-Checksum", sum), 204, 400, 409, 413, 460)
		if r := p.tus("DELETE", address, token, nil); r.status != 204 && r.status != 404 {
			t.Errorf("terminate: %d", r.status)
		}
	})
}
