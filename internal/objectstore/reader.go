package objectstore

import (
	"context"
	"errors"
	"io"
	"sync"
)

// skipAhead is how much of a body is read on and dropped rather than asked for anew, bytes.
const skipAhead = 256 << 10

// Reader reads an object at any place. Who reads on where the last read ended gets it from the same request; other places make a new
// one. Errors: ErrNotFound, ErrUnavailable, and those of its context.
type Reader struct {
	ctx    context.Context //nolint:containedctx // ReadAt has none
	bucket *Bucket
	key    string
	size   int64

	mu   sync.Mutex
	body io.ReadCloser // nil: none is open
	at   int64         // where body goes on
}

// Open returns a Reader of an object that has size bytes. Nothing is asked for until it is read.
func (b *Bucket) Open(ctx context.Context, key string, size int64) *Reader {
	return &Reader{ctx: ctx, bucket: b, key: key, size: size}
}

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, at int64) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at >= r.size {
		return 0, io.EOF
	}
	whole := len(p)
	p = p[:min(int64(whole), r.size-at)]
	// A second time, because a service may end a connection on which nobody reads for a while.
	for range 2 {
		var m int
		m, err = r.readAt(p[n:], at+int64(n))
		if n += m; err == nil {
			break
		}
		r.drop()
		if errors.Is(err, ErrNotFound) || r.ctx.Err() != nil {
			return n, err
		}
	}
	if err == nil && n < whole {
		err = io.EOF
	}
	return n, err
}

func (r *Reader) readAt(p []byte, at int64) (int, error) {
	if r.body != nil && (at < r.at || at-r.at > skipAhead) {
		r.drop()
	}
	if r.body == nil {
		body, err := r.bucket.Get(r.ctx, r.key, at, -1)
		if err != nil {
			return 0, err
		}
		r.body, r.at = body, at
	}
	if _, err := io.CopyN(io.Discard, r.body, at-r.at); err != nil {
		return 0, r.bucket.translate(err)
	}
	n, err := io.ReadFull(r.body, p)
	r.at = at + int64(n)
	if err != nil {
		return n, r.bucket.translate(err)
	}
	return n, nil
}

func (r *Reader) drop() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// Close ends the request that is open.
func (r *Reader) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
}
