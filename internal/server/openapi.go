package server

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

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
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "AssetPlatform", Version: "1",
				Description: "Upload, tag, search and download the images and sounds of games. Send an access token or an API key as: Authorization: Bearer TOKEN.",
			},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer", Description: "An access token (JWT) or an API key (ap_…)."}},
			},
		},
		Formats:       map[string]huma.Format{"application/json": format},
		DefaultFormat: "application/json",
	}
}

// What routes of logged-in callers answer besides their success.
var (
	bearerToken   = []map[string][]string{{"bearer": {}}}
	privateErrors = []int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict,
		http.StatusPreconditionFailed, http.StatusTooManyRequests, http.StatusServiceUnavailable,
	}
)

// documentErrors describes the answers of a route that huma does not serve.
func documentErrors(api huma.API, op *huma.Operation) {
	for _, status := range privateErrors {
		if op.Responses[strconv.Itoa(status)] == nil {
			documentProblem(op, api.OpenAPI().Components.Schemas, status, http.StatusText(status))
		}
	}
	for _, name := range pathParameters(op.Path) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
}

// describeAnswers makes the schemas of answers say what is sent, once all routes are registered: huma describes what Go could decode.
// Clients are not to refuse fields that come later; lists are never null; null is what a pointer may be; ids have a form.
func describeAnswers(api *huma.OpenAPI) {
	schemas := api.Components.Schemas
	describeRaw(schemas)
	for name, schema := range schemas.Map() {
		if strings.HasSuffix(name, "RequestBody") {
			continue
		}
		schema.AdditionalProperties = nil
		for _, field := range reflect.VisibleFields(schemas.TypeFromRef("#/components/schemas/" + name)) {
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if property := schema.Properties[key]; property != nil {
				property = describeField(property, field.Type)
				property.Nullable = property.Nullable || field.Tag.Get("nullable") == "true"
				if property.Nullable && len(property.Enum) > 0 {
					property.Enum = append(property.Enum, nil)
				}
				schema.Properties[key] = property
			}
		}
	}
	for _, op := range operations(api) {
		delete(op.Responses, strconv.Itoa(http.StatusUnprocessableEntity)) // ours is 400
		conditional := slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == "If-None-Match" })
		if unchanged := strconv.Itoa(http.StatusNotModified); conditional && op.Responses[unchanged] == nil {
			op.Responses[unchanged] = unchangedResponse("ETag", "Cache-Control")
		}
	}
	giveExamples(schemas)
	shareAnswers(api)
}

func unchangedResponse(headers ...string) *huma.Response {
	return &huma.Response{Description: "What the client has is still right", Headers: headersOf(headers...)}
}

// describeField is the schema of a field of an answer.
func describeField(schema *huma.Schema, field reflect.Type) *huma.Schema {
	null := field.Kind() == reflect.Pointer
	if null {
		field = field.Elem()
	}
	switch {
	case field == reflect.TypeFor[uuid.UUID]():
		schema.Format, schema.Nullable = "uuid", null
	case field.Kind() == reflect.Slice && schema.Items != nil:
		schema.Nullable, schema.Items = null, describeField(schema.Items, field.Elem())
	case null && schema.Ref != "":
		return &huma.Schema{AnyOf: []*huma.Schema{schema, {Type: "null"}}}
	}
	return schema
}

// assetFields are what an upload's form may hold besides the file.
var assetFields = map[string]string{
	"tags": "A JSON array of texts, or a list with commas.", "category": "A category.", "projectId": "A project that the caller may change.",
}

// uploadDocs describes a route that takes a form with a file.
func uploadDocs(fields ...map[string]string) func(*huma.Operation, huma.Registry) {
	return func(op *huma.Operation, schemas huma.Registry) {
		header := func(name, description string) {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "header", Schema: &huma.Schema{Type: huma.TypeString}, Description: description})
		}
		header("Idempotency-Key", "A request with the same key within a day is answered as the first one was.")
		form := &huma.Schema{Type: huma.TypeObject, Required: []string{"file"}, Properties: map[string]*huma.Schema{
			"file": {Type: huma.TypeString, Format: "binary", Description: "An image (png, jpeg, gif, webp) or audio (mp3, wav, ogg, flac, m4a)."},
		}}
		for _, more := range fields {
			for name, text := range more {
				form.Properties[name] = &huma.Schema{Type: huma.TypeString, Description: text}
			}
		}
		example := map[string]string{"file": "(the bytes of hero.png, with that file name)"}
		if len(fields) > 0 {
			example["tags"], example["category"] = "hero,red", "characters"
		}
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: form, Example: example}}}
		asset := map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeFor[assetEnvelope](), true, "")}}
		op.Responses = map[string]*huma.Response{"201": {Description: "Created", Content: asset, Headers: headersOf("Location", "ETag")}}
		if len(fields) == 0 { // a version
			header("If-Match", "The asset's ETag, if nobody may have changed it.")
			op.Responses["200"] = &huma.Response{Description: "These are the asset's bytes already", Content: asset, Headers: headersOf("Location", "ETag")}
		}
	}
}

// assetEnvelope is one asset in an answer.
type assetEnvelope struct {
	Data assetBody `json:"data"`
}

// downloadDocs describes a route that answers with bytes.
func downloadDocs(op *huma.Operation, schemas huma.Registry) {
	content := map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	whole := append([]string{"Accept-Ranges", "Content-Disposition"}, versionHeaders...)
	op.Responses = map[string]*huma.Response{
		"200": {Description: "The whole, as the asset's mimeType", Content: content, Headers: headersOf(whole...)},
		"206": {Description: "The range that was asked for; several as multipart/byteranges", Content: content, Headers: headersOf(append(whole, "Content-Range")...)},
		"304": unchangedResponse(versionHeaders...),
	}
	documentProblem(op, schemas, http.StatusRequestedRangeNotSatisfiable, "The range is not within the file", "Content-Range")
	takeConditions(op, "Range", "If-Range")
	op.Metadata = uncounted
}

// versionHeaders are what describeVersion sets.
var versionHeaders = []string{"ETag", "Last-Modified", "Cache-Control"}

// takeConditions adds what the answers of deliver depend on.
func takeConditions(op *huma.Operation, more ...string) {
	for _, name := range append(more, "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since") {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "header", Schema: &huma.Schema{Type: huma.TypeString}})
	}
}

// pathParameters are the names in braces of a path.
func pathParameters(path string) (names []string) {
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

// openAPI answers with the description of the API (OpenAPI 3.1).
func (s *Server) openAPI(api huma.API) http.HandlerFunc {
	document := sync.OnceValues(func() ([]byte, error) { return json.Marshal(api.OpenAPI()) })
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := document()
		if err != nil {
			writeProblem(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // an error means that the client has gone
	}
}

// operations are all routes, by path and method.
func operations(api *huma.OpenAPI) (all []*huma.Operation) {
	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		item := api.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Head, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				all = append(all, op)
			}
		}
	}
	return all
}
