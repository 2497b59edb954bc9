package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	// pieceSize is how many bytes at most an object has that keeps some of an upload: what the bucket stores in one request.
	pieceSize = objectstore.PartSize
	// flights is how many pieces of an upload are on their way to the bucket at a time, and with that how many a crash may lose.
	flights = 2
)

// reception takes the bytes of one request that goes on with an upload. They are kept in pieces as they come, each an object of its own,
// so that whatever ends the request early loses nothing that came. Of two requests with the same bytes, one keeps them. The last piece is
// kept by the transaction that makes the asset: until then clients see that something is missing, and send it again.
type reception struct {
	server  *Server
	upload  store.Upload   // Received moves on with what is kept
	kind    store.FileType // empty: nobody knows yet
	read    int64          // how far the file was read
	flying  []*flight      // in order
	pending []store.Piece  // stored, and not kept
	sum     *checksum      // nil: none was sent

	examined *examination // of the whole file; nil: some of it came before, or nobody knows yet whether the bytes are what was sent
}

// receive takes a request's body as the next bytes of an upload, and answers.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, u store.Upload, status int) error {
	if r.ContentLength > u.Size-u.Received {
		return errTooMuch
	}
	sum, err := checksumOf(r.Header.Get("Upload-Checksum"))
	if err != nil {
		return err
	}
	c := &reception{server: s, upload: u, read: u.Received, sum: sum}
	if err := c.take(r.Context(), s.paced(w, r)); err != nil {
		c.discardPending(r.Context())
		c.conclude(r.Context(), w.Header(), err)
		w.Header().Set("Connection", "close") // the rest of the body is not wanted
		return err
	}
	describeUpload(w.Header(), c.upload)
	w.WriteHeader(status)
	return nil
}

// conclude counts how a request failed, and ends an upload that can never become an asset.
func (c *reception) conclude(ctx context.Context, answer http.Header, err error) {
	switch {
	case problemOf(err).status >= http.StatusInternalServerError:
		c.server.metrics.upload(c.kind, "failed")
	case errors.Is(err, store.ErrTooManyPieces), isRefusal(err) && !errors.Is(err, errTooMuch) && !errors.Is(err, errBody):
		c.server.metrics.upload(c.kind, "refused")
		answer.Del("Location")
		if failed := c.server.endUpload(ctx, c.upload); failed != nil {
			c.server.log.Warn("a refused upload is left until it expires", "upload", c.upload.ID.String(), "error", failed)
		}
	}
}

var errTooMuch = newProblem(http.StatusRequestEntityTooLarge, "FILE_TOO_LARGE", "These are more bytes than Upload-Length said: begin a new upload.")

// interrupted ends where its source fails, and remembers that.
type interrupted struct {
	source io.Reader
	err    error
}

func (i *interrupted) Read(p []byte) (int, error) {
	n, err := i.source.Read(p)
	if err != nil && err != io.EOF {
		i.err, err = err, io.EOF
	}
	return n, err
}

// take stores the body piece by piece. An error of the body comes last, once what came before it is kept.
func (c *reception) take(ctx context.Context, body io.Reader) error {
	ctx = context.WithoutCancel(ctx) // a client that has gone comes back for what it sent
	cut := &interrupted{source: body}
	source := bufio.NewReaderSize(cut, 64<<10)
	if c.read == 0 && c.sum == nil {
		if err := c.examine(source); err != nil {
			return err
		}
		if c.examined != nil {
			defer c.examined.inspection.stop()
		}
	}
	if err := c.storePieces(ctx, source); err != nil {
		return err
	}
	switch {
	case !ended(source):
		return errTooMuch
	case c.sum != nil && cut.err != nil:
		return bodyError(cut.err) // what they sum up to is not known
	case c.sum != nil && !bytes.Equal(c.sum.Sum(nil), c.sum.want):
		return errChecksum
	case c.read == c.upload.Size && len(c.pending) > 0:
		return c.finish(ctx)
	}
	err := c.keep(ctx)
	if err == nil && cut.err != nil {
		err = bodyError(cut.err)
	}
	return err
}

func ended(source *bufio.Reader) bool {
	next, _ := source.Peek(1)
	return len(next) == 0
}

// examine begins to examine a file as it comes: what is no asset is refused before the rest is there.
func (c *reception) examine(source *bufio.Reader) error {
	head, err := peek(source)
	if err != nil || len(head) < sniffLength && int64(len(head)) < c.upload.Size {
		return err // too little to tell
	}
	u, declared, err := c.server.describedBy(c.upload)
	if err != nil {
		return err
	}
	examined, err := u.examine(head, u.asset.OriginalName, declared)
	c.kind = u.format.kind
	if err == nil && c.upload.Size > examined.limit {
		examined.inspection.stop()
		err = fileTooLarge(examined.limit)
	}
	if err == nil {
		c.examined = examined
	}
	return err
}

// flight is a piece on its way to the bucket.
type flight struct {
	landed   chan struct{} // closed once it is kept, has failed, or waits for the end of the request; then:
	err      error
	panicked any // what the request is to panic with, where that is caught
}

// storePieces stores what comes. The next piece is read while the one before is on its way.
func (c *reception) storePieces(ctx context.Context, source *bufio.Reader) (err error) {
	for c.read < c.upload.Size && !ended(source) {
		if len(c.flying) == flights {
			if err = c.land(); err != nil {
				break
			}
		}
		c.storePiece(ctx, source)
	}
	for len(c.flying) > 0 {
		if failed := c.land(); err == nil {
			err = failed
		}
	}
	return err
}

// storePiece reads up to a piece, and leaves it on its way.
func (c *reception) storePiece(ctx context.Context, source io.Reader) {
	body := &pieceBody{Reader: source, left: min(pieceSize, c.upload.Size-c.read), ended: make(chan struct{})}
	if c.sum != nil {
		body.Reader = io.TeeReader(source, c.sum)
	}
	if c.examined != nil {
		body.Reader = io.TeeReader(source, c.examined)
	}
	f, start := &flight{landed: make(chan struct{})}, c.read
	var before *flight
	if len(c.flying) > 0 {
		before = c.flying[len(c.flying)-1]
	}
	c.flying = append(c.flying, f)
	go func() {
		defer close(f.landed)
		defer body.end()
		defer func() {
			if f.panicked = recover(); f.panicked != nil {
				f.err = fmt.Errorf("%v\n%s", f.panicked, debug.Stack())
			}
		}()
		f.err = c.fly(ctx, body, start, before)
	}()
	<-body.ended
	c.read += body.bytes
}

// fly stores a piece, and keeps it once the one before is kept: at once, for the client may take its time with the next.
func (c *reception) fly(ctx context.Context, body *pieceBody, start int64, before *flight) error {
	u := &upload{server: c.server, userID: c.upload.UserID}
	err := u.put(ctx, body)
	body.end()
	if before != nil {
		if <-before.landed; err == nil {
			err = before.err
		}
	}
	if err != nil {
		u.abandon(ctx)
		return err
	}
	c.pending = append(c.pending, store.Piece{Start: start, Bytes: body.bytes, ObjectKey: u.asset.ObjectKey})
	if c.sum != nil || start+body.bytes == c.upload.Size {
		return nil
	}
	return c.keep(ctx)
}

// land waits for the piece that has been on its way longest.
func (c *reception) land() error {
	f := c.flying[0]
	c.flying = c.flying[1:]
	<-f.landed
	if f.panicked != nil {
		panic(f.err.Error())
	}
	return f.err
}

// pieceBody is the bytes of a piece. It tells when no more are read.
type pieceBody struct {
	io.Reader
	left, bytes int64
	ended       chan struct{}
	once        sync.Once
}

func (p *pieceBody) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b[:min(int64(len(b)), p.left)])
	p.left, p.bytes = p.left-int64(n), p.bytes+int64(n)
	if err == nil && p.left == 0 {
		err = io.EOF // now: what fills its buffer and goes on, the bucket stores in parts
	}
	if err != nil {
		p.end()
	}
	return n, err
}

func (p *pieceBody) end() { p.once.Do(func() { close(p.ended) }) }

// keep makes the pending pieces part of the upload.
func (c *reception) keep(ctx context.Context) error {
	if len(c.pending) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	expires, err := c.server.store.KeepPieces(ctx, c.upload, c.pending)
	if errors.Is(err, store.ErrChanged) {
		return errOffset
	}
	if err == nil {
		last := c.pending[len(c.pending)-1]
		c.upload.Received, c.upload.ExpiresAt, c.pending = last.Start+last.Bytes, expires, nil
	}
	return err
}

func (c *reception) discardPending(ctx context.Context) {
	for _, p := range c.pending {
		c.server.discard(ctx, c.upload.UserID, p.ObjectKey)
	}
}

// finish makes the asset of all pieces.
func (c *reception) finish(ctx context.Context) error {
	s := c.server
	claimed, release, err := s.store.HoldUpload(ctx, c.upload)
	if errors.Is(err, store.ErrChanged) {
		return errClaimed
	}
	if err != nil {
		return err
	}
	defer release()
	pieces, err := s.store.UploadPieces(ctx, c.upload)
	if err != nil {
		return err
	}
	u, declared, err := s.describedBy(c.upload)
	if err != nil {
		return err
	}
	u.asset.Upload = claimed
	done, err := u.assemble(ctx, append(pieces, c.pending...), c.upload.Size, declared, c.examined)
	c.kind = u.format.kind
	if err != nil && !isRefusal(err) {
		err = c.lost(ctx, err)
	}
	switch {
	case errors.Is(err, store.ErrChanged):
		err = errClaimed
	case err == nil && done.duplicate:
		s.metrics.upload(u.format.kind, "duplicate")
	case err == nil:
		s.metrics.upload(u.format.kind, "stored")
	}
	if err != nil {
		u.abandon(ctx)
		return err
	}
	c.upload.Received, c.upload.AssetID = c.upload.Size, &done.asset.ID
	for _, p := range c.pending { // those that were kept are the collector's now
		if p.ObjectKey != u.asset.ObjectKey || done.duplicate {
			s.discard(ctx, c.upload.UserID, p.ObjectKey)
		}
	}
	if done.duplicate && u.noted {
		s.discard(ctx, c.upload.UserID, u.asset.ObjectKey)
	}
	return nil
}

// lost is why the asset could not be made: where somebody else has ended the upload meanwhile or made it, and its pieces are gone, that.
func (c *reception) lost(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	now, failed := c.server.store.Upload(ctx, c.upload.UserID, c.upload.ID)
	switch {
	case errors.Is(failed, store.ErrNotFound):
		return failed
	case failed == nil && now.AssetID != nil:
		return errClaimed
	}
	return err
}

// assemble examines the file that pieces are, unless that was done as they came, makes it one object, and commits it.
func (u *upload) assemble(ctx context.Context, pieces []store.Piece, size int64, declared string, file *examination) (done committed, err error) {
	if file != nil {
		u.format = file.format
		err = file.end()
	} else {
		file, err = u.examinePieces(ctx, pieces, declared)
	}
	if err != nil {
		return done, err
	}
	if file.size != size {
		return done, errors.New("the pieces of an upload are not of its size")
	}
	if len(pieces) == 1 {
		u.asset.ObjectKey = pieces[0].ObjectKey
	} else if err := u.join(ctx, pieces, file.CRC32()); err != nil {
		return done, err
	}
	file.describe(&u.asset)
	done, err = u.commit(ctx)
	if u.asset.ProjectID != uuid.Nil && (errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrForbidden)) {
		// The project is gone, or not the user's to change any more. Had all come sooner, the asset would be in their library now.
		u.asset.ProjectID = uuid.Nil
		done, err = u.commit(ctx)
	}
	return done, err
}

// examinePieces reads what came before, or in requests that said what it sums up to.
func (u *upload) examinePieces(ctx context.Context, pieces []store.Piece, declared string) (*examination, error) {
	body := &pieceReader{ctx: ctx, bucket: u.server.bucket, pieces: pieces}
	defer body.close()
	source := bufio.NewReaderSize(body, 64<<10)
	head, err := peek(source)
	if err != nil {
		return nil, err
	}
	file, err := u.examine(head, u.asset.OriginalName, declared)
	if err != nil {
		return nil, err
	}
	defer file.inspection.stop()
	if _, err := source.WriteTo(file); err != nil {
		return nil, err
	}
	return file, file.end()
}

// join makes pieces one object. The service does it itself if it can, and they are long enough for parts.
func (u *upload) join(ctx context.Context, pieces []store.Piece, crc uint32) error {
	var keys []string
	short := false
	for i, p := range pieces {
		keys = append(keys, p.ObjectKey)
		short = short || p.Bytes < objectstore.PartSize && i < len(pieces)-1
	}
	if !short {
		key, err := u.note(ctx)
		if err != nil {
			return err
		}
		u.asset.ObjectKey = key
		err = u.server.bucket.Compose(ctx, key, keys, crc)
		u.keepNote = errors.Is(err, objectstore.ErrUnavailable)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		u.abandon(ctx)
	}
	body := &pieceReader{ctx: ctx, bucket: u.server.bucket, pieces: pieces}
	defer body.close()
	sum := crc32.NewIEEE()
	err := u.put(ctx, io.TeeReader(body, sum))
	if err == nil && sum.Sum32() != crc {
		err = errors.New("the pieces of an upload have changed")
	}
	return err
}

// pieceReader reads pieces one after the other.
type pieceReader struct {
	ctx    context.Context //nolint:containedctx // Read has none
	bucket *objectstore.Bucket
	pieces []store.Piece
	body   io.ReadCloser // of the first of pieces; nil: not open yet
}

func (r *pieceReader) Read(p []byte) (int, error) {
	for len(r.pieces) > 0 {
		if r.body == nil {
			body, err := r.bucket.Get(r.ctx, r.pieces[0].ObjectKey, 0, -1)
			if err != nil {
				return 0, err
			}
			r.body = body
		}
		n, err := r.body.Read(p)
		if err == io.EOF {
			r.close()
			r.pieces, err = r.pieces[1:], nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

func (r *pieceReader) close() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// endUpload forgets an upload and deletes its bytes.
func (s *Server) endUpload(ctx context.Context, u store.Upload) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	pieces, err := s.store.TerminateUpload(ctx, u)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		s.discard(ctx, u.UserID, p.ObjectKey)
	}
	return nil
}
