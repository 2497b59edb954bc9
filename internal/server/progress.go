package server

import (
	"io"
	"net/http"
	"time"
)

const (
	// A client may be as slow as this, whatever the size of its upload: so many bytes in
	// such a time.
	progressBytes = 16 << 10
	progressTime  = 30 * time.Second
)

// progressBody lets a request's body come slowly, but not stop. Only the time for which it
// waits for the client counts: what the bucket or the database takes is not the client's.
type progressBody struct {
	io.ReadCloser
	connection *http.ResponseController
	pace       time.Duration // for progressBytes
	left       time.Duration // of it
	since      int           // bytes read since left was pace
}

// paced is the request's body, whose client has to make progress.
func (s *Server) paced(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	return &progressBody{ReadCloser: r.Body, connection: http.NewResponseController(w), pace: s.progressTime, left: s.progressTime}
}

func (b *progressBody) Read(p []byte) (int, error) {
	start := time.Now()
	if err := b.connection.SetReadDeadline(start.Add(b.left)); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= time.Since(start)
	if b.since += n; b.since >= progressBytes {
		b.left, b.since = b.pace, 0
	}
	// In HTTP/2 a deadline ends the body also while nobody reads it; and at its end net/http begins to listen for the client's going away,
	// and would take a deadline for that.
	_ = b.connection.SetReadDeadline(time.Time{})
	return n, err
}
