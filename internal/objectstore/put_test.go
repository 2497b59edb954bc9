package objectstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/test/services"
)

// failing gives some bytes and then an error.
type failing struct {
	io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// A body that fails, however late, leaves nothing, and its own error comes back.
func TestPutOfAFailingBodyLeavesNothing(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	b := open(t, settings)
	for _, size := range []int64{0, 100, PartSize, PartSize + 1, 2*PartSize + 1} {
		for _, cause := range []error{io.ErrUnexpectedEOF, errors.New("too large")} {
			err := b.Put(t.Context(), fmt.Sprint(size), failing{noise(1, size), cause})
			if !errors.Is(err, cause) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%d bytes: %v, want %v", size, err, cause)
			}
		}
	}
	if keys := server.Keys(t, settings.Name); len(keys) > 0 {
		t.Errorf("left in the bucket: %v", keys)
	}
}

func TestPutAbortsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	ctx, cancel := context.WithCancel(t.Context())
	body := io.MultiReader(noise(1, PartSize+1), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, io.EOF
	}))
	if err := open(t, settings).Put(ctx, "k", body); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if keys := server.Keys(t, settings.Name); len(keys) > 0 {
		t.Errorf("left in the bucket: %v", keys)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Discard removes what a process that died in the middle of Put has left, and nothing else.
func TestDiscard(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	b := open(t, settings)
	for _, key := range []string{"blobs/ab/abc", "blobs/ab/abcd"} {
		if _, err := server.Client().CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &settings.Name, Key: &key}); err != nil {
			t.Fatal(err)
		}
		if err := b.Put(t.Context(), key, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := b.Discard(t.Context(), "blobs/ab/abc"); err != nil {
			t.Fatal(err)
		}
	}
	if keys := fmt.Sprint(server.Keys(t, settings.Name)); keys != "[blobs/ab/abcd upload:blobs/ab/abcd]" {
		t.Errorf("left: %s", keys)
	}
}

// However many uploads there are, and however large, their memory is that of the slots.
func TestUploadsShareBoundedMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what counts is what is held, not when the collector comes round
	server := services.SharedS3(t)
	b := open(t, server.Bucket(t))
	var peak atomic.Int64
	sample := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		for seen := peak.Load(); int64(m.HeapInuse) > seen && !peak.CompareAndSwap(seen, int64(m.HeapInuse)); seen = peak.Load() {
		}
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for i := range 2 * uploadSlots {
		all.Go(func() {
			body := noise(uint64(i), 2*PartSize)
			if err := b.Put(t.Context(), fmt.Sprint(i), readerFunc(func(p []byte) (int, error) { sample(); return body.Read(p) })); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	const limit = uploadSlots*PartSize + 40<<20
	if grown := peak.Load() - int64(before.HeapInuse); grown > limit {
		t.Errorf("the heap grew by %d MB, the limit is %d MB", grown>>20, limit>>20)
	}
}

// Slow uploads of one user leave most of the slots to the others, and all of them end.
func TestOneUserDoesNotHoldAllSlots(t *testing.T) {
	t.Parallel()
	b := open(t, services.SharedS3(t).Bucket(t))
	slow, other := uuid.New(), uuid.New()
	var begun atomic.Int64
	release := make(chan struct{})
	var all sync.WaitGroup
	for i := range uploadSlots {
		all.Go(func() {
			body := readerFunc(func([]byte) (int, error) {
				begun.Add(1)
				<-release
				return 0, io.EOF
			})
			if err := b.PutFor(t.Context(), slow, fmt.Sprint(i), body); err != nil {
				t.Error(err)
			}
		})
	}
	waiting := func() int {
		b.shares.mu.Lock()
		defer b.shares.mu.Unlock()
		if own := b.shares.users[slow]; own != nil {
			return own.uploads
		}
		return 0
	}
	for waiting() < uploadSlots || begun.Load() < userSlots {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.PutFor(ctx, other, "other", strings.NewReader("x")); err != nil {
		t.Errorf("another user: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := b.PutFor(ended, slow, "late", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("one more of the same user: %v", err)
	}
	if n := begun.Load(); n != userSlots {
		t.Errorf("%d uploads of one user at a time, want %d", n, userSlots)
	}
	close(release)
	all.Wait()
	if n := len(b.shares.users); n != 0 {
		t.Errorf("%d users are kept", n)
	}
}

// The service joins objects, and refuses to where they are not what the caller thinks they are.
func TestCompose(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	settings.Prefix = "a studio+/"
	b := open(t, settings)
	var whole []byte
	var keys []string
	for i, size := range []int64{PartSize, PartSize + 1, 77} {
		part, err := io.ReadAll(noise(uint64(i), size))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, fmt.Sprint("blobs/", i))
		if err := b.Put(t.Context(), keys[i], bytes.NewReader(part)); err != nil {
			t.Fatal(err)
		}
		whole = append(whole, part...)
	}
	if err := b.Compose(t.Context(), "blobs/whole", keys, crc32.ChecksumIEEE(whole)); err != nil {
		t.Fatal(err)
	}
	body, err := b.Get(t.Context(), "blobs/whole", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(whole), err)
	}
	if err := b.Compose(t.Context(), "blobs/other", keys, 1); err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "not what was stored") {
		t.Errorf("with another checksum: %v", err)
	}
	if err := b.Compose(t.Context(), "blobs/other", append(keys, "blobs/none"), 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("of an object that is not there: %v", err)
	}
	if kept := server.Keys(t, settings.Name); len(kept) != 4 {
		t.Errorf("in the bucket: %v", kept)
	}
}

// A service that takes the copy of a part for something else copies none.
func TestComposeWithoutResult(t *testing.T) {
	t.Parallel()
	settings := services.SharedS3(t).Bucket(t)
	settings.Endpoint = services.Front(t, settings.Endpoint, func(_ http.ResponseWriter, r *http.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" })
	b := open(t, settings)
	if err := b.Put(t.Context(), "part", noise(1, PartSize)); err != nil {
		t.Fatal(err)
	}
	if err := b.Compose(t.Context(), "whole", []string{"part", "part"}, 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
