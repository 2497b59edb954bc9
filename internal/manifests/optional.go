package manifests

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The kinds that others define, and a cluster may have or not. Their objects are built without Go types: those would
// make every API pod, which is the same binary, pay for them (docs/design/0005-optional-kinds.md).
var (
	KindCertificate = schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}
	KindHTTPRoute   = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}

	KindServiceMonitor = schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "ServiceMonitor"}
	KindPrometheusRule = schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PrometheusRule"}
)

// OptionalKinds are all of them.
var OptionalKinds = []schema.GroupVersionKind{KindCertificate, KindHTTPRoute, KindServiceMonitor, KindPrometheusRule}

// optional is an object of such a kind. Numbers in spec are int64.
func optional(kind schema.GroupVersionKind, metadata metav1.ObjectMeta, spec map[string]any) *unstructured.Unstructured {
	header, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&metadata)
	if err != nil {
		panic("metadata cannot be converted: " + err.Error()) // it is our own
	}
	o := &unstructured.Unstructured{Object: map[string]any{"metadata": header, "spec": spec}}
	o.SetGroupVersionKind(kind)
	return o
}
