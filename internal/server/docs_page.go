package server

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html
var docsHead string

// docs answers with the same as a page, which needs nothing from elsewhere. It is written without html/template: that keeps every
// exported method of the program, 23 MB, for a template might call it.
func (s *Server) docs(api huma.API) http.HandlerFunc {
	page := sync.OnceValues(func() ([]byte, error) { return docsPage(api.OpenAPI()) })
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := page()
		if err != nil {
			writeProblem(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		_, _ = w.Write(body) // an error means that the client has gone
	}
}

// pageWriter writes the page; err is the first thing that went wrong.
type pageWriter struct {
	bytes.Buffer
	api *huma.OpenAPI
	err error
}

// write writes markup, in which each %s stands for a text.
func (p *pageWriter) write(markup string, texts ...string) {
	escaped := make([]any, len(texts))
	for i, text := range texts {
		escaped[i] = html.EscapeString(text)
	}
	fmt.Fprintf(p, markup, escaped...)
}

func docsPage(api *huma.OpenAPI) ([]byte, error) {
	p := &pageWriter{api: api}
	p.WriteString(docsHead)
	p.write("<h1>%s API</h1>\n<p>%s For programs: <a href=\"openapi.json\">openapi.json</a>.</p>\n", api.Info.Title, api.Info.Description)
	for _, op := range operations(api) {
		p.operation(op)
	}
	p.write("<h2>Refusals</h2>\n")
	responses := api.Components.Responses
	for _, name := range slices.Sorted(maps.Keys(responses)) {
		p.write("<p id=\"response-%s\"><strong>%s</strong> ", name, responses[name].Description)
		p.answer(responses[name])
	}
	p.write("<h2>Headers of answers</h2>\n<table>")
	for _, name := range slices.Sorted(maps.Keys(api.Components.Headers)) {
		p.write("<tr id=\"header-%s\"><td><code>%s</code><td>%s</tr>\n", name, name, api.Components.Headers[name].Description)
	}
	p.write("</table>\n<h2>Schemas</h2>\n")
	schemas := api.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		p.write("<section id=\"schema-%s\"><h3><code>%s</code></h3>\n", name, name)
		p.fields(schemas[name])
		p.examples(schemas[name].Examples)
		p.write("</section>\n")
	}
	p.write("</html>\n")
	return p.Bytes(), p.err
}

// operation writes what a route takes and answers.
func (p *pageWriter) operation(op *huma.Operation) {
	p.write("<details id=\"%s\"><summary><code><strong>%s</strong> %s</code> %s</summary>\n", op.OperationID, op.Method, op.Path, op.Summary)
	if op.Description != "" {
		p.write("<p>%s</p>\n", op.Description)
	}
	if op.Security != nil {
		p.write("<p>Needs a token.</p>\n")
	}
	if len(op.Parameters) > 0 {
		p.write("<table><tr><th>Parameter<th>In<th>Value<th></tr>\n")
		for _, parameter := range op.Parameters {
			p.write("<tr><td><code>%s</code><td>%s<td>", parameter.Name, parameter.In)
			p.value(parameter.Schema)
			if parameter.Required {
				p.write(", required")
			}
			p.write("<td>%s</tr>\n", parameter.Description)
		}
		p.write("</table>\n")
	}
	if op.RequestBody != nil {
		for kind, body := range op.RequestBody.Content {
			p.write("<p>Body, %s: ", kind)
			p.value(body.Schema)
			p.write("</p>\n")
			p.fields(body.Schema)
			if body.Example != nil {
				p.examples([]any{body.Example})
			}
		}
	}
	var common []string // refusals that are described once
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if answer := op.Responses[status]; answer.Ref != "" {
			common = append(common, status)
		} else {
			p.write("<p><strong>%s</strong> %s ", status, answer.Description)
			p.answer(answer)
		}
	}
	p.write("<p>Refusals:")
	for _, status := range common {
		p.write(" <a href=\"#response-%s\">%s</a>", path.Base(op.Responses[status].Ref), status)
	}
	p.write("</p>\n</details>\n")
}

// answer writes what the body of an answer is, and which headers come with it.
func (p *pageWriter) answer(answer *huma.Response) {
	for _, kind := range slices.Sorted(maps.Keys(answer.Content)) {
		p.write("<br>%s: ", kind)
		schema := answer.Content[kind].Schema
		p.value(schema)
		if schema.Ref == "" {
			continue
		}
		// An envelope says little by its name.
		if properties := p.api.Components.Schemas.SchemaFromRef(schema.Ref).Properties; properties["data"] != nil {
			for _, name := range slices.Sorted(maps.Keys(properties)) {
				p.write("; <code>%s</code>: ", name)
				p.value(properties[name])
			}
		}
	}
	for i, name := range slices.Sorted(maps.Keys(answer.Headers)) {
		if i == 0 {
			p.write("<br>Headers: ")
		} else {
			p.write(", ")
		}
		if header := answer.Headers[name]; header.Ref != "" {
			p.write("<a href=\"#header-%s\">%s</a>", path.Base(header.Ref), name)
		} else {
			p.write("%s (%s)", name, header.Description)
		}
	}
	p.write("</p>\n")
}

// fields writes a table of what an object holds.
func (p *pageWriter) fields(s *huma.Schema) {
	if len(s.Properties) == 0 {
		return
	}
	p.write("<table><tr><th>Field<th>Value<th></tr>\n")
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p.write("<tr><td><code>%s</code><td>", name)
		p.value(s.Properties[name])
		if !slices.Contains(s.Required, name) {
			p.write(", may be absent")
		}
		p.write("<td>%s</tr>\n", s.Properties[name].Description)
	}
	p.write("</table>\n")
}

// value writes what a value may be; objects are links.
func (p *pageWriter) value(s *huma.Schema) {
	switch {
	case s.Ref != "":
		p.write("<a href=\"#schema-%s\">%s</a>", path.Base(s.Ref), path.Base(s.Ref))
	case s.Items != nil:
		p.write("array of ")
		p.value(s.Items)
	default:
		p.write("%s", strings.TrimSpace(s.Type+" "+s.Format))
	}
	for i, choice := range append(s.OneOf, s.AnyOf...) {
		if i > 0 {
			p.write(" or ")
		}
		p.value(choice)
	}
	if s.Nullable {
		p.write(" or null")
	}
	p.limits(s)
}

// limits writes all else that a schema says of a value.
func (p *pageWriter) limits(s *huma.Schema) {
	text, err := json.Marshal(s)
	var said map[string]any
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	if err != nil {
		p.err = err
		return
	}
	for _, told := range []string{
		"$ref", "type", "format", "items", "oneOf", "anyOf", "properties", "required", "additionalProperties", "description", "examples", "contentMediaType",
	} {
		delete(said, told)
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		text, _ := json.Marshal(said[name]) // it was JSON before
		p.write(", %s <code>%s</code>", name, string(text))
	}
}

func (p *pageWriter) examples(examples []any) {
	for _, example := range examples {
		text, err := json.MarshalIndent(example, "", "  ")
		if err != nil {
			p.err = err
			return
		}
		p.write("<pre>%s</pre>\n", string(text))
	}
}
