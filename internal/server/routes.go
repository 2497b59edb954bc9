package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
)

// routes is the whole API. Later areas (projects, prompts, generation, exports, audit)
// each add their block here.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	api := jsonAPI{s, humago.New(mux, humaConfig())}

	// probes: the kubelet, the operator, load balancers
	mux.HandleFunc("GET "+config.PathHealth, s.health)
	mux.HandleFunc("GET "+config.PathReady, s.ready)

	// auth.go
	public(api, "POST /api/auth/register", http.StatusCreated, s.register)
	public(api, "POST /api/auth/login", http.StatusOK, s.login)
	public(api, "POST /api/auth/refresh", http.StatusOK, s.refresh)
	public(api, "POST /api/auth/logout", http.StatusNoContent, s.logout)

	// profile.go, api_keys.go
	private(api, "GET /api/auth/profile", http.StatusOK, reads, s.profile)
	private(api, "PATCH /api/auth/profile", http.StatusOK, ownsSession, s.updateProfile)
	private(api, "POST /api/auth/password", http.StatusNoContent, ownsSession, s.changePassword)
	private(api, "GET /api/auth/keys", http.StatusOK, ownsSession, s.listAPIKeys)
	private(api, "POST /api/auth/keys", http.StatusCreated, ownsSession, s.createAPIKey)
	private(api, "DELETE /api/auth/keys/{id}", http.StatusNoContent, ownsSession, s.deleteAPIKey)

	// assets.go; upload.go and download.go stream
	stream(mux, s, "POST /api/assets/upload", writes, s.uploadAsset)
	private(api, "GET /api/assets", http.StatusOK, reads, s.listAssets)
	private(api, "GET /api/assets/search", http.StatusOK, reads, s.searchAssets)
	private(api, "GET /api/assets/{id}", http.StatusOK, reads, s.getAsset)
	stream(mux, s, "GET /api/assets/{id}/download", reads, s.downloadAsset)
	private(api, "POST /api/assets/{id}/restore", http.StatusOK, writes, s.restoreAsset)
	private(api, "PUT /api/assets/{id}", http.StatusOK, writes, s.updateAsset)
	private(api, "PATCH /api/assets/{id}", http.StatusOK, writes, s.updateAsset)
	private(api, "DELETE /api/assets/{id}", http.StatusNoContent, writes, s.deleteAsset)

	// versions.go, bulk.go, pickers.go
	private(api, "GET /api/assets/{id}/versions", http.StatusOK, reads, s.listVersions)
	stream(mux, s, "POST /api/assets/{id}/versions", writes, s.addVersion)
	stream(mux, s, "GET /api/assets/{id}/versions/{version}/download", reads, s.downloadVersion)
	private(api, "POST /api/assets/bulk", http.StatusOK, writes, s.bulkEdit)
	private(api, "GET /api/assets/tags", http.StatusOK, reads, picker(s.store.TagCounts))
	private(api, "GET /api/assets/categories", http.StatusOK, reads, picker(s.store.CategoryCounts))

	// projects.go, project_members.go
	private(api, "POST /api/projects", http.StatusCreated, writes, s.createProject)
	private(api, "GET /api/projects", http.StatusOK, reads, s.listProjects)
	private(api, "GET /api/projects/{id}", http.StatusOK, reads, s.getProject)
	private(api, "PUT /api/projects/{id}", http.StatusOK, writes, s.updateProject)
	private(api, "PATCH /api/projects/{id}", http.StatusOK, writes, s.updateProject)
	private(api, "DELETE /api/projects/{id}", http.StatusNoContent, writes, s.deleteProject)
	private(api, "POST /api/projects/{id}/duplicate", http.StatusCreated, writes, s.duplicateProject)
	private(api, "GET /api/projects/{id}/assets", http.StatusOK, reads, s.listProjectAssets)
	private(api, "POST /api/projects/{id}/assets", http.StatusCreated, writes, s.addToProject)
	private(api, "DELETE /api/projects/{id}/assets/{assetId}", http.StatusNoContent, writes, s.removeFromProject)
	private(api, "GET /api/projects/{id}/members", http.StatusOK, reads, s.listMembers)
	private(api, "POST /api/projects/{id}/members", http.StatusCreated, writes, s.addMember)
	private(api, "PATCH /api/projects/{id}/members/{userId}", http.StatusNoContent, writes, s.setRole)
	private(api, "DELETE /api/projects/{id}/members/{userId}", http.StatusNoContent, writes, s.removeMember)

	// audit.go, administration.go
	private(api, "GET /api/audit", http.StatusOK, reads, s.listAudit)
	private(api, "GET /api/admin/users", http.StatusOK, administers, s.listUsers)
	private(api, "PATCH /api/admin/users/{id}", http.StatusOK, administers, s.administerUser)

	// What no route serves. The upload's path is no asset's, for the routes of {id} would take it.
	unserved := []string{"/", "GET /api/assets/upload", "PUT /api/assets/upload", "PATCH /api/assets/upload", "DELETE /api/assets/upload"}
	nowhere := noRoute(mux, unserved)
	for _, pattern := range unserved {
		mux.HandleFunc(pattern, nowhere)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/") { // CONNECT, or *: ServeMux answers in its own way
			nowhere(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// jsonTimeout bounds the work of a JSON route.
const jsonTimeout = 15 * time.Second

// The body of a JSON route has so many bytes at most, and comes within such a time.
const (
	maxJSONBody     = 64 << 10
	jsonBodyTimeout = 5 * time.Second
)

// jsonAPI is where JSON routes are registered.
type jsonAPI struct {
	server *Server
	huma   huma.API
}

// data is the envelope of an answer that is one object.
type data[T any] struct {
	Body struct {
		Data T `json:"data"`
	}
}

func dataOf[T any](object T) *data[T] {
	var d data[T]
	d.Body.Data = object
	return &d
}

// none is the answer without a body, and the request without parameters.
type none struct{}

// public registers a JSON route that needs no login. In is decoded and checked by its
// tags, Out is encoded; an error becomes the answer that the table in errors.go says.
func public[In, Out any](api jsonAPI, pattern string, status int, handle func(context.Context, *In) (*Out, error)) {
	op := operation(pattern, status)
	op.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		limiter := api.server.limiter
		if err := limiter.admit(r.Context(), w.Header(), limiter.general(uuid.Nil, requestInfoOf(r.Context()).client)); err != nil {
			writeProblem(w, r, err)
			return
		}
		next(ctx)
	}}
	huma.Register(api.huma, op, func(ctx context.Context, in *In) (*Out, error) {
		ctx, cancel := context.WithTimeout(ctx, jsonTimeout)
		defer cancel()
		return handle(ctx, in)
	})
}

type callerKey struct{}

// private is public for routes of callers who have a right; who they are is known before the request is decoded.
func private[In, Out any](api jsonAPI, pattern string, status int, needed right, handle func(context.Context, caller, *In) (*Out, error)) {
	op := operation(pattern, status)
	op.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		who, err := api.server.enter(r, needed)
		if err == nil {
			err = api.server.limiter.admit(r.Context(), w.Header(), api.server.limiter.general(who.ID, netip.Addr{}))
		}
		if err != nil {
			writeProblem(w, r, err)
			return
		}
		next(huma.WithValue(ctx, callerKey{}, who))
	}}
	huma.Register(api.huma, op, func(ctx context.Context, in *In) (*Out, error) {
		ctx, cancel := context.WithTimeout(ctx, jsonTimeout)
		defer cancel()
		return handle(ctx, ctx.Value(callerKey{}).(caller), in)
	})
}

// stream registers a route that moves bytes, of callers who have a right: it gets the
// connection itself, and keeps deadlines and limits of its own. An error it returns is answered
// as on JSON routes; it returns none once it has begun its answer.
func stream(mux *http.ServeMux, s *Server, pattern string, needed right, handle func(http.ResponseWriter, *http.Request, caller) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		who, err := s.enter(r, needed)
		if err == nil {
			setWriteDeadline(w, time.Time{})
			err = handle(w, r, who)
		}
		if err != nil {
			setWriteDeadline(w, time.Now().Add(writeTimeout))
			writeProblem(w, r, err)
		}
	})
}

func operation(pattern string, status int) huma.Operation {
	method, path, _ := strings.Cut(pattern, " ")
	return huma.Operation{
		OperationID: strings.ToLower(method) + strings.NewReplacer("/api/", "-", "/", "-", "{", "", "}", "").Replace(path),
		Method:      method, Path: path, DefaultStatus: status, MaxBodyBytes: maxJSONBody, BodyReadTimeout: jsonBodyTimeout,
	}
}

// humaConfig is plain JSON, without huma's documentation routes, links and $schema fields.
func humaConfig() huma.Config {
	format := huma.Format{
		Marshal: func(w io.Writer, v any) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			return e.Encode(v)
		},
		Unmarshal: unmarshal,
	}
	return huma.Config{
		OpenAPI:       &huma.OpenAPI{Info: &huma.Info{Title: "AssetPlatform", Version: "1"}},
		Formats:       map[string]huma.Format{"application/json": format},
		DefaultFormat: "application/json",
	}
}

// unmarshal is json.Unmarshal, but refuses what that one replaces by U+FFFD in silence:
// bytes that are not UTF-8, and escaped surrogates that are no pairs (RFC 8259, 8.2).
func unmarshal(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return jsonError(body, err)
	}
	valid := utf8.Valid(body)
	for i := 0; valid && i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // behind the backslash: json.Unmarshal has checked that it is there, and four digits behind a u
		if first := escapedRune(body[i:]); utf16.IsSurrogate(first) {
			valid = body[i+5] == '\\' && utf16.DecodeRune(first, escapedRune(body[i+6:])) != utf8.RuneError
			i += 10
		}
	}
	if !valid {
		return errors.New("holds text that is not Unicode: bytes that are not UTF-8, or one half of a surrogate pair")
	}
	return nil
}

// jsonError says in our words why a body cannot be decoded.
func jsonError(body []byte, err error) error {
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	switch {
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		return errors.New("begins with a byte order mark: send UTF-8 without one")
	case errors.As(err, &syntax) && syntax.Offset >= int64(len(body)):
		return errors.New("ends before the JSON in it does")
	case errors.As(err, &syntax):
		return fmt.Errorf("is not JSON: byte %d does not belong there", syntax.Offset)
	case errors.As(err, &kind) && strings.HasPrefix(kind.Value, "number"):
		return fmt.Errorf("holds a %s that is too large, before byte %d", kind.Value, kind.Offset+1)
	}
	return errors.New("is not the JSON that this request takes")
}

// escapedRune reads u and four hexadecimal digits; it is 0 if something else is there.
func escapedRune(text []byte) rune {
	if text[0] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[1:5]), 16, 32)
	return rune(n)
}

// noRoute answers what no route serves, and is registered for these patterns: 405 if the
// path has other methods, else 404.
func noRoute(mux *http.ServeMux, unserved []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
			if _, pattern := mux.Handler(other); !slices.Contains(unserved, pattern) {
				allowed = append(allowed, method)
			}
		}
		r.Pattern = "" // the metrics count it under "other"
		if len(allowed) == 0 {
			writeProblem(w, r, newProblem(http.StatusNotFound, "NOT_FOUND", "There is nothing at this address."))
			return
		}
		p := newProblem(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "Use one of: "+strings.Join(allowed, ", ")+".")
		p.header.Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, r, p)
	}
}
