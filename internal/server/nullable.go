package server

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

func init() { huma.DefaultArrayNullable = false } // null is no list

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

// OptionalTime is a time in a query that may be absent, for which no time can stand: the least of .NET is the zero of Go. huma takes no
// pointers there.
type OptionalTime struct {
	read  time.Time
	given *time.Time // nil: absent
}

// Receiver is where huma puts the time.
func (o *OptionalTime) Receiver() reflect.Value { return reflect.ValueOf(&o.read).Elem() }

// OnParamSet is called only where the parameter is there.
func (o *OptionalTime) OnParamSet(bool, any) { o.given = &o.read }

// Schema is a time's.
func (o OptionalTime) Schema(registry huma.Registry) *huma.Schema {
	return registry.Schema(reflect.TypeFor[time.Time](), true, "")
}
