package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"sync"

	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// pieceSize is how many bytes at most an object has that keeps some of an upload, and with that how many a crash may lose: what the
// bucket stores in one request.
const pieceSize = objectstore.PartSize

// reception takes the bytes of one request that goes on with an upload. They are kept in pieces as they come, each an object of its own,
// so that whatever ends the request early loses nothing that came. Of two requests with the same bytes, one keeps them. The last piece is
// kept by the transaction that makes the asset: until then clients see that something is missing, and send it again.
type reception struct {
	server  *Server
	upload  store.Upload    // Received moves on with what is kept
	read    int64           // how far the file was read
	flying  []<-chan flight // pieces on their way to the bucket
	pending []store.Piece   // stored, and not kept
	sum     *checksum       // nil: none was sent

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
		if isRefusal(err) && !errors.Is(err, errTooMuch) && !errors.Is(err, errBody) {
			s.metrics.upload("", "refused")
			if failed := s.endUpload(r.Context(), c.upload); failed != nil {
				s.log.Warn("a refused upload is left until it expires", "upload", u.ID.String(), "error", failed)
			}
		}
		w.Header().Set("Connection", "close") // the rest of the body is not wanted
		return err
	}
	describeUpload(w.Header(), c.upload)
	w.WriteHeader(status)
	return nil
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
		if err := c.examine(ctx, source); err != nil {
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
func (c *reception) examine(ctx context.Context, source *bufio.Reader) error {
	head, err := peek(source)
	if err != nil || len(head) < sniffLength && int64(len(head)) < c.upload.Size {
		return err // too little to tell
	}
	u, declared, err := c.server.describedBy(ctx, c.upload)
	if err != nil {
		return err
	}
	examined, err := u.examine(head, u.asset.OriginalName, declared)
	if err == nil && c.upload.Size > examined.limit {
		examined.inspection.stop()
		err = fileTooLarge(examined.limit)
	}
	if err == nil {
		c.examined = examined
	}
	return err
}

// flights is how many pieces of an upload are on their way to the bucket at a time.
const flights = 2

// flight is what became of a piece.
type flight struct {
	store.Piece
	err error
}

// storePieces stores what comes, and keeps it but for the last piece. The next piece is read while the one before is on its way.
func (c *reception) storePieces(ctx context.Context, source *bufio.Reader) (err error) {
	defer func() {
		for _, f := range c.flying { // behind a piece that failed
			if lost := <-f; lost.err == nil {
				c.server.discard(ctx, c.upload.UserID, lost.ObjectKey)
			}
		}
	}()
	for c.read < c.upload.Size && !ended(source) {
		if len(c.flying) == flights {
			if err := c.land(ctx); err != nil {
				return err
			}
		}
		c.storePiece(ctx, source)
	}
	for len(c.flying) > 0 {
		if err := c.land(ctx); err != nil {
			return err
		}
	}
	return nil
}

// storePiece reads up to a piece, and leaves it on its way.
func (c *reception) storePiece(ctx context.Context, source io.Reader) {
	body := &piece{Reader: io.LimitReader(source, min(pieceSize, c.upload.Size-c.read)), ended: make(chan struct{})}
	if c.sum != nil {
		body.Reader = io.TeeReader(body.Reader, c.sum)
	}
	if c.examined != nil {
		body.Reader = io.TeeReader(body.Reader, c.examined)
	}
	start, landed := c.read, make(chan flight, 1)
	go func() {
		u := &upload{server: c.server, userID: c.upload.UserID}
		err := u.put(ctx, body)
		if err != nil {
			u.abandon(ctx)
		}
		body.end()
		landed <- flight{store.Piece{Start: start, Bytes: body.bytes, ObjectKey: u.asset.ObjectKey}, err}
	}()
	<-body.ended
	c.read += body.bytes
	c.flying = append(c.flying, landed)
}

// land waits for the piece that has been on its way longest.
func (c *reception) land(ctx context.Context) error {
	f := <-c.flying[0]
	c.flying = c.flying[1:]
	if f.err != nil {
		return f.err
	}
	c.pending = append(c.pending, f.Piece)
	if c.sum != nil || f.Start+f.Bytes == c.upload.Size {
		return nil
	}
	return c.keep(ctx)
}

// piece counts the bytes that are read, and tells when no more are.
type piece struct {
	io.Reader
	bytes int64
	ended chan struct{}
	once  sync.Once
}

func (p *piece) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.bytes += int64(n)
	if err != nil {
		p.end()
	}
	return n, err
}

func (p *piece) end() { p.once.Do(func() { close(p.ended) }) }

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
	u, declared, err := s.describedBy(ctx, c.upload)
	if err != nil {
		return err
	}
	u.asset.Upload = claimed
	done, err := u.assemble(ctx, append(pieces, c.pending...), c.upload.Size, declared, c.examined)
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
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	done.asset, done.duplicate, _, err = u.server.store.CommitUpload(ctx, u.asset)
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
