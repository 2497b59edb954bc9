package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// View answers a Bucket like a service that has one bucket, in which nothing can be changed. It knows the requests that a Bucket makes, and
// whom it answers by the access key alone: it is for this machine.
type View struct {
	Name      string // of the bucket
	AccessKey string
	Owner     string // id of the platform whose the bucket is
	// Open opens an object from an offset on, whose whole size it tells. ErrNotFound.
	Open func(ctx context.Context, key string, offset int64) (body io.ReadCloser, size int64, err error)
}

// ServeHTTP answers one request.
func (v *View) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Authorization"), "Credential="+v.AccessKey+"/") {
		answerError(w, http.StatusForbidden, "AccessDenied")
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case bucket != v.Name:
		answerError(w, http.StatusNotFound, "NoSuchBucket")
	case key == "" && r.Method == http.MethodHead:
	case key == ownerObject && reads:
		_, _ = io.WriteString(w, v.Owner) // an error means that who asks has gone
	case key == probe && !reads: // it is not there, and may be written and deleted all the same
		_, _ = io.Copy(io.Discard, r.Body)
	case key != "" && reads:
		v.object(w, r, key)
	default:
		answerError(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
}

func answerError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

func (v *View) object(w http.ResponseWriter, r *http.Request, key string) {
	first, last, ranged := parseRange(r.Header.Get("Range"))
	body, size, err := v.Open(r.Context(), key, first)
	switch {
	case errors.Is(err, ErrNotFound):
		answerError(w, http.StatusNotFound, "NoSuchKey")
		return
	case err != nil:
		answerError(w, http.StatusInternalServerError, "InternalError")
		return
	}
	defer body.Close()
	if last < 0 || last >= size {
		last = size - 1
	}
	length, status := last-first+1, http.StatusOK
	if ranged {
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
	}
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	from := io.Reader(body)
	if last < size-1 {
		from = io.LimitReader(body, length) // who reads to the end hears whether all of it was right
	}
	if n, err := io.Copy(w, from); err != nil || n != length {
		panic(http.ErrAbortHandler) // who asks must not take it for the whole
	}
}

// parseRange reads a Range as a Bucket writes it; last is negative where it goes up to the end.
func parseRange(header string) (first, last int64, ok bool) {
	text, ok := strings.CutPrefix(header, "bytes=")
	from, to, _ := strings.Cut(text, "-")
	first, err := strconv.ParseInt(from, 10, 64)
	if !ok || err != nil {
		return 0, -1, false
	}
	if last, err = strconv.ParseInt(to, 10, 64); err != nil {
		last = -1
	}
	return first, last, true
}
