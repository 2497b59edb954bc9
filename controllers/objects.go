package controllers

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newLike is an empty object of the same Go type and, where that is for any kind, of the same kind.
func newLike(o client.Object) client.Object {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return newOptional(u.GroupVersionKind())
	}
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
