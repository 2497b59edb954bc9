package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// problem is an answer that is not a success. Handlers return one, or any other error:
// problemOf finds its place in the table.
type problem struct {
	status  int
	code    string
	message string   // for the client: what to do
	details []detail // which fields
	header  http.Header
	cause   error // for the log only
}

// detail is what is wrong with one field of a request.
type detail struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Unwrap lets errors.Is see the cause.
func (p *problem) Unwrap() error { return p.cause }

func (p *problem) Error() string {
	if p.cause != nil {
		return p.code + ": " + p.cause.Error()
	}
	return p.code + ": " + p.message
}

// The table: what each error of the packages below means to a client.
var problems = []struct {
	err     error
	status  int
	code    string
	message string
}{
	{store.ErrNotFound, http.StatusNotFound, "NOT_FOUND", "There is nothing of yours at this address."},
	{store.ErrEmailTaken, http.StatusConflict, "CONFLICT", "This email has an account already: log in, or use another one."},
	{store.ErrUsernameTaken, http.StatusConflict, "CONFLICT", "This user name is taken: choose another one."},
	{store.ErrTooManyTags, http.StatusBadRequest, "VALIDATION_ERROR", fmt.Sprintf("An asset has at most %d tags.", store.MaxTags)},
	{store.ErrOtherKind, http.StatusBadRequest, "INVALID_FILE_TYPE", "A version is of the same kind as its asset: send a picture for a picture, and a sound for a sound."},
	{store.ErrKeyReused, http.StatusConflict, "CONFLICT", "This Idempotency-Key was used for another request: use a new one for each."},
	{store.ErrForbidden, http.StatusForbidden, "FORBIDDEN", "Your role in the project does not allow this: ask its owner."},
	{store.ErrDisabled, http.StatusForbidden, "FORBIDDEN", "This account is disabled: ask an administrator."},
	{store.ErrInProject, http.StatusConflict, "CONFLICT", "One of these assets is in the project already: nothing was changed."},
	{store.ErrIsMember, http.StatusConflict, "CONFLICT", "This user is a member already: change the role instead."},
	{store.ErrOwner, http.StatusConflict, "CONFLICT", "A project needs an owner: give another member that role first, or delete the project."},
	{store.ErrTooManyKeys, http.StatusConflict, "CONFLICT", "You have as many API keys as one may have: delete some."},
	{store.ErrLastAdmin, http.StatusConflict, "CONFLICT", "This is the last administrator: make another one first."},
	{store.ErrConflict, http.StatusConflict, "CONFLICT", "Another request is changing the same thing: look at its result before you try again."},
	{store.ErrChanged, http.StatusPreconditionFailed, "PRECONDITION_FAILED", "It is not as the request's If-Match wants it: get it again, and then decide."},
	{store.ErrTokenRefused, http.StatusUnauthorized, "UNAUTHORIZED", "This refresh token is not valid (any more): log in again."},
	{store.ErrTooManyPieces, http.StatusRequestEntityTooLarge, "FILE_TOO_LARGE", "The upload came in too many small pieces: begin it anew, with larger ones."},
	{store.ErrUploadExpired, http.StatusServiceUnavailable, "STORAGE_UNAVAILABLE", "The upload took too long: try again."},
	{store.ErrUnavailable, http.StatusServiceUnavailable, "DATABASE_UNAVAILABLE", "The service cannot reach its database: try again in a moment."},
	{objectstore.ErrBusy, http.StatusServiceUnavailable, "STORAGE_UNAVAILABLE", "Too many uploads are under way: try again in a moment."},
	{objectstore.ErrForeign, http.StatusServiceUnavailable, "STORAGE_UNAVAILABLE", "The service's file storage is set up for another installation: tell the people who run the service."},
	{objectstore.ErrNotFound, http.StatusServiceUnavailable, "STORAGE_UNAVAILABLE", "The file is missing in the service's file storage: tell the people who run the service, and give them the request id."},
	{objectstore.ErrUnavailable, http.StatusServiceUnavailable, "STORAGE_UNAVAILABLE", "The service cannot reach its file storage: try again in a moment."},
	{os.ErrDeadlineExceeded, http.StatusRequestTimeout, "REQUEST_TIMEOUT", "The request's body came too slowly: try again."},
	{errBody, http.StatusBadRequest, "VALIDATION_ERROR", "The request's body ended early or is malformed: send it again in full."},
	{errHashingBusy, http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "Too many people are logging in at this moment: try again in a moment."},
	{context.Canceled, statusClientGone, "REQUEST_CANCELLED", "The client did not wait for the answer."},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "DATABASE_UNAVAILABLE", "The service took too long to answer: try again in a moment."},
}

// statusClientGone is what the log and the metrics say of clients that did not wait.
const statusClientGone = 499

// retrySoon is what answers advise that a moment's wait may mend.
const retrySoon = 5 * time.Second

// problemOf finds what err means to a client; an unknown error is a 500 without its text.
func problemOf(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return newProblem(http.StatusRequestEntityTooLarge, "FILE_TOO_LARGE", fmt.Sprintf("The request is larger than %d bytes.", tooLarge.Limit))
	}
	for _, row := range problems {
		if errors.Is(err, row.err) {
			p := newProblem(row.status, row.code, row.message)
			p.cause = err
			if row.status == http.StatusServiceUnavailable || row.status == http.StatusTooManyRequests {
				p.header.Set("Retry-After", seconds(retrySoon))
			}
			return p
		}
	}
	p = newProblem(http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "Something went wrong here: try again, and report the request id if it stays so.")
	p.cause = err
	return p
}

func newProblem(status int, code, message string) *problem {
	p := &problem{status: status, code: code, message: message, header: http.Header{}}
	if status == http.StatusUnauthorized {
		p.header.Set("WWW-Authenticate", "Bearer")
	}
	return p
}

// invalid is a 400 about one field.
func invalid(field, message string) *problem {
	p := newProblem(http.StatusBadRequest, "VALIDATION_ERROR", "Correct the fields named in details.")
	p.details = []detail{{field, message}}
	return p
}

// allOf is what is wrong with several fields, told at once; nil if nothing is. An error that is about no field comes before.
func allOf(errs ...error) error {
	var all *problem
	for _, err := range errs {
		var p *problem
		switch {
		case err == nil:
		case !errors.As(err, &p) || p.code != "VALIDATION_ERROR":
			return err
		case all == nil:
			all = p
		default:
			all.details = append(all.details, p.details...)
		}
	}
	if all == nil {
		return nil
	}
	return all
}

// seconds formats a duration as whole seconds, rounded up, at least one.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// errorBody is the body of every answer that is not a success.
type errorBody struct {
	Info      errorInfo `json:"error"`
	Timestamp time.Time `json:"timestamp"`
	Path      string    `json:"path"`
	RequestID string    `json:"requestId"`

	status int
}

type errorInfo struct {
	Code    string   `json:"code" doc:"For programs; there may be more: CHECKSUM_MISMATCH, CONFLICT, DATABASE_UNAVAILABLE, FILE_TOO_LARGE, FORBIDDEN, INTERNAL_SERVER_ERROR, INVALID_CREDENTIALS, INVALID_FILE_TYPE, METHOD_NOT_ALLOWED, NOT_FOUND, PRECONDITION_FAILED, RANGE_NOT_SATISFIABLE, RATE_LIMIT_EXCEEDED, REQUEST_TIMEOUT, STORAGE_UNAVAILABLE, TOKEN_EXPIRED, UNAUTHORIZED, UNSUPPORTED_MEDIA_TYPE, VALIDATION_ERROR."`
	Message string   `json:"message" doc:"For people: what to do."`
	Details []detail `json:"details,omitempty"`
}

// Error and GetStatus make errorBody the error that huma writes.
func (b *errorBody) Error() string  { return b.Info.Message }
func (b *errorBody) GetStatus() int { return b.status }

// body notes the problem for the request's log line and makes its answer.
func (p *problem) body(ctx context.Context, path string) *errorBody {
	info := requestInfoOf(ctx)
	info.problem = p
	return &errorBody{
		Info:      errorInfo{p.code, p.message, p.details},
		Timestamp: time.Now().UTC(), Path: path, RequestID: info.id, status: p.status,
	}
}

// writeProblem answers a request with what err means to its client.
func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	for name, values := range p.header {
		w.Header()[name] = values
	}
	writeJSON(w, p.status, p.body(r.Context(), r.URL.Path))
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
}

// init gives huma our error shape: it has no other place for it than its package variables.
func init() {
	huma.ValidateStrictCasing = true // "Email" is an unknown field
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return &errorBody{status: status}
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		p := problemOfHuma(status, message, errs)
		for name, values := range p.header {
			ctx.SetHeader(name, values[0])
		}
		return p.body(ctx.Context(), ctx.URL().Path)
	}
}

// problemOfHuma translates what huma reports: its own findings about the request, and
// as a 500 whatever a handler returned.
func problemOfHuma(status int, message string, errs []error) *problem {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		p := newProblem(http.StatusBadRequest, "VALIDATION_ERROR", "Correct the fields named in details.")
		for _, err := range errs {
			p.details = append(p.details, detailOf(err))
		}
		if len(errs) == 0 {
			p.details = []detail{{"body", message}}
		}
		return p
	case http.StatusUnsupportedMediaType:
		return newProblem(status, "UNSUPPORTED_MEDIA_TYPE", "Send the body as application/json.")
	case http.StatusRequestEntityTooLarge:
		return newProblem(status, "FILE_TOO_LARGE", "The request's body is too large.")
	case http.StatusRequestTimeout:
		return problemOf(os.ErrDeadlineExceeded)
	}
	return problemOf(errors.Join(errs...))
}

// detailOf names the field as the client does: without huma's "body." or "query.". The
// value that huma adds is dropped, for it may be a password.
func detailOf(err error) detail {
	var found huma.ErrorDetailer
	if !errors.As(err, &found) {
		return detail{"body", "is malformed"}
	}
	d := found.ErrorDetail()
	location, field, _ := strings.Cut(d.Location, ".")
	if field == "" {
		field = location
	}
	// A missing property is reported at the object that lacks it.
	if _, err := fmt.Sscanf(d.Message, "expected required property %s to be present", &field); err == nil {
		return detail{field, "is required"}
	}
	if d.Message == "unexpected property" {
		return detail{field, "is not a field of this request"}
	}
	if strings.HasPrefix(d.Message, "invalid date/time") { // and then Go's layout
		return detail{field, "is not a time such as 2026-01-31T18:00:00Z (RFC 3339)"}
	}
	return detail{field, d.Message}
}
