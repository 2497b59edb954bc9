package manifests

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// HTTPRoute leads the host from the spec's Gateways to the API; nil where the spec asks for none, or the cluster has no
// Gateway API. What the API's lists default to is written out: they are owned as a whole.
func HTTPRoute(ap *assetv1.AssetPlatform, f Facts) *unstructured.Unstructured {
	n := ap.Spec.Networking
	if n.Gateway == nil || !f.Installed[KindHTTPRoute] {
		return nil
	}
	var parents []any
	for _, ref := range n.Gateway.ParentRefs {
		parent := map[string]any{"group": KindHTTPRoute.Group, "kind": "Gateway", "name": ref.Name}
		if ref.Namespace != "" {
			parent["namespace"] = ref.Namespace
		}
		if ref.SectionName != "" {
			parent["sectionName"] = ref.SectionName
		}
		if ref.Port != 0 {
			parent["port"] = int64(ref.Port)
		}
		parents = append(parents, parent)
	}
	return optional(KindHTTPRoute, meta(ap, ComponentServer, ServerName(ap)), map[string]any{
		"parentRefs": parents,
		"hostnames":  []any{n.Host},
		"rules": []any{map[string]any{
			"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}},
			"backendRefs": []any{map[string]any{"group": "", "kind": "Service", "name": ServiceName(ap), "port": int64(ServicePort(ap)), "weight": int64(1)}},
			// No limit: an upload on a slow line takes longer than the seconds that implementations allow by themselves.
			"timeouts": map[string]any{"request": "0s"},
		}},
	})
}
