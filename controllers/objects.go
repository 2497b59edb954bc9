package controllers

import (
	"fmt"
	"reflect"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newLike is an empty object of the same Go type.
func newLike(o client.Object) client.Object {
	return reflect.New(reflect.TypeOf(o).Elem()).Interface().(client.Object)
}

// kindOf is the kind of a typed object; cached ones carry none themselves.
func kindOf(o client.Object) string {
	if kind := o.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		return kind
	}
	return reflect.TypeOf(o).Elem().Name()
}

func describe(o client.Object) string { return fmt.Sprintf("%s %s", kindOf(o), o.GetName()) }
