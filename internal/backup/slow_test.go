package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

// standing answers what there is in ways that do not come to an end by themselves, or end too early.
var standing = map[string]func(w http.ResponseWriter, r *http.Request, text []byte){
	"no answer": func(_ http.ResponseWriter, r *http.Request, _ []byte) { <-r.Context().Done() },
	"stands still in the middle": func(w http.ResponseWriter, r *http.Request, text []byte) {
		half(w, text)
		<-r.Context().Done()
	},
	"trickles": func(w http.ResponseWriter, r *http.Request, text []byte) {
		for _, one := range half(w, text) {
			_, _ = w.Write([]byte{one})
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
	},
	"closes in the middle": func(w http.ResponseWriter, _ *http.Request, text []byte) {
		half(w, text)
		panic(http.ErrAbortHandler)
	},
}

func half(w http.ResponseWriter, text []byte) (rest []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text[:len(text)/2])
	_ = http.NewResponseController(w).Flush() // else the client has nothing yet
	return text[len(text)/2:]
}

// reading is the destination behind a proxy that has other answers where a part is read, of which it knows the right one.
func reading(t *testing.T, settings config.Bucket, part string, answer func(w http.ResponseWriter, r *http.Request, text []byte)) config.Bucket {
	t.Helper()
	d := destination(t, settings)
	settings.Endpoint = services.Front(t, settings.Endpoint, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, part) {
			return false
		}
		if text, err := d.read(r.Context(), strings.TrimPrefix(r.URL.Path, "/"+settings.Name+"/")); err == nil {
			answer(w, r, text)
		}
		return true
	})
	return settings
}

// nothingRestored fails the test if something was restored.
func nothingRestored(t *testing.T, o RestoreOptions) {
	t.Helper()
	target, err := store.OpenTarget(t.Context(), o.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if !target.Empty() {
		t.Errorf("something was restored: %s", target.Contents())
	}
}

// A store that stands still, or trickles, or breaks off, is a failure within a time: never a success, and never damage of what it has.
func TestSlowStore(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.upload(p.users[0], make([]byte, 10_000))
	settings, d := archive(t)
	set := p.backUp(d)
	var waiting sync.WaitGroup // all at once: there is nothing to do meanwhile
	var restores []RestoreOptions
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, fault := range standing {
		for _, part := range []string{blobsFolder, dumpFile, inventoryFile, manifestFile} {
			slow := impatient(t, reading(t, settings, part, fault), 500*time.Millisecond)
			o := vacant(t).restoring(slow)
			restores = append(restores, o)
			waiting.Go(func() {
				if _, err := slow.Verify(ctx, set.ID, VerifyOptions{}); !errors.Is(err, objectstore.ErrArchiveUnavailable) {
					t.Errorf("%s %s: verify: %v", part, name, err)
				}
			})
			waiting.Go(func() {
				if _, err := Restore(ctx, o); !errors.Is(err, objectstore.ErrArchiveUnavailable) {
					t.Errorf("%s %s: restore: %v", part, name, err)
				}
			})
		}
	}
	slow := settings
	slow.Endpoint = services.Front(t, settings.Endpoint, func(_ http.ResponseWriter, r *http.Request) bool {
		faulty := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, dumpFile)
		if faulty {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}
		return faulty
	})
	o := p.options(impatient(t, slow, 500*time.Millisecond))
	waiting.Go(func() {
		if _, err := Create(ctx, o); !errors.Is(err, objectstore.ErrArchiveUnavailable) {
			t.Errorf("create: %v", err)
		}
	})
	waiting.Wait()
	if ctx.Err() != nil {
		t.Error("it took more than a minute")
	}
	for _, o := range restores {
		nothingRestored(t, o)
	}
	if l, err := d.List(t.Context()); err != nil || len(l.Sets) != 1 || !l.Sets[0].Verified() {
		t.Errorf("%+v, %v", l.Sets, err)
	}
}

// Bytes that change on their way are noticed: on the way there by the service, which has their sums, and on the way back by ours.
func TestBytesChangeOnTheWay(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	p.upload(p.users[0], make([]byte, 10_000))
	for _, part := range []string{blobsFolder, dumpFile, inventoryFile} {
		t.Run("there "+part, func(t *testing.T) {
			t.Parallel()
			settings, d := archive(t)
			var all atomic.Bool
			all.Store(true)
			flipping := behind(t, settings, func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, part) && r.ContentLength > 0 && all.Load() {
					body, _ := io.ReadAll(r.Body)
					body[len(body)/2] ^= 1
					r.Body = io.NopCloser(bytes.NewReader(body))
				}
				return false
			})
			if _, err := Create(t.Context(), p.options(flipping)); err == nil {
				t.Error("no error")
			}
			if finished, _ := sets(t, d); finished != 0 {
				t.Errorf("%d sets", finished)
			}
			all.Store(false)
			set := p.backUp(flipping)
			if _, err := d.Verify(t.Context(), set.ID, VerifyOptions{}); err != nil {
				t.Error(err)
			}
		})
		for how, change := range map[string]func([]byte) []byte{
			"cut off": func(text []byte) []byte { return text[:len(text)/2] },
			"flipped": func(text []byte) []byte { text[len(text)/2] ^= 1; return text },
		} {
			t.Run("back "+part+" "+how, func(t *testing.T) {
				t.Parallel()
				settings, d := archive(t)
				set := p.backUp(d)
				changing := destination(t, reading(t, settings, part, func(w http.ResponseWriter, _ *http.Request, text []byte) {
					text = change(text)
					w.Header().Set("Content-Length", strconv.Itoa(len(text)))
					_, _ = w.Write(text)
				}))
				o := vacant(t).restoring(changing)
				if _, err := Restore(t.Context(), o); err == nil {
					t.Error("restored")
				}
				nothingRestored(t, o)
				found, err := changing.Verify(t.Context(), set.ID, VerifyOptions{})
				if !errors.Is(err, ErrDamaged) || len(found.Damage) == 0 || !strings.Contains(found.Damage[0], part) {
					t.Errorf("%v: %v", found.Damage, err)
				}
				if again, err := d.Verify(t.Context(), set.ID, VerifyOptions{}); err != nil || !again.Verified() {
					t.Errorf("what is there was right: %v", err)
				}
			})
		}
	}
}
