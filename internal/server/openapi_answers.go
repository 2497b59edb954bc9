package server

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/assetplatform/assetplatform/internal/store"
)

// answerHeaders are what answers tell in headers; those of a protocol of its own are described where its routes are.
var answerHeaders = map[string]string{
	"Accept-Ranges":       "bytes: a part can be asked for, by Range.",
	"Cache-Control":       "private, no-cache: keep it, and ask each time, by If-None-Match, whether it is still right.",
	"Content-Disposition": "The file's name.",
	"Content-Range":       "Which bytes these are, and of how many; with 416, of how many alone. Absent from multipart/byteranges, whose parts have it.",
	"ETag":                "The state, for If-Match and If-None-Match; of bytes also for If-Range.",
	"Last-Modified":       "Since when the bytes are these.",
	"Location":            "The address of what was made.",
	"RateLimit-Limit":     "How many requests the nearest limit allows in its window. Absent where nothing is limited.",
	"RateLimit-Remaining": "How many of them are left.",
	"RateLimit-Reset":     "Seconds until the window ends.",
	"Retry-After":         "Seconds to wait before the next try.",
	"WWW-Authenticate":    "Bearer.",
}

// conditions are what requests tell in headers (RFC 9110, 13 and 14).
var conditions = map[string]string{
	"If-Match":            "ETags: if it is in none of these states, the answer is 412 and nothing is done.",
	"If-None-Match":       "ETags: if it is in one of these states, the answer is 304.",
	"If-Modified-Since":   "A date: 304 if the bytes have been these since then. Without If-None-Match only.",
	"If-Unmodified-Since": "A date: 412 if they have not. Without If-Match only.",
	"If-Range":            "An ETag or a date: unless the bytes are those, the answer is the whole.",
	"Range":               "Such as bytes=0-1023; up to 16 of them.",
}

var rateLimits = []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}

// refusals are the answers that routes have in common, with what their headers tell besides rateLimits.
var refusals = map[int][]string{
	http.StatusBadRequest: nil, http.StatusUnauthorized: {"WWW-Authenticate"}, http.StatusForbidden: nil, http.StatusNotFound: nil,
	http.StatusRequestTimeout: nil, http.StatusConflict: nil, http.StatusPreconditionFailed: nil, http.StatusRequestEntityTooLarge: nil,
	http.StatusUnsupportedMediaType: nil, http.StatusTooManyRequests: {"Retry-After"}, http.StatusInternalServerError: nil,
	http.StatusServiceUnavailable: {"Retry-After"},
}

// uncounted marks operations whose successes do not count towards a limit.
var uncounted = map[string]any{"uncounted": true}

// headersOf are references to answerHeaders.
func headersOf(names ...string) map[string]*huma.Param {
	headers := map[string]*huma.Param{}
	for _, name := range names {
		headers[name] = &huma.Param{Ref: "#/components/headers/" + name}
	}
	return headers
}

// documentProblem describes an answer that is not a success.
func documentProblem(op *huma.Operation, schemas huma.Registry, status int, description string, headers ...string) {
	op.Responses[strconv.Itoa(status)] = problemResponse(schemas, description, headers...)
}

func problemResponse(schemas huma.Registry, description string, headers ...string) *huma.Response {
	schema := schemas.Schema(reflect.TypeFor[errorBody](), true, "")
	return &huma.Response{Description: description, Headers: headersOf(headers...), Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// shareAnswers describes each header and each common refusal once, and has the operations refer to them.
func shareAnswers(api *huma.OpenAPI) {
	c := api.Components
	c.Headers, c.Responses = map[string]*huma.Header{}, map[string]*huma.Response{}
	for name, description := range answerHeaders {
		kind := huma.TypeString
		if name == "Retry-After" || slices.Contains(rateLimits, name) {
			kind = huma.TypeInteger
		}
		c.Headers[name] = &huma.Header{Description: description, Schema: &huma.Schema{Type: kind}}
	}
	for status, headers := range refusals {
		c.Responses[refusalName(status)] = problemResponse(c.Schemas, http.StatusText(status), append(headers, rateLimits...)...)
	}
	for _, op := range operations(api) {
		for _, p := range op.Parameters {
			if text := conditions[p.Name]; text != "" {
				p.Description = text
			}
		}
		fitRefusals(op, c.Schemas)
		for text, answer := range op.Responses {
			status, _ := strconv.Atoi(text) // huma and we write numbers
			if _, common := refusals[status]; common && len(answer.Headers) == 0 {
				op.Responses[text] = &huma.Response{Ref: "#/components/responses/" + refusalName(status)}
			} else {
				describeHeaders(op, answer)
			}
		}
	}
}

func refusalName(status int) string { return strings.ReplaceAll(http.StatusText(status), " ", "") }

// fitRefusals leaves an operation the refusals that it can have.
func fitRefusals(op *huma.Operation, schemas huma.Registry) {
	takes := func(name string) bool {
		return slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == name })
	}
	documentProblem(op, schemas, http.StatusInternalServerError, "")
	for _, status := range []int{http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType} {
		if op.RequestBody != nil {
			documentProblem(op, schemas, status, "")
		} else {
			delete(op.Responses, strconv.Itoa(status))
		}
	}
	if !takes("If-Match") && !takes("Tus-Resumable") {
		delete(op.Responses, strconv.Itoa(http.StatusPreconditionFailed))
	}
	if op.Method == http.MethodGet || op.Method == http.MethodHead {
		delete(op.Responses, strconv.Itoa(http.StatusConflict))
	}
}

// describeHeaders puts references in place of what huma finds in a struct, and adds the limits.
func describeHeaders(op *huma.Operation, answer *huma.Response) {
	if op.Method != http.MethodPost {
		delete(answer.Headers, "Location") // the struct is that of POST too
	}
	for name, header := range answer.Headers {
		if answerHeaders[name] != "" && header.Description == "" {
			maps.Copy(answer.Headers, headersOf(name))
		}
	}
	if op.Metadata["uncounted"] == nil {
		if answer.Headers == nil {
			answer.Headers = map[string]*huma.Param{}
		}
		maps.Copy(answer.Headers, headersOf(rateLimits...))
	}
}

// describeRaw tells of the fields that are sent as the database has them, of which huma sees no type.
func describeRaw(schemas huma.Registry) {
	metadata := &huma.Schema{
		Description: "What was read from the file: ImageMetadata of an IMAGE, AudioMetadata of an AUDIO; null until it is read, soon after the upload.",
		OneOf: []*huma.Schema{
			schemas.Schema(reflect.TypeFor[store.ImageMetadata](), true, ""), schemas.Schema(reflect.TypeFor[store.AudioMetadata](), true, ""), {Type: "null"},
		},
	}
	known := schemas.Map()
	known["AssetBody"].Properties["metadata"], known["VersionBody"].Properties["metadata"] = metadata, metadata
	known["AuditBody"].Properties["details"] = &huma.Schema{
		Type: huma.TypeObject, Nullable: true, Description: "What more there is to say; the fields are another set for each action. Null: nothing.",
	}
}
