package controllers

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// keepOwned makes an object small for the cache. In place of the managed fields, which are as large as the object, and of
// content that nobody reads, stands the hash of what the operator owns in it: in selfLink, which the apiserver has not filled
// since Kubernetes 1.20 and takes from nobody.
func keepOwned(in any) (any, error) {
	o, ok := in.(client.Object)
	if !ok || o.GetSelfLink() != "" { // a tombstone; one that was here before
		return in, nil
	}
	o.SetSelfLink(ownedDigest(o))
	o.SetManagedFields(slices.DeleteFunc(o.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		_, isDeployment := o.(*appsv1.Deployment) // of which replicas are handed over
		return !isDeployment || e.Manager != fieldManager || e.Operation != metav1.ManagedFieldsOperationApply
	}))
	dropContent(o)
	return o, nil
}

// dropContent takes out what no code reads.
func dropContent(o client.Object) {
	switch o := o.(type) {
	case *networkingv1.NetworkPolicy:
		o.Spec = networkingv1.NetworkPolicySpec{}
	case *networkingv1.Ingress:
		o.Spec = networkingv1.IngressSpec{IngressClassName: o.Spec.IngressClassName}
	case *policyv1.PodDisruptionBudget:
		o.Spec = policyv1.PodDisruptionBudgetSpec{}
	case *corev1.ConfigMap:
		if !ptr.Deref(o.Immutable, false) { // the settings of pods are read: see upstreamsInUse
			o.Data = nil
		}
	case *unstructured.Unstructured:
		delete(o.Object, "spec")
	}
}

// ownsExactly proves without a request that applying intent would change nothing: the fields that our manager owns in an
// object of the cache are just those of intent, with its values, and nothing of others is in their way. False only means that
// it could not be proved.
func ownsExactly(cached client.Object, intent *unstructured.Unstructured) (bool, error) {
	if cached.GetSelfLink() != digestOf(withoutIdentity(intent.Object)) {
		return false, nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(cached)
	if err != nil {
		return false, fmt.Errorf("convert %s: %w", describe(cached), err)
	}
	return !placeTaken(content, intent.Object), nil
}

// ownedFields are the fields that our manager has applied. Their form is that of server-side apply
// (kubernetes.io/docs/reference/using-api/server-side-apply): "f:name" is a field, `k:{"name":"x"}` the list item with these
// keys, `v:"x"` a member of a set.
func ownedFields(o client.Object) ([]byte, bool) {
	for _, entry := range o.GetManagedFields() {
		if entry.Manager == fieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil {
			return entry.FieldsV1.GetRawBytes(), true
		}
	}
	return nil, false
}

// unknownDigest is that of an object of which it is not known what we own; no intent has it.
const unknownDigest = "unknown"

// ownedDigest is the hash of the values of an object's owned fields.
func ownedDigest(o client.Object) string {
	owned, applied := ownedFields(o)
	var fields map[string]any
	if !applied || json.Unmarshal(owned, &fields) != nil {
		return unknownDigest
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return unknownDigest // as what cannot be read
	}
	part, ok := ownedPart(fields, content)
	if !ok {
		return unknownDigest
	}
	return digestOf(part)
}

// ownedPart is what fields name of a value, list items in the order in which they are.
func ownedPart(fields map[string]any, value any) (part any, ok bool) {
	delete(fields, ".") // the item itself
	if len(fields) == 0 {
		return value, true
	}
	object, items := map[string]any{}, map[int]any{}
	for path, inner := range fields {
		item, place, there := at(value, path)
		innerFields, isMap := inner.(map[string]any)
		if !there || !isMap {
			return nil, false
		}
		owned, ok := ownedPart(innerFields, item)
		if !ok {
			return nil, false
		}
		if _, isList := value.([]any); isList {
			items[place] = owned
		} else {
			object[strings.TrimPrefix(path, "f:")] = owned
		}
	}
	if _, isList := value.([]any); !isList {
		return object, true
	}
	list := []any{}
	for _, place := range slices.Sorted(maps.Keys(items)) {
		list = append(list, items[place])
	}
	return list, true
}

// digestOf is a short hash of a value of JSON.
func digestOf(value any) string {
	text, err := json.Marshal(value) // map keys are sorted
	if err != nil {
		panic(fmt.Sprintf("a value of an object is no JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return base64.RawStdEncoding.EncodeToString(sum[:])
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
