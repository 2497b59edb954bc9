package server

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// fileNameOf reads a Content-Disposition as a client of RFC 8187 does.
func fileNameOf(t *testing.T, disposition string) string {
	t.Helper()
	_, parameters, err := mime.ParseMediaType(disposition)
	if err != nil {
		t.Fatalf("%s: %v", disposition, err)
	}
	return parameters["filename"]
}

func TestDownload(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, bob := p.register("alice").AccessToken, p.register("bob").AccessToken
	content := png(strings.Repeat("0123456789", 1000))
	a := p.uploadPNG(alice, "勇者.png", content)
	etag := `"` + a.SHA256 + `"`
	date := a.CreatedAt.Format(http.TimeFormat)
	earlier, later := a.CreatedAt.Add(-time.Hour).Format(http.TimeFormat), a.CreatedAt.Add(time.Hour).Format(http.TimeFormat)
	size := len(content)
	for name, test := range map[string]struct {
		headers []string
		status  int
		body    []byte // nil: none
	}{
		"whole":                        {nil, 200, content},
		"first bytes":                  {[]string{"Range", "bytes=0-9"}, 206, content[:10]},
		"from the middle":              {[]string{"Range", "bytes=5000-"}, 206, content[5000:]},
		"last bytes":                   {[]string{"Range", "bytes=-7"}, 206, content[size-7:]},
		"more than there is":           {[]string{"Range", "bytes=9000-99999999999999999999"}, 206, content[9000:]},
		"more than all":                {[]string{"Range", "bytes=-999999"}, 206, content},
		"behind the end":               {[]string{"Range", fmt.Sprintf("bytes=%d-", size)}, 416, nil},
		"nothing":                      {[]string{"Range", "bytes=-0"}, 416, nil},
		"malformed":                    {[]string{"Range", "bytes=a-b"}, 200, content},
		"backwards":                    {[]string{"Range", "bytes=9-3"}, 200, content},
		"other unit":                   {[]string{"Range", "lines=1-2"}, 200, content},
		"one of several is there":      {[]string{"Range", fmt.Sprintf("bytes=%d-,3-5", size)}, 206, content[3:6]},
		"none of several is there":     {[]string{"Range", fmt.Sprintf("bytes=%d-,-0", size)}, 416, nil},
		"several that are too much":    {[]string{"Range", "bytes=0-,0-,0-"}, 200, content},
		"far too many":                 {[]string{"Range", "bytes=" + strings.Repeat("1-2,", 16) + "1-2"}, 200, content},
		"one of several malformed":     {[]string{"Range", "bytes=0-1,x"}, 200, content},
		"known tag":                    {[]string{"If-None-Match", etag}, 304, nil},
		"known tag in a list":          {[]string{"If-None-Match", `"x", W/` + etag}, 304, nil},
		"any tag":                      {[]string{"If-None-Match", "*"}, 304, nil},
		"other tag":                    {[]string{"If-None-Match", `"x"`}, 200, content},
		"not modified":                 {[]string{"If-Modified-Since", date}, 304, nil},
		"modified":                     {[]string{"If-Modified-Since", earlier}, 200, content},
		"a tag beats a date":           {[]string{"If-None-Match", `"x"`, "If-Modified-Since", later}, 200, content},
		"malformed date":               {[]string{"If-Modified-Since", "yesterday"}, 200, content},
		"condition met":                {[]string{"If-Match", etag}, 200, content},
		"condition not met":            {[]string{"If-Match", `"x"`}, 412, nil},
		"weak tags do not match":       {[]string{"If-Match", "W/" + etag}, 412, nil},
		"unmodified":                   {[]string{"If-Unmodified-Since", date}, 200, content},
		"changed since":                {[]string{"If-Unmodified-Since", earlier}, 412, nil},
		"resume of the same":           {[]string{"Range", "bytes=10-", "If-Range", etag}, 206, content[10:]},
		"resume of another":            {[]string{"Range", "bytes=10-", "If-Range", `"x"`}, 200, content},
		"resume by date":               {[]string{"Range", "bytes=10-", "If-Range", date}, 206, content[10:]},
		"resume by a later date":       {[]string{"Range", "bytes=10-", "If-Range", later}, 200, content},
		"resume by a weak tag":         {[]string{"Range", "bytes=10-", "If-Range", "W/" + etag}, 200, content},
		"a known tag beats the range":  {[]string{"Range", "bytes=10-", "If-None-Match", etag}, 304, nil},
		"conditions come before range": {[]string{"Range", fmt.Sprintf("bytes=%d-", size), "If-None-Match", etag}, 304, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := *p
			p.t = t
			r := p.get(a.DownloadURL, alice, test.headers...)
			if test.status >= 400 {
				r.want(test.status)
				if r.header.Get("Content-Type") != "application/json" {
					t.Errorf("not our error: %s", r.body)
				}
			} else if r.want(test.status); !bytes.Equal(r.body, test.body) {
				t.Errorf("%d bytes, want %d", len(r.body), len(test.body))
			}
			if test.status < 400 && (r.header.Get("ETag") != etag || r.header.Get("Last-Modified") != date || r.header.Get("Cache-Control") == "") {
				t.Errorf("headers: %v", r.header)
			}
			if test.status < 300 && (r.header.Get("Content-Type") != "image/png" || r.header.Get("X-Content-Type-Options") != "nosniff" ||
				r.header.Get("Accept-Ranges") != "bytes" || r.header.Get("Content-Length") != fmt.Sprint(len(test.body))) {
				t.Errorf("headers: %v", r.header)
			}
			if got := r.header.Get("Content-Range"); test.status == 416 && got != fmt.Sprintf("bytes */%d", size) || test.status == 200 && got != "" {
				t.Errorf("Content-Range: %s", got)
			}
		})
	}
	if got := p.get(a.DownloadURL, alice, "Range", "bytes=2-5").header.Get("Content-Range"); got != fmt.Sprintf("bytes 2-5/%d", size) {
		t.Errorf("Content-Range: %s", got)
	}
	head := p.do("HEAD", a.DownloadURL, alice, nil, "Range", "bytes=0-1").want(200)
	if len(head.body) > 0 || head.header.Get("Content-Length") != fmt.Sprint(size) || head.header.Get("ETag") != etag {
		t.Errorf("HEAD: %v", head.header)
	}
	p.get(a.DownloadURL, bob).wantProblem(404, "NOT_FOUND", "")
	p.get(a.DownloadURL, "").wantProblem(401, "UNAUTHORIZED", "")
	p.get(assetPath(uuid.New())+"/download", alice).wantProblem(404, "NOT_FOUND", "")
	p.get("/api/assets/x/download", alice).wantProblem(404, "NOT_FOUND", "")
}

// Several ranges come in one answer, as a client of RFC 9110 reads it.
func TestDownloadOfSeveralRanges(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice := p.register("alice").AccessToken
	content := png(strings.Repeat("0123456789", 20_000))
	a := p.uploadPNG(alice, "a.png", content)
	size := len(content)
	want := [][2]int{{0, 3}, {70_000, 170_000}, {size - 5, size}}
	ranges := fmt.Sprintf("bytes=0-2, 70000-169999 ,%d-,-5", size+1)
	r := p.get(a.DownloadURL, alice, "Range", ranges).want(206)
	kind, parameters, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" || r.header.Get("Content-Length") != fmt.Sprint(len(r.body)) || r.header.Get("Content-Range") != "" || r.header.Get("ETag") != `"`+a.SHA256+`"` {
		t.Fatalf("headers: %v, %v", r.header, err)
	}
	parts := multipart.NewReader(bytes.NewReader(r.body), parameters["boundary"])
	for _, at := range want {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(got, content[at[0]:at[1]]) || part.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", at[0], at[1]-1, size) || part.Header.Get("Content-Type") != "image/png" {
			t.Errorf("part %v: %d bytes, %v, %v", at, len(got), part.Header, err)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("more parts: %v", err)
	}
	if head := p.do("HEAD", a.DownloadURL, alice, nil, "Range", ranges).want(200); head.header.Get("Content-Length") != fmt.Sprint(size) {
		t.Errorf("HEAD: %v", head.header)
	}
}

func TestDownloadWhileTheBucketIsAway(t *testing.T) {
	t.Parallel()
	p := newPlatformWithS3(t)
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "a.png", png("1"))
	p.s3.Stop()
	r := p.get(a.DownloadURL, token).wantProblem(503, "STORAGE_UNAVAILABLE", "")
	if r.header.Get("Content-Disposition") != "" || r.header.Get("ETag") != "" || r.header.Get("Retry-After") == "" {
		t.Errorf("headers: %v", r.header)
	}
	p.get(a.DownloadURL, token, "If-None-Match", `"`+a.SHA256+`"`).want(304) // needs no bucket
	p.s3.Start(t)
	p.get(a.DownloadURL, token).want(200)
}

// Bytes that are lost or changed in the bucket are never delivered as the asset.
func TestDownloadOfDamagedBytes(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := png(strings.Repeat("x", 1<<20))
	a := p.uploadPNG(token, "a.png", content)
	keys, _ := p.leftovers()
	p.s3.Damage(t, p.bucket.Name, keys[0])
	r, _ := http.NewRequest("GET", p.url+a.DownloadURL, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		defer answer.Body.Close()
		var got []byte
		got, err = io.ReadAll(answer.Body)
		t.Logf("%d of %d bytes, %v", len(got), len(content), err)
	}
	if err == nil {
		t.Error("damaged bytes were delivered without an error")
	}
	if err := p.server.bucket.Delete(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	if r := p.get(a.DownloadURL, token).wantProblem(503, "STORAGE_UNAVAILABLE", ""); !strings.Contains(string(r.body), "missing") {
		t.Errorf("bytes that are lost: %s", r.body)
	}
}

// What is deleted for good while it is downloaded comes in full, or is seen to be cut off; it never comes as something else.
func TestDeleteWhileDownloading(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := noiseWAV(20 << 20)
	a := decode1[assetBody](p.upload(token, newForm().file("a.wav", "", content)).want(201))
	r, err := http.NewRequest(http.MethodGet, p.url+a.DownloadURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	begin := make([]byte, 100_000)
	if _, err := io.ReadFull(answer.Body, begin); err != nil {
		t.Fatal(err)
	}
	p.delete(assetPath(a.ID)+"?permanent=true", token).want(204)
	rest, err := io.ReadAll(answer.Body)
	got := append(begin, rest...)
	if whole := len(got) == len(content); !bytes.Equal(got, content[:len(got)]) || whole != (err == nil) {
		t.Errorf("%d of %d bytes came, %v", len(got), len(content), err)
	}
	p.get(a.DownloadURL, token).wantProblem(404, "NOT_FOUND", "")
	p.wantNothing()
}

func TestContentDisposition(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"hero.png":      `inline; filename="hero.png"; filename*=UTF-8''hero.png`,
		"勇者.png":        `inline; filename="__.png"; filename*=UTF-8''%E5%8B%87%E8%80%85.png`,
		`a "b"\c%.png`:  `inline; filename="a _b__c_.png"; filename*=UTF-8''a%20%22b%22%5Cc%25.png`,
		"a;b'c*(d).png": `inline; filename="a;b'c*(d).png"; filename*=UTF-8''a%3Bb%27c%2A%28d%29.png`,
	} {
		if got := contentDisposition(store.Asset{OriginalName: name, MIMEType: "image/png"}); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
	if got := contentDisposition(store.Asset{OriginalName: "a.svg", MIMEType: "image/svg+xml"}); !strings.HasPrefix(got, "attachment;") {
		t.Error(got)
	}
}
