package objectstore

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
)

// A Bucket takes a View for a service, reads all of an object or a part, and can change nothing; nobody else is let in.
func TestView(t *testing.T) {
	t.Parallel()
	owner := uuid.New()
	const content = "the bytes of the only object"
	view := &View{Name: "view", AccessKey: "who", Owner: owner.String(), Open: func(_ context.Context, key string, offset int64) (io.ReadCloser, int64, error) {
		switch key {
		case "blobs/one":
			return io.NopCloser(strings.NewReader(content[offset:])), int64(len(content)), nil
		case "blobs/short":
			return io.NopCloser(strings.NewReader("the")), int64(len(content)), nil
		}
		return nil, 0, ErrNotFound
	}}
	server := httptest.NewServer(view)
	defer server.Close()
	open := func(name, accessKey string) *Bucket {
		b, err := New(t.Context(), config.Bucket{Name: name, Region: "us-east-1", Endpoint: server.URL, AccessKey: accessKey, SecretKey: "any"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open("view", "who")
	if err := errors.Join(b.Check(t.Context()), b.Claim(t.Context(), Owner{Platform: owner})); err != nil || !b.Claimed() {
		t.Fatal(err)
	}
	read := func(key string, offset, length int64) (string, error) {
		body, err := b.Get(t.Context(), key, offset, length)
		if err != nil {
			return "", err
		}
		defer body.Close()
		text, err := io.ReadAll(body)
		return string(text), err
	}
	for _, part := range [][2]int64{{0, -1}, {4, -1}, {4, 5}, {0, 3}, {20, 100}} {
		want := content[part[0]:]
		if part[1] >= 0 && part[1] < int64(len(want)) {
			want = want[:part[1]]
		}
		if got, err := read("blobs/one", part[0], part[1]); err != nil || got != want {
			t.Errorf("%v: %q, %v, want %q", part, got, err, want)
		}
	}
	if size, err := b.Size(t.Context(), "blobs/one"); err != nil || size != int64(len(content)) {
		t.Errorf("%d, %v", size, err)
	}
	if _, err := read("blobs/two", 0, -1); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if got, err := read("blobs/short", 0, -1); err == nil {
		t.Errorf("%q was taken for the whole", got)
	}
	if b.Put(t.Context(), "blobs/three", strings.NewReader("x")) == nil || b.Delete(t.Context(), "blobs/one") == nil {
		t.Error("something was changed")
	}
	if open("view", "somebody").Check(t.Context()) == nil || open("another", "who").Check(t.Context()) == nil {
		t.Error("somebody else was let in")
	}
	if err := open("view", "who").Claim(t.Context(), Owner{Platform: uuid.New()}); err == nil {
		t.Error("it is another platform's")
	}
}
