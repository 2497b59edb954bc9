package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MonitoringSpec shapes the objects that the Prometheus operator and Grafana read. They are made where the cluster has
// their kinds; the platform is ready without them.
type MonitoringSpec struct {
	// ServiceMonitor has the API's metrics scraped.
	// +kubebuilder:default=true
	// +optional
	ServiceMonitor *bool `json:"serviceMonitor,omitempty"`
	// Rules are the platform's alerts.
	// +kubebuilder:default=true
	// +optional
	Rules *bool `json:"rules,omitempty"`
	// Dashboard is a ConfigMap with the platform's dashboard, labelled grafana_dashboard=1 as Grafana's sidecar expects it.
	// +kubebuilder:default=true
	// +optional
	Dashboard *bool `json:"dashboard,omitempty"`
	// Labels of these objects, by which a Prometheus selects what it reads: release=prometheus, say.
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('assetplatform.io/') && !k.startsWith('app.kubernetes.io/'))",message="monitoring.labels: those under assetplatform.io/ and app.kubernetes.io/ are the operator's own"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="monitoring.labels: not the key of a label: write it like example.com/team, with letters, digits, '-', '_', '.' and at most one '/'"
	// +optional
	Labels Labels `json:"labels,omitempty"`
	// ScrapeInterval is the time between two scrapes.
	// +kubebuilder:default="15s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,2}h)?([0-9]{1,3}m)?([0-9]{1,5}s)?$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="monitoring.scrapeInterval: write a duration from 1s to 1h, like 15s"
	// +optional
	ScrapeInterval *metav1.Duration `json:"scrapeInterval,omitempty"`
}
