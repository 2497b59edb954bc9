package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ownsExactly proves without a request that applying intent would change nothing:
// the fields that our manager owns in live are just those of intent, with its
// values, and nothing of others is in their way. False only means that it could not be proved.
//
// The form of managedFields is that of server-side apply
// (kubernetes.io/docs/reference/using-api/server-side-apply): "f:name" is a field,
// `k:{"name":"x"}` the list item with these keys, `v:"x"` a member of a set.
func ownsExactly(live client.Object, intent *unstructured.Unstructured) (bool, error) {
	owned, ok := ownedFields(live)
	if !ok {
		return false, nil
	}
	var fields map[string]any
	if err := json.Unmarshal(owned, &fields); err != nil {
		return false, fmt.Errorf("managed fields of %s: %w", describe(live), err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return false, fmt.Errorf("convert %s: %w", describe(live), err)
	}
	return sameFields(fields, withoutIdentity(intent.Object), content) && !portTaken(content, intent.Object), nil
}

func ownedFields(o client.Object) ([]byte, bool) {
	for _, entry := range o.GetManagedFields() {
		if entry.Manager == fieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil {
			return entry.FieldsV1.GetRawBytes(), true
		}
	}
	return nil, false
}

// withoutIdentity leaves out what names an object: nobody owns those fields.
func withoutIdentity(object map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range object {
		if key != "apiVersion" && key != "kind" {
			out[key] = value
		}
	}
	if metadata, ok := out["metadata"].(map[string]any); ok {
		rest := map[string]any{}
		for key, value := range metadata {
			if key != "name" && key != "namespace" {
				rest[key] = value
			}
		}
		out["metadata"] = rest
	}
	return out
}

// sameFields walks owned fields, intent and live object side by side.
func sameFields(fields map[string]any, intent, live any) bool {
	delete(fields, ".") // the item itself
	if len(fields) == 0 {
		return reflect.DeepEqual(intent, live)
	}
	places := map[int]int{} // of list items: in the intent → in the live object
	for path, inner := range fields {
		innerFields, ok := inner.(map[string]any)
		if !ok {
			return false
		}
		intentItem, intentPlace, intentOK := at(intent, path)
		liveItem, livePlace, liveOK := at(live, path)
		if !intentOK || !liveOK || !sameFields(innerFields, intentItem, liveItem) {
			return false
		}
		places[intentPlace] = livePlace
	}
	// Nothing is wanted that we do not own yet, and list items are in the order wanted.
	return size(intent) == len(fields) && ascending(places)
}

// ascending says whether larger keys have larger values.
func ascending(places map[int]int) bool {
	last := -1
	for _, key := range slices.Sorted(maps.Keys(places)) {
		if places[key] < last {
			return false
		}
		last = places[key]
	}
	return true
}

// at finds the part of a value that a path element of managedFields names, and its
// place if the value is a list.
func at(value any, path string) (part any, place int, ok bool) {
	kind, name, _ := strings.Cut(path, ":")
	switch v := value.(type) {
	case map[string]any:
		item, ok := v[name]
		return item, 0, ok && kind == "f"
	case []any:
		var wanted any
		if kind == "f" || json.Unmarshal([]byte(name), &wanted) != nil {
			return nil, 0, false
		}
		for i, item := range v {
			if kind == "v" && equalScalar(item, wanted) || kind == "k" && hasKeys(item, wanted) {
				return item, i, true
			}
		}
	}
	return nil, 0, false
}

func hasKeys(item, wanted any) bool {
	object, ok := item.(map[string]any)
	keys, keysOK := wanted.(map[string]any)
	if !ok || !keysOK {
		return false
	}
	for key, value := range keys {
		if !equalScalar(object[key], value) {
			return false
		}
	}
	return true
}

// equalScalar compares a value of an object with one parsed from JSON, where every number is a float.
func equalScalar(a, b any) bool {
	if n, ok := a.(int64); ok {
		a = float64(n)
	}
	return a == b
}

func size(value any) int {
	switch v := value.(type) {
	case map[string]any:
		return len(v)
	case []any:
		return len(v)
	}
	return 0
}
