package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	api := routeList{s, mux, humago.New(mux, humaConfig())}

	// probes: the kubelet, the operator, load balancers
	mux.HandleFunc("GET "+config.PathHealth, s.health)
	mux.HandleFunc("GET "+config.PathReady, s.ready)

	// auth.go
	public(api, "POST /api/auth/register", "Make an account and log in", http.StatusCreated, s.register, http.StatusConflict)
	public(api, "POST /api/auth/login", "Log in by email or user name", http.StatusOK, s.login, http.StatusUnauthorized, http.StatusForbidden)
	public(api, "POST /api/auth/refresh", "Exchange a refresh token for new tokens", http.StatusOK, s.refresh, http.StatusUnauthorized, http.StatusConflict)
	public(api, "POST /api/auth/logout", "End the session", http.StatusNoContent, s.logout, http.StatusUnauthorized, http.StatusForbidden)

	// profile.go, api_keys.go
	private(api, "GET /api/auth/profile", "The caller's account, with counts", http.StatusOK, reads, s.profile)
	private(api, "PATCH /api/auth/profile", "Change the caller's names", http.StatusOK, ownsSession, s.updateProfile)
	private(api, "POST /api/auth/password", "Change the password and end the other sessions", http.StatusNoContent, ownsSession, s.changePassword)
	private(api, "GET /api/auth/keys", "List the caller's API keys", http.StatusOK, ownsSession, s.listAPIKeys)
	private(api, "POST /api/auth/keys", "Make an API key", http.StatusCreated, ownsSession, s.createAPIKey)
	private(api, "DELETE /api/auth/keys/{id}", "Revoke an API key", http.StatusNoContent, ownsSession, s.deleteAPIKey)

	// assets.go; upload.go, download.go and thumbnail.go stream
	stream(api, "POST /api/assets/upload", "Upload a file", uploadDocs(assetFields), writes, s.uploadAsset)
	private(api, "GET /api/assets", "List assets", http.StatusOK, reads, s.listAssets)
	private(api, "GET /api/assets/search", "Search for assets", http.StatusOK, reads, s.searchAssets)
	private(api, "GET /api/assets/{id}", "One asset", http.StatusOK, reads, s.getAsset)
	stream(api, "GET /api/assets/{id}/download", "The asset's bytes", downloadDocs, reads, s.downloadAsset)
	stream(api, "GET /api/assets/{id}/thumbnail", "A small picture of an image", thumbnailDocs, reads, s.thumbnail)
	private(api, "POST /api/assets/{id}/restore", "Take an asset out of the trash", http.StatusOK, writes, s.restoreAsset)
	private(api, "PUT /api/assets/{id}", "Change what is said about an asset", http.StatusOK, writes, s.updateAsset)
	private(api, "PATCH /api/assets/{id}", "Change what is said about an asset", http.StatusOK, writes, s.updateAsset)
	private(api, "DELETE /api/assets/{id}", "Put an asset into the trash, or delete it for good", http.StatusNoContent, writes, s.deleteAsset)

	// versions.go, bulk.go, pickers.go
	private(api, "GET /api/assets/{id}/versions", "List an asset's versions", http.StatusOK, reads, s.listVersions)
	stream(api, "POST /api/assets/{id}/versions", "Upload the next version of an asset", uploadDocs(), writes, s.addVersion)
	stream(api, "GET /api/assets/{id}/versions/{version}/download", "The bytes of a version", downloadDocs, reads, s.downloadVersion)
	private(api, "POST /api/assets/bulk", "Make one change of many assets", http.StatusOK, writes, s.bulkEdit)
	private(api, "GET /api/assets/tags", "The tags in use, with counts", http.StatusOK, reads, picker(s.store.TagCounts))
	private(api, "GET /api/assets/categories", "The categories in use, with counts", http.StatusOK, reads, picker(s.store.CategoryCounts))

	// tus.go: uploads in several requests
	mux.HandleFunc("OPTIONS /api/uploads", s.tusOptions)
	mux.HandleFunc("OPTIONS /api/uploads/{id}", s.tusOptions)
	tus(api, "POST /api/uploads", "Begin an upload in several requests (tus 1.0)", http.StatusCreated, s.createUpload)
	tus(api, "HEAD /api/uploads/{id}", "How far an upload is", http.StatusOK, s.headUpload)
	tus(api, "PATCH /api/uploads/{id}", "Go on with an upload", http.StatusNoContent, s.patchUpload)
	tus(api, "POST /api/uploads/{id}", "PATCH or DELETE, by X-HTTP-Method-Override", http.StatusNoContent, s.overrideUpload)
	tus(api, "DELETE /api/uploads/{id}", "End an upload; its asset stays", http.StatusNoContent, s.terminateUpload)
	private(api, "GET /api/uploads/{id}", "How far an upload is, in words", http.StatusOK, reads, s.getUpload)

	// projects.go, project_members.go
	private(api, "POST /api/projects", "Make a project", http.StatusCreated, writes, s.createProject)
	private(api, "GET /api/projects", "List projects", http.StatusOK, reads, s.listProjects)
	private(api, "GET /api/projects/{id}", "One project", http.StatusOK, reads, s.getProject)
	private(api, "PUT /api/projects/{id}", "Change a project", http.StatusOK, writes, s.updateProject)
	private(api, "PATCH /api/projects/{id}", "Change a project", http.StatusOK, writes, s.updateProject)
	private(api, "DELETE /api/projects/{id}", "Delete a project; its assets stay", http.StatusNoContent, writes, s.deleteProject)
	private(api, "POST /api/projects/{id}/duplicate", "Copy a project with the caller's assets in it", http.StatusCreated, writes, s.duplicateProject)
	private(api, "GET /api/projects/{id}/assets", "List the assets in a project", http.StatusOK, reads, s.listProjectAssets)
	private(api, "POST /api/projects/{id}/assets", "Put assets into a project", http.StatusCreated, writes, s.addToProject)
	private(api, "DELETE /api/projects/{id}/assets/{assetId}", "Take an asset out of a project", http.StatusNoContent, writes, s.removeFromProject)
	private(api, "GET /api/projects/{id}/members", "List a project's members", http.StatusOK, reads, s.listMembers)
	private(api, "POST /api/projects/{id}/members", "Make a user a member", http.StatusCreated, writes, s.addMember)
	private(api, "PATCH /api/projects/{id}/members/{userId}", "Give a member another role", http.StatusNoContent, writes, s.setRole)
	private(api, "DELETE /api/projects/{id}/members/{userId}", "End a membership", http.StatusNoContent, writes, s.removeMember)

	// audit.go, administration.go
	private(api, "GET /api/audit", "List audit events", http.StatusOK, reads, s.listAudit)
	private(api, "GET /api/admin/users", "List all accounts", http.StatusOK, administers, s.listUsers)
	private(api, "PATCH /api/admin/users/{id}", "Change an account", http.StatusOK, administers, s.administerUser)

	describeAnswers(api.huma.OpenAPI())

	// openapi.go; what tells of the API needs no login
	mux.HandleFunc("GET /api/openapi.json", s.openAPI(api.huma))
	mux.HandleFunc("GET /api/docs", s.docs(api.huma))

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

// routeList is where routes are registered.
type routeList struct {
	server *Server
	mux    *http.ServeMux
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
func public[In, Out any](api routeList, pattern, summary string, status int, handle func(context.Context, *In) (*Out, error), refusals ...int) {
	op := operation(pattern, summary, status)
	op.Errors = append(refusals, http.StatusBadRequest, http.StatusTooManyRequests, http.StatusServiceUnavailable)
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
func private[In, Out any](api routeList, pattern, summary string, status int, needed right, handle func(context.Context, caller, *In) (*Out, error)) {
	op := operation(pattern, summary, status)
	op.Errors, op.Security = privateErrors, bearerToken
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
func stream(api routeList, pattern, summary string, docs func(*huma.Operation, huma.Registry), needed right, handle func(http.ResponseWriter, *http.Request, caller) error) {
	s := api.server
	op := operation(pattern, summary, http.StatusOK)
	op.Security = bearerToken
	docs(&op, api.huma.OpenAPI().Components.Schemas)
	documentErrors(api.huma, &op)
	api.huma.OpenAPI().AddOperation(&op)
	api.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
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

func operation(pattern, summary string, status int) huma.Operation {
	method, path, _ := strings.Cut(pattern, " ")
	return huma.Operation{
		Summary: summary, Tags: []string{strings.Split(path, "/")[2]},
		OperationID: strings.ToLower(method) + strings.NewReplacer("/api/", "-", "/", "-", "{", "", "}", "").Replace(path),
		Method:      method, Path: path, DefaultStatus: status, MaxBodyBytes: maxJSONBody, BodyReadTimeout: jsonBodyTimeout,
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
