package server

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// Nullable is a field of a change that may be left out, which changes nothing, or be null, which takes its value away.
type Nullable[T any] struct {
	Given bool
	Value *T
}

// UnmarshalJSON is called only where the field is there.
func (n *Nullable[T]) UnmarshalJSON(text []byte) error {
	n.Given = true
	return json.Unmarshal(text, &n.Value)
}

// Schema is T's, or null.
func (n Nullable[T]) Schema(registry huma.Registry) *huma.Schema {
	schema := *registry.Schema(reflect.TypeFor[T](), true, "")
	schema.Nullable = true
	return &schema
}
