package manifests

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// Labels that every series of a platform has beside namespace: see ServiceMonitor, and config/monitoring/scrape-configs.yaml.
const (
	jobLabel      = "assetplatform"
	platformLabel = "platform"
)

// WantsServiceMonitor says whether the spec asks for one.
func WantsServiceMonitor(ap *assetv1.AssetPlatform) bool {
	return ptr.Deref(ap.Spec.Monitoring.ServiceMonitor, true)
}

// MetricsService gives the ServiceMonitor endpoints; the API's own Service may have an address outside of the cluster, where
// metrics are nobody's business. Nil where there is no ServiceMonitor.
func MetricsService(ap *assetv1.AssetPlatform, f Facts) *corev1.Service {
	if !WantsServiceMonitor(ap) || !f.Installed[KindServiceMonitor] {
		return nil
	}
	s := service(ap, ComponentServer, MetricsServiceName(ap), corev1.ServicePort{
		Name: metricsPort, Port: config.MetricsPort, TargetPort: intstr.FromString(metricsPort), Protocol: corev1.ProtocolTCP,
	})
	s.Spec.ClusterIP = corev1.ClusterIPNone
	return s
}

// ServiceMonitor has the Prometheus operator scrape each API pod; nil where the spec wants none, or there is no such operator.
func ServiceMonitor(ap *assetv1.AssetPlatform, f Facts) *unstructured.Unstructured {
	if !WantsServiceMonitor(ap) || !f.Installed[KindServiceMonitor] {
		return nil
	}
	interval := metav1.Duration{Duration: 15 * time.Second}
	if d := ap.Spec.Monitoring.ScrapeInterval; d != nil {
		interval = *d
	}
	selector := map[string]any{}
	for key, value := range Selector(ap, ComponentServer) {
		selector[key] = value
	}
	label := func(target, replacement string) map[string]any {
		return map[string]any{"action": "replace", "targetLabel": target, "replacement": replacement}
	}
	return optional(KindServiceMonitor, monitoringMeta(ap, ServerName(ap)), map[string]any{
		"selector": map[string]any{"matchLabels": selector},
		"endpoints": []any{map[string]any{
			"port": metricsPort, "path": config.PathMetrics, "interval": interval.Duration.String(),
			"relabelings": []any{label("job", jobLabel), label(platformLabel, ap.Name)},
		}},
	})
}

// monitoringMeta is the metadata of what Prometheus and Grafana read.
func monitoringMeta(ap *assetv1.AssetPlatform, name string) metav1.ObjectMeta {
	m := meta(ap, ComponentServer, name)
	labels := ap.Spec.Monitoring.Labels.Plain()
	if labels == nil {
		return m
	}
	maps.Copy(labels, m.Labels)
	m.Labels = labels
	return m
}
