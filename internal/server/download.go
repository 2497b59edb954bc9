package server

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// stallTime is how long a client may take none of the bytes of a download.
const stallTime = time.Minute

// downloadAsset streams an asset's bytes, or the range of them that was asked for, from the bucket.
func (s *Server) downloadAsset(w http.ResponseWriter, r *http.Request, who caller) error {
	return s.serveDownload(w, r, func(ctx context.Context, id uuid.UUID) (store.Asset, error) {
		return s.store.AssetOrTrash(ctx, who.ID, id)
	})
}

// serveDownload streams the bytes of what find returns for the path's id.
func (s *Server) serveDownload(w http.ResponseWriter, r *http.Request, find func(context.Context, uuid.UUID) (store.Asset, error)) error {
	asset, key, err := s.findDownload(r, find)
	if err != nil {
		return err
	}
	etag := `"` + hex.EncodeToString(asset.SHA256[:]) + `"`
	plan := deliver(r, etag, asset.BytesAt, asset.FileSize)
	if answered, err := answerCondition(w, plan, etag, asset); answered || err != nil {
		return err
	}
	if plan.status == http.StatusRequestedRangeNotSatisfiable {
		p := newProblem(plan.status, "RANGE_NOT_SATISFIABLE", fmt.Sprintf("The file has %d bytes: ask for a range within them.", asset.FileSize))
		p.header.Set("Content-Range", fmt.Sprintf("bytes */%d", asset.FileSize))
		return p
	}
	parts := newParts(plan, asset)
	body := io.ReadCloser(http.NoBody)
	if r.Method != http.MethodHead {
		if body, err = parts.open(r.Context(), s.bucket, key); err != nil {
			return err
		}
		defer body.Close()
	}
	h := w.Header()
	describeVersion(h, etag, asset)
	describeContent(h, asset)
	h.Set("Content-Type", parts.contentType)
	h.Set("Content-Length", strconv.FormatInt(parts.length, 10))
	if plan.status == http.StatusPartialContent && len(plan.ranges) == 1 {
		h.Set("Content-Range", plan.ranges[0].contentRange(asset.FileSize))
	}
	w.WriteHeader(plan.status)
	s.send(w, r, body)
	return nil
}

// answerCondition answers a request whose conditions do not want the bytes.
func answerCondition(w http.ResponseWriter, plan delivery, etag string, asset store.Asset) (answered bool, err error) {
	switch plan.status {
	case http.StatusPreconditionFailed:
		return false, newProblem(plan.status, "PRECONDITION_FAILED", "The file is another one than the request's conditions want.")
	case http.StatusNotModified:
		describeVersion(w.Header(), etag, asset)
		w.WriteHeader(plan.status)
		return true, nil
	}
	return false, nil
}

// send sends the body of an answer whose header is written.
func (s *Server) send(w http.ResponseWriter, r *http.Request, body io.Reader) {
	if err := sendBody(w, body); err != nil {
		if r.Context().Err() == nil { // else the client has gone, which players do all the time
			s.log.Warn("a download was cut off", "requestId", requestInfoOf(r.Context()).id, "error", err)
		}
		panic(http.ErrAbortHandler) // the client must not take what it has for the whole
	}
}

// findDownload returns the asset that the path names, and where its bytes are.
func (s *Server) findDownload(r *http.Request, find func(context.Context, uuid.UUID) (store.Asset, error)) (asset store.Asset, key string, err error) {
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return asset, "", err
	}
	ctx, cancel := context.WithTimeout(r.Context(), jsonTimeout)
	defer cancel()
	if asset, err = find(ctx, id); err != nil {
		return asset, "", err
	}
	key, err = s.store.ObjectKey(ctx, asset)
	return asset, key, err
}

// describeVersion sets what lets a client keep the bytes and ask each time whether they
// may still be shown.
func describeVersion(h http.Header, etag string, asset store.Asset) {
	h.Set("ETag", etag)
	h.Set("Last-Modified", asset.BytesAt.Format(http.TimeFormat))
	h.Set("Cache-Control", "private, no-cache")
}

// describeContent sets what tells a browser what the bytes are and what may be done with them.
func describeContent(h http.Header, asset store.Asset) {
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", asset.MIMEType)
	h.Set("Content-Disposition", contentDisposition(asset))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
}

// contentDisposition shows what is safe in the browser and saves all else, under the
// name it was uploaded with: in ASCII (RFC 6266) for the oldest clients, then in UTF-8 (RFC 8187).
func contentDisposition(asset store.Asset) string {
	disposition := "attachment"
	if slices.ContainsFunc(fileFormats, func(f fileFormat) bool { return f.mimeType == asset.MIMEType }) {
		disposition = "inline"
	}
	ascii := strings.Map(func(r rune) rune {
		if r > '~' || r < ' ' || strings.ContainsRune(`"\%`, r) {
			return '_'
		}
		return r
	}, asset.OriginalName)
	encoded := strings.NewReplacer("+", "%20", "*", "%2A", "'", "%27", "(", "%28", ")", "%29", "!", "%21").Replace(url.QueryEscape(asset.OriginalName))
	return fmt.Sprintf(`%s; filename="%s"; filename*=UTF-8''%s`, disposition, ascii, encoded)
}

// chunk is how much of a download is read at a time, bytes. Larger ones are faster by a few per cent, and each download holds two.
const chunk = 128 << 10

var chunkPairs = sync.Pool{New: func() any { return new([2][chunk]byte) }}

// sendBody copies body to the client as long as it takes some of it now and then. It
// stays one chunk behind: at the end of body its checksum is verified, and if that
// fails, the client must not have got all that it was promised.
func sendBody(w http.ResponseWriter, body io.Reader) error {
	chunks := chunkPairs.Get().(*[2][chunk]byte)
	defer chunkPairs.Put(chunks)
	connection := http.NewResponseController(w)
	send := func(part []byte) error {
		if err := connection.SetWriteDeadline(time.Now().Add(stallTime)); err != nil {
			return err
		}
		_, err := w.Write(part)
		return err
	}
	held, next := chunks[0][:0], chunks[1][:]
	for {
		n, end := body.Read(next)
		if end != nil && end != io.EOF {
			return end
		}
		if err := send(held); err != nil {
			return err
		}
		held, next = next[:n], held[:chunk]
		if end == io.EOF {
			return send(held)
		}
	}
}
