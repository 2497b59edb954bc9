package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/cors"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// requestInfo is what the parts of one request's way tell each other.
type requestInfo struct {
	id      string
	client  netip.Addr
	userID  uuid.UUID // once authenticated
	problem *problem  // what it was answered with, if not a success
}

type requestInfoKey struct{}

// requestInfoOf returns the request's info; one that has none gets an empty one.
func requestInfoOf(ctx context.Context) *requestInfo {
	if info, ok := ctx.Value(requestInfoKey{}).(*requestInfo); ok {
		return info
	}
	return &requestInfo{}
}

// middleware wraps the routes in what every request needs, outermost first: its info,
// log line and metrics; a net under panics; headers; CORS.
func (s *Server) middleware(routes http.Handler) http.Handler {
	return s.observe(s.recover(secure(allowOrigins(s.config.AllowedOrigins, routes))))
}

// usableRequestID is what is taken over from a client or proxy.
var usableRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe gives the request an id and an address, and logs and counts it when it is done.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		beginHandling(r)
		info := &requestInfo{id: r.Header.Get("X-Request-Id"), client: clientAddress(r, s.config.TrustedProxies, s.log)}
		if !usableRequestID.MatchString(info.id) {
			info.id = uuid.NewString()
		}
		w.Header().Set("X-Request-Id", info.id)
		ctx := store.WithOrigin(r.Context(), store.Origin{IP: info.client, UserAgent: r.UserAgent(), RequestID: info.id})
		r = r.WithContext(context.WithValue(ctx, requestInfoKey{}, info))
		body := &requestBody{ReadCloser: r.Body}
		r.Body = body
		// /api/assets/ and //api//assets are /api/assets; ServeMux would send a redirect.
		if clean := path.Clean(r.URL.Path); clean != r.URL.Path && strings.HasPrefix(clean, "/") {
			r.URL.Path, r.URL.RawPath = clean, ""
		}
		for _, name := range []string{"If-Match", "If-None-Match"} { // lists, which may come in several lines
			if lines := r.Header.Values(name); len(lines) > 1 {
				r.Header.Set(name, strings.Join(lines, ", "))
			}
		}
		setWriteDeadline(w, start.Add(writeTimeout))
		if s.readiness.isDraining() {
			w.Header().Set("Connection", "close") // the next request had better go to another pod
		}

		answer := &answer{ResponseWriter: w}
		func() {
			defer func() { // also when the handler aborts the connection by a panic
				took := time.Since(start)
				s.metrics.request(r.Method, routeOf(r), answer.code(), took)
				s.logRequest(r, info, answer, took)
			}()
			next.ServeHTTP(answer, r)
		}()
		switch {
		case answer.code() < http.StatusBadRequest, body.ended, body.ReadCloser == http.NoBody:
		case !body.begun && strings.EqualFold(r.Header.Get("Expect"), "100-continue"):
			// The client waits to be told to send, and reading would tell it. net/http closes
			// the connection, but listens before whether a little comes all the same.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerPause))
		default:
			linger(answer, body, 4*s.largestFile())
		}
	})
}

// How long a client that was refused may go on sending what it had begun, and how long
// it may pause in it.
const (
	lingerTime  = 30 * time.Second
	lingerPause = 5 * time.Second
)

// linger sends the answer and drops what still comes of the request's body, up to some
// bytes. Many clients read no answer before they have sent everything: if the connection
// were closed on them, they would report that, and not what we say.
func linger(w http.ResponseWriter, body io.Reader, most int64) {
	connection := http.NewResponseController(w)
	end := time.Now().Add(lingerTime)
	for dropped := int64(0); dropped < most && time.Now().Before(end); {
		if connection.SetReadDeadline(time.Now().Add(lingerPause)) != nil || connection.Flush() != nil {
			return
		}
		n, err := io.CopyN(io.Discard, body, progressBytes)
		if err != nil {
			return // the end, as a rule
		}
		dropped += n
	}
}

// routeOf is the pattern that served the request, without its method; ServeMux notes it
// in the request it was given.
func routeOf(r *http.Request) string {
	if _, path, ok := strings.Cut(r.Pattern, " "); ok {
		return path
	}
	return "other"
}

func (s *Server) logRequest(r *http.Request, info *requestInfo, answer *answer, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case r.URL.Path == config.PathHealth || r.URL.Path == config.PathReady:
		level = slog.LevelDebug // readiness.note logs what is news
	case answer.code() >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("requestId", info.id), slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.String("route", routeOf(r)), slog.Int("status", answer.code()), slog.Int64("bytes", answer.bytes),
		slog.Float64("milliseconds", float64(took.Microseconds())/1000), slog.String("client", info.client.String()),
	}
	if info.userID != uuid.Nil {
		attrs = append(attrs, slog.String("user", info.userID.String()))
	}
	if info.problem != nil {
		attrs = append(attrs, slog.String("code", info.problem.code))
		if info.problem.cause != nil {
			attrs = append(attrs, slog.String("error", info.problem.cause.Error()))
		}
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// recover answers a panic with a 500, or cuts the connection if the answer has begun.
func (s *Server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch cause := recover(); cause {
			case nil:
			case http.ErrAbortHandler:
				panic(cause)
			default:
				s.log.Error("panic", "requestId", requestInfoOf(r.Context()).id, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
				if w.(*answer).status != 0 {
					panic(http.ErrAbortHandler)
				}
				writeProblem(w, r, fmt.Errorf("panic: %v", cause))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// secure keeps browsers from guessing what an answer is, from running anything in it, from showing it in pages of others and from
// telling others where somebody comes from; and, once TLS was used, from going without it.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // pages have their own
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if strings.HasPrefix(r.URL.Path, "/api/auth/") { // tokens and keys (RFC 6749, 5.1)
			h.Set("Cache-Control", "no-store")
		}
		next.ServeHTTP(w, r)
	})
}

// allowOrigins lets pages of these origins call the API; none are allowed if there are none.
func allowOrigins(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next // to rs/cors an empty list means all
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
		AllowedHeaders: append([]string{"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Range", "X-Request-Id"}, tusRequestHeaders...),
		ExposedHeaders: append([]string{"Content-Disposition", "Content-Range", "ETag", "Location", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "X-Request-Id"}, tusAnswerHeaders...),
		MaxAge:         600, // seconds
	}).Handler(next)
}

// clientAddress is the peer's address, or, if that is a trusted proxy's, the last one in
// X-Forwarded-For that is not. What stands before a hop that is no address (unknown, _hidden)
// the client may have made up: then it is the last proxy's.
func clientAddress(r *http.Request, trusted []netip.Prefix, log *slog.Logger) netip.Addr {
	address, _ := parseHop(r.RemoteAddr)
	forwarded := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	hops := strings.Split(forwarded, ",")
	for i := len(hops) - 1; i >= 0 && forwarded != "" && contains(trusted, address); i-- {
		hop, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			log.Debug("a proxy does not tell its client's address", "proxy", address.String(), "hop", hops[i])
			break
		}
		address = hop
	}
	return address
}

// parseHop reads an address, to which some proxies add the port, without its zone, which is of the machine that wrote it.
func parseHop(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(text)
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), err == nil
}

func contains(prefixes []netip.Prefix, address netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(address) {
			return true
		}
	}
	return false
}

// answer is a ResponseWriter that remembers what was sent.
type answer struct {
	http.ResponseWriter
	status int // 0: nothing yet
	bytes  int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// code is the status that the client got.
func (a *answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// setWriteDeadline says until when the answer may be written. It fails only on a
// connection that is gone, or in tests on none.
func setWriteDeadline(w http.ResponseWriter, deadline time.Time) {
	_ = http.NewResponseController(w).SetWriteDeadline(deadline)
}

// errBody marks errors of reading a request's body: they are the client's, not ours.
var errBody = errors.New("request body")

// requestBody marks its errors with errBody. Its Close does nothing: net/http's would
// read on before the answer is sent, and linger reads after it.
type requestBody struct {
	io.ReadCloser
	begun bool
	ended bool // or failed
}

func (b *requestBody) Close() error { return nil }

func (b *requestBody) Read(p []byte) (int, error) {
	b.begun = true
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err != nil
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBody, err)
	}
	return n, err
}
