package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/google/uuid"
)

// connection is a client's connection on which what net/http itself refuses, before any
// handler sees it, is answered in our error's shape: an address, a header or a framing
// that is no HTTP. net/http writes plain text then, and has no other place to change it.
type connection struct {
	*net.TCPConn
	log     *slog.Logger
	handled bool // the answer is a handler's; for the goroutine that serves the connection
}

// listener accepts connections.
type listener struct {
	*net.TCPListener
	log *slog.Logger
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &connection{TCPConn: conn, log: l.log}, nil
}

type connectionKey struct{}

// rememberConnection lets beginHandling find the connection of a request.
func rememberConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// beginHandling says that a handler answers from here on, up to endHandling.
func beginHandling(r *http.Request) {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		c.handled = true
	}
}

// endHandling is told of a connection's states: idle means that all of an answer was sent.
func endHandling(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*connection); ok && state == http.StateIdle {
		c.handled = false
	}
}

// Write replaces a refusal of net/http, which it writes in one piece.
func (c *connection) Write(p []byte) (int, error) {
	var status int
	if c.handled || len(p) < 12 {
		return c.TCPConn.Write(p)
	}
	if _, err := fmt.Sscanf(string(p[:12]), "HTTP/1.1 %3d", &status); err != nil || status < http.StatusBadRequest {
		return c.TCPConn.Write(p)
	}
	info := &requestInfo{id: uuid.NewString()}
	refusal := newProblem(status, "VALIDATION_ERROR", fmt.Sprintf("The server cannot read this request (%s): correct its address, headers or framing.", http.StatusText(status)))
	body, err := json.Marshal(refusal.body(context.WithValue(context.Background(), requestInfoKey{}, info), ""))
	if err != nil {
		return 0, err
	}
	c.log.Info("not HTTP", "requestId", info.id, "status", status, "client", c.RemoteAddr().String())
	_, err = fmt.Fprintf(c.TCPConn, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nX-Request-Id: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), info.id, len(body), body)
	return len(p), err
}
