package objectstore

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/assetplatform/assetplatform/test/services"
)

// A Reader gives the same bytes wherever it is read, with one request for what is read in order, and goes on when a connection ends.
func TestReader(t *testing.T) {
	t.Parallel()
	settings := services.SharedS3(t).Bucket(t)
	content, err := io.ReadAll(noise(1, 3<<20))
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t, settings).Put(t.Context(), "k", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(settings.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var requests, cutOff atomic.Int32
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		requests.Add(1)
		if cutOff.Add(-1) == 0 {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(r.Body, 100<<10), readerFunc(func([]byte) (int, error) { return 0, errors.New("cut off") })), r.Body}
		}
		return nil
	}
	server := httptest.NewServer(proxy)
	defer server.Close()
	settings.Endpoint = server.URL
	b := open(t, settings)

	r := b.Open(t.Context(), "k", int64(len(content)))
	defer r.Close()
	cutOff.Store(1)
	got, err := io.ReadAll(io.NewSectionReader(r, 0, int64(len(content))))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("in order: %d bytes, equal %t, %v", len(got), bytes.Equal(got, content), err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want two: the first one was cut off", n)
	}
	for range 50 {
		at := rand.Int64N(int64(len(content)))
		part := make([]byte, 1+rand.IntN(100_000))
		n, err := r.ReadAt(part, at)
		if end := min(at+int64(len(part)), int64(len(content))); !bytes.Equal(part[:n], content[at:end]) || (err != nil) != (n < len(part)) {
			t.Fatalf("%d bytes at %d: %d, %v", len(part), at, n, err)
		}
	}
	if n, err := r.ReadAt(make([]byte, 1), int64(len(content))); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	if _, err := b.Open(t.Context(), "none", 10).ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("no object: %v", err)
	}
}
