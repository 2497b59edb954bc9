package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/checkout"
)

// clientsDir holds programs of others, which hack/clients installs.
func clientsDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(checkout.Root(), "test", "clients")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal("run hack/clients, as make test does")
	}
	return dir
}

// run runs a program, and decodes the JSON that it prints.
func run(t *testing.T, into any, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	output, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(output, into)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", program, err, output, complaints.String())
	}
}

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tus-js-client gives up on the way and goes on where it was.
func TestClientTus(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	content := noiseWAV(7 << 20)
	var said struct {
		Asset     string
		ResumedAt int
	}
	run(t, &said, "node", filepath.Join(clientsDir(t), "tus.mjs"), p.url, token, writeFile(t, "a.wav", content))
	if said.ResumedAt < 2<<20 || said.ResumedAt >= len(content) {
		t.Errorf("it went on at %d", said.ResumedAt)
	}
	asset := decode1[assetBody](p.get(said.Asset, token).want(200))
	if asset.OriginalName != "勇者.wav" || !slices.Equal(asset.Tags, []string{"red", "blue"}) {
		t.Errorf("asset: %+v", asset)
	}
	if got := p.get(asset.DownloadURL, token).want(200).body; !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back, equal %t", len(got), bytes.Equal(got, content))
	}
}

// A page of another origin uploads by a form and by tus, in a browser.
func TestClientBrowser(t *testing.T) {
	t.Parallel()
	dir := clientsDir(t)
	pages := http.NewServeMux()
	pages.Handle("/page.html", http.FileServer(http.Dir(dir)))
	pages.Handle("/tus.min.js", http.FileServer(http.Dir(filepath.Join(dir, "node_modules/tus-js-client/dist"))))
	page := httptest.NewServer(pages)
	defer page.Close()
	p := newPlatform(t, func(c *config.Server) { c.AllowedOrigins = []string{page.URL} })
	token := p.register("alice").AccessToken
	content := noiseWAV(100_000)
	var said struct {
		Title, Said string
		Complaints  []string
	}
	address := page.URL + "/page.html?" + url.Values{"api": {p.url}, "token": {token}}.Encode()
	run(t, &said, "node", filepath.Join(dir, "browser.mjs"), chromium(t), address, writeFile(t, "勇者 1.wav", content))
	var uploaded struct {
		Form struct {
			Name, RequestID string
			Same            bool
		}
		Tus struct{ Asset string }
	}
	if err := json.Unmarshal([]byte(said.Said), &uploaded); err != nil || said.Title != "done" {
		t.Fatalf("%s: %s; the console: %q", said.Title, said.Said, said.Complaints)
	}
	if uploaded.Form.Name != "勇者 1.wav" || !uploaded.Form.Same || uploaded.Form.RequestID == "" {
		t.Errorf("the form: %s", said.Said)
	}
	if a := decode1[assetBody](p.get(uploaded.Tus.Asset, token).want(200)); a.OriginalName != "second 勇者 1.wav" || a.MIMEType != "audio/wav" {
		t.Errorf("by tus: %+v", a)
	}
}

func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: run hack/clients, as make test does")
	}
	return path
}

// What README shows with curl works, word for word.
func TestClientCurl(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	readme, err := os.ReadFile(filepath.Join(checkout.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sh\n(token=.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("README shows no curl")
	}
	script := strings.ReplaceAll(string(block[1]), "localhost:8080", strings.TrimPrefix(p.url, "http://"))
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = filepath.Dir(writeFile(t, "hero.png", png("hero")))
	output, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if err != nil || lines[len(lines)-1] != "hero.png" {
		t.Errorf("%v\n%s", err, output)
	}
}

// Who looks into the bucket finds the bytes as they were sent, under names that say nothing, with a checksum.
func TestClientOfTheBucket(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	small, large := png("small"), noiseWAV(6<<20)
	p.uploadPNG(token, "small.png", small)
	p.upload(token, newForm().file("large.wav", "", large)).want(201)
	keys, _ := p.leftovers()
	if len(keys) != 2 {
		t.Fatalf("keys: %q", keys)
	}
	for _, key := range keys {
		out, err := p.s3.Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &p.bucket.Name, Key: &key, ChecksumMode: "ENABLED"})
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(out.Body); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body.Bytes(), small) && !bytes.Equal(body.Bytes(), large) {
			t.Errorf("%s has %d bytes that nobody sent", key, body.Len())
		}
		if aws.ToString(out.ChecksumCRC32) == "" || !regexp.MustCompile(`^blobs/[0-9a-f]{2}/[0-9a-f]{32}$`).MatchString(key) {
			t.Errorf("%s: checksum %q", key, aws.ToString(out.ChecksumCRC32))
		}
	}
}
