package server

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// document is what tests read of the OpenAPI document.
type document struct {
	OpenAPI    string
	Components struct {
		Schemas   map[string]jsonSchema
		Responses map[string]*responseDoc
	}
	Paths map[string]map[string]operationDoc
}

type operationDoc struct {
	OperationID, Summary string
	Security             []map[string][]string
	Responses            map[string]*responseDoc
	Parameters           []struct{ Name, In string }
	RequestBody          struct{ Content map[string]contentDoc }
}

type responseDoc struct {
	Ref     string `json:"$ref"`
	Content map[string]contentDoc
	Headers map[string]any
}

type contentDoc struct {
	Schema  jsonSchema
	Example any
}

// jsonSchema is what the tests know of JSON Schema: a type (or several), what is within, and the values there are.
type jsonSchema map[string]any

func (p *platform) document() document {
	p.t.Helper()
	var doc document
	if err := json.Unmarshal(p.get("/api/openapi.json", "").want(200).body, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		p.t.Fatalf("the document: OpenAPI %s, %v", doc.OpenAPI, err)
	}
	return doc
}

func (r reply) json() (body any) {
	r.t.Helper()
	r.decode(&body)
	return body
}

func (o operationDoc) takes(name, in string) bool {
	return slices.Contains(o.Parameters, struct{ Name, In string }{name, in})
}

// response is what the document says of a status, which may be said elsewhere; empty if it is not.
func (d document) response(op operationDoc, status int) responseDoc {
	r := op.Responses[fmt.Sprint(status)]
	if r != nil && r.Ref != "" {
		r = d.Components.Responses[strings.TrimPrefix(r.Ref, "#/components/responses/")]
	}
	if r == nil {
		return responseDoc{}
	}
	return *r
}

var toldHeaders = regexp.MustCompile(`^(Location|ETag|Last-Modified|Retry-After|RateLimit-.*|Content-Range|Content-Disposition|Accept-Ranges|Upload-.*|Location-.*|WWW-Authenticate)$`)

// checkHeaders compares what was sent with what the document says of this status.
func (d document) checkHeaders(t *testing.T, pattern string, op operationDoc, r reply) {
	t.Helper()
	if op.Responses[fmt.Sprint(r.status)] == nil {
		t.Errorf("%s: the document does not tell of %d", pattern, r.status)
		return
	}
	documented := d.response(op, r.status).Headers
	for name := range r.header {
		if name = headerName(name); toldHeaders.MatchString(name) && documented[name] == nil {
			t.Errorf("%s: the document does not tell of %s with %d", pattern, name, r.status)
		}
	}
}

// headerName is a name as the document writes it, and not as Go does.
func headerName(name string) string {
	return strings.NewReplacer("Etag", "ETag", "Ratelimit", "RateLimit", "Www-", "WWW-").Replace(name)
}

// check reports what of a value is not as the document says.
func (d document) check(t *testing.T, where string, schema jsonSchema, value any) {
	t.Helper()
	for _, mismatch := range d.mismatches(where, schema, value) {
		t.Error(mismatch)
	}
}

// mismatches compares a value with what the document says: every field is described, is there if it must be, and has its type.
func (d document) mismatches(where string, schema jsonSchema, value any) (found []string) {
	wrong := func(format string, about ...any) { found = append(found, where+" "+fmt.Sprintf(format, about...)) }
	if ref, ok := schema["$ref"].(string); ok {
		schema = d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
	}
	for _, of := range []string{"oneOf", "anyOf"} {
		if choices, ok := schema[of].([]any); ok {
			return d.choose(where, choices, value)
		}
	}
	if values, ok := schema["enum"].([]any); ok && !slices.Contains(values, value) {
		wrong("is %v, the document says %v", value, values)
	}
	kinds, ok := schema["type"].([]any)
	if !ok && schema["type"] != nil {
		kinds = []any{schema["type"]}
	}
	kind := "object"
	switch v := value.(type) {
	case nil:
		kind = "null"
	case string:
		kind = "string"
		if schema["format"] == "uuid" && uuid.Validate(v) != nil {
			wrong("is %q, which is no UUID", v)
		}
	case bool:
		kind = "boolean"
	case float64:
		kind = "number"
		if slices.Contains(kinds, any("integer")) && v == float64(int64(v)) {
			kind = "integer"
		}
	case []any:
		kind = "array"
		items, _ := schema["items"].(map[string]any)
		for i, item := range v {
			found = append(found, d.mismatches(fmt.Sprintf("%s[%d]", where, i), items, item)...)
		}
	case map[string]any:
		found = append(found, d.mismatchedFields(where, schema, v)...)
	}
	if !slices.Contains(kinds, any(kind)) { // also if there are none: a schema that takes anything tells nothing
		wrong("is %s, the document says %v", kind, kinds)
	}
	return found
}

// choose wants a value to be just one of several.
func (d document) choose(where string, choices []any, value any) (found []string) {
	fitting := 0
	for _, choice := range choices {
		mismatches := d.mismatches(where, choice.(map[string]any), value)
		if len(mismatches) == 0 {
			fitting++
		}
		found = append(found, mismatches...)
	}
	switch fitting {
	case 0:
		return found
	case 1:
		return nil
	}
	return []string{fmt.Sprintf("%s is %d of the choices", where, fitting)}
}

func (d document) mismatchedFields(where string, schema jsonSchema, fields map[string]any) (found []string) {
	properties, known := schema["properties"].(map[string]any)
	for name, field := range fields {
		if property, ok := properties[name].(map[string]any); ok {
			found = append(found, d.mismatches(where+"."+name, property, field)...)
		} else if known {
			found = append(found, where+": the document does not tell of "+name)
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := fields[name.(string)]; !ok {
			found = append(found, fmt.Sprintf("%s has no %s", where, name))
		}
	}
	return found
}

// The document is whole: what it refers to is there, texts of few values have them, and answers may get more fields.
func TestDocument(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	doc := p.document()
	whole := p.get("/api/openapi.json", "").json()
	var refs int
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				refs++
				if resolve(whole, ref) == nil {
					t.Errorf("%s is nowhere", ref)
				}
			}
			for _, field := range v {
				walk(field)
			}
		}
	}
	walk(whole)
	if refs < 100 {
		t.Errorf("only %d references", refs)
	}
	for _, field := range []string{
		"AssetBody.fileType", "UserBody.role", "ProfileBody.role", "AccountBody.role", "ProjectBody.role", "MemberBody.role", "UploadBody.status",
		"AuditBody.resourceType", "ApiKeyBody.scopes", "CreateAPIKeyRequestBody.scopes", "AdministerUserRequestBody.role", "SetRoleRequestBody.role",
	} {
		schema, name, _ := strings.Cut(field, ".")
		property, _ := resolve(whole, "#/components/schemas/"+schema+"/properties/"+name).(map[string]any)
		if items, ok := property["items"].(map[string]any); ok {
			property = items
		}
		if property["enum"] == nil {
			t.Errorf("the document does not tell which values %s has", field)
		}
	}
	code, _ := resolve(whole, "#/components/schemas/ErrorInfo/properties/code/description").(string)
	for _, row := range problems {
		if row.status != statusClientGone && !strings.Contains(code, row.code) {
			t.Errorf("the document does not tell of the code %s", row.code)
		}
	}
	for name, schema := range doc.Components.Schemas {
		if schema["additionalProperties"] != nil && !strings.HasSuffix(name, "RequestBody") {
			t.Errorf("%s: clients are told to refuse fields that come later", name)
		}
	}
}

// resolve finds what a reference into the document means; nil: nothing.
func resolve(document any, ref string) any {
	for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		within, _ := document.(map[string]any)
		document = within[key]
	}
	return document
}

// The examples of the document are where they help most, and are what the document says.
func TestDocumentExamples(t *testing.T) {
	t.Parallel()
	doc := newPlatform(t).document()
	missing := map[string]bool{"LoginRequestBody": true, "DataSessionBodyBody": true, "AssetBody": true, "ListAssetBodyBody": true, "ErrorBody": true}
	for name, schema := range doc.Components.Schemas {
		examples, _ := schema["examples"].([]any)
		for _, example := range examples {
			delete(missing, name)
			doc.check(t, "the example of "+name, schema, example)
		}
	}
	for name := range missing {
		t.Errorf("%s has no example", name)
	}
	for _, route := range []string{"/api/assets/upload", "/api/assets/{id}/versions"} {
		form := doc.Paths[route]["post"].RequestBody.Content["multipart/form-data"]
		if form.Example == nil {
			t.Errorf("the form of %s has no example", route)
		}
		doc.check(t, "the form of "+route, form.Schema, form.Example)
	}
}

// What was read from a file, and what could not be, is as the document says, and is told of by kind.
func TestDocumentMetadata(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	alice, doc := p.register("alice"), p.document()
	image := store.ImageMetadata{Width: new(2), Height: new(3), Format: new("png"), HasAlpha: new(false), Palette: []string{"#00ff00"}, Frames: new(1)}
	sound := store.AudioMetadata{Duration: new(0.5), Bitrate: new(int64(64000)), SampleRate: new(8000), Channels: new(1), Format: new("wav"), Waveform: []float64{0, 0.25, 1}}
	for i, test := range []struct {
		schema   string
		metadata any
	}{
		{"ImageMetadata", image}, {"ImageMetadata", store.ImageMetadata{}}, {"AudioMetadata", sound}, {"AudioMetadata", store.AudioMetadata{}},
	} {
		name, content := fmt.Sprintf("%d.png", i), png(fmt.Sprint(i))
		if test.schema == "AudioMetadata" {
			name, content = fmt.Sprintf("%d.wav", i), wav(3, fmt.Appendf(nil, "hi%d", i))
		}
		a := decode1[assetBody](p.upload(alice.AccessToken, newForm().file(name, "", content)).want(201))
		thumbnail := p.get(assetPath(a.ID)+"/thumbnail", alice.AccessToken).want(404) // with Retry-After of a picture that is not read
		doc.checkHeaders(t, "GET /api/assets/{id}/thumbnail", doc.Paths["/api/assets/{id}/thumbnail"]["get"], thumbnail)
		p.keepMedia(a, test.metadata)
		asset := p.get(assetPath(a.ID), alice.AccessToken).want(200).json()
		doc.check(t, name, jsonSchema{"$ref": "#/components/schemas/AssetAnswerBody"}, asset)
		doc.check(t, name, jsonSchema{"$ref": "#/components/schemas/" + test.schema}, resolve(asset, "data/metadata"))
		versions := p.get(assetPath(a.ID)+"/versions", alice.AccessToken).want(200).json()
		doc.check(t, name, jsonSchema{"$ref": "#/components/schemas/DataListVersionBodyBody"}, versions)
	}
	properties := doc.Components.Schemas["ImageMetadata"]["properties"].(map[string]any)
	if width, _ := properties["width"].(map[string]any); !strings.Contains(fmt.Sprint(width["description"]), "Pixels") {
		t.Errorf("the unit of width: %v", width)
	}
	if found := doc.mismatches("a picture as a sound", jsonSchema{"$ref": "#/components/schemas/AudioMetadata"}, map[string]any{"width": 1.0}); len(found) == 0 {
		t.Error("check takes a picture for a sound")
	}
}

var (
	pageLinks  = regexp.MustCompile(`href="#([^"]*)"`)
	schemaRefs = regexp.MustCompile(`#/components/(schema|response|header)s/([^"]*)"`)
)

// The docs page needs nothing from elsewhere, and has every route, every schema with its fields, and what links lead to.
func TestDocsPage(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	answer := p.get("/api/docs", "").want(200)
	page := string(answer.body)
	for _, wanted := range []string{"/api/assets/upload", "/api/projects/{id}/members", "Needs a token", "Idempotency-Key"} {
		if !strings.Contains(page, wanted) {
			t.Errorf("the page does not have %s", wanted)
		}
	}
	for _, elsewhere := range []string{"http://", "https://", "<script", "@import", "src=", "$ref"} {
		if strings.Contains(page, elsewhere) {
			t.Errorf("the page has %s", elsewhere)
		}
	}
	if policy := answer.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'unsafe-inline';") {
		t.Errorf("the page's policy: %s", policy)
	}
	for _, link := range pageLinks.FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+link[1]+`"`) {
			t.Errorf("a link leads nowhere: %s", link[1])
		}
	}
	for name, schema := range p.document().Components.Schemas {
		_, section, found := strings.Cut(page, `<section id="schema-`+name+`">`)
		section, _, _ = strings.Cut(section, "</section>")
		if !found {
			t.Errorf("the page does not have the schema %s", name)
		}
		properties, _ := schema["properties"].(map[string]any)
		for field := range properties {
			if !strings.Contains(section, "<td><code>"+field+"</code>") {
				t.Errorf("the page does not have %s of %s", field, name)
			}
		}
	}
	for _, ref := range schemaRefs.FindAllSubmatch(p.get("/api/openapi.json", "").body, -1) {
		if link := fmt.Sprintf(`href="#%s-%s"`, ref[1], ref[2]); !strings.Contains(page, link) {
			t.Errorf("the page has no link %s", link)
		}
	}
	_, list, _ := strings.Cut(page, `<details id="get-assets">`)
	list, _, _ = strings.Cut(list, "</details>")
	if !strings.Contains(list, `array of <a href="#schema-AssetBody">`) {
		t.Errorf("the page does not tell what a list of assets holds: %s", list)
	}
}
