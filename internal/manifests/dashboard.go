package manifests

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// panel is one graph of a dashboard. Each query has a legend; see alert for what its text may hold.
type panel struct {
	title, unit string // of Grafana's units
	queries     [][2]string
}

var platformPanels = []panel{
	{"Requests", "reqps", [][2]string{{`sum by (status) (rate(http_requests_total{SERIES}[$__rate_interval]))`, "{{status}}"}}},
	{"Failed requests", "percentunit", [][2]string{{`(sum(rate(http_requests_total{SERIES, status=~"5.."}[$__rate_interval])) or vector(0)) / sum(rate(http_requests_total{SERIES}[$__rate_interval]))`, "5xx"}}},
	{"Time to answer", "s", [][2]string{
		{`histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket{SERIES}[$__rate_interval])))`, "half"},
		{`histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{SERIES}[$__rate_interval])))`, "95 %"},
		{`histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{SERIES}[$__rate_interval])))`, "99 %"},
	}},
	{"Slowest routes, 95 %", "s", [][2]string{{`topk(5, histogram_quantile(0.95, sum by (le, method, route) (rate(http_request_duration_seconds_bucket{SERIES}[$__rate_interval]))))`, "{{method}} {{route}}"}}},
	{"Uploads", "ops", [][2]string{{`sum by (file_type, status) (rate(asset_uploads_total{SERIES}[$__rate_interval]))`, "{{file_type}} {{status}}"}}},
	{"Dependencies that answer", "bool_yes_no", [][2]string{{`min by (dependency) (dependency_up{SERIES})`, "{{dependency}}"}}},
	{"Bucket, 95 %", "s", [][2]string{{`histogram_quantile(0.95, sum by (le, operation) (rate(object_store_request_duration_seconds_bucket{SERIES}[$__rate_interval])))`, "{{operation}}"}}},
	{"Database connections", "short", [][2]string{{`sum by (state) (database_connections{SERIES})`, "{{state}}"}, {`sum(database_connections_limit{SERIES})`, "limit"}}},
	{"Jobs that wait", "short", [][2]string{{`sum(job_queue_jobs{SERIES}) or vector(0)`, "jobs"}}},
	{"Pods", "short", [][2]string{{`sum(up{SERIES})`, "scraped"}}},
	{"Memory", "bytes", [][2]string{{`process_resident_memory_bytes{SERIES}`, "{{pod}}"}}},
	{"CPU", "short", [][2]string{{`rate(process_cpu_seconds_total{SERIES}[$__rate_interval])`, "{{pod}}"}}},
	{"Conditions", "short", [][2]string{{`assetplatform_condition{PLATFORM}`, "{{condition}} {{status}}: {{reason}}"}}},
}

var operatorPanels = []panel{
	{"Platforms", "short", [][2]string{{`count by (status) (assetplatform_condition{condition="Ready"})`, "Ready {{status}}"}}},
	{"Passes", "ops", [][2]string{{`sum by (result) (rate(controller_runtime_reconcile_total{controller="assetplatform"}[$__rate_interval]))`, "{{result}}"}}},
	{"Time of a pass", "s", [][2]string{
		{`histogram_quantile(0.5, sum by (le) (rate(controller_runtime_reconcile_time_seconds_bucket{controller="assetplatform"}[$__rate_interval])))`, "half"},
		{`histogram_quantile(0.99, sum by (le) (rate(controller_runtime_reconcile_time_seconds_bucket{controller="assetplatform"}[$__rate_interval])))`, "99 %"},
	}},
	{"Platforms that wait for a pass", "short", [][2]string{{`sum(workqueue_depth{controller="assetplatform"})`, "waiting"}}},
	{"Requests to the Kubernetes API, by cause", "reqps", [][2]string{{`sum by (cause) (rate(assetplatform_api_requests_total[$__rate_interval]))`, "{{cause}}"}}},
	{"Requests to the Kubernetes API, by kind", "reqps", [][2]string{{`sum by (verb, resource) (rate(assetplatform_api_requests_total[$__rate_interval]))`, "{{verb}} {{resource}}"}}},
	{"Leader", "bool_yes_no", [][2]string{{`leader_election_master_status`, "{{pod}}"}}},
	{"Memory", "bytes", [][2]string{{`process_resident_memory_bytes{job="assetplatform-operator"}`, "{{pod}}"}}},
	{"CPU", "short", [][2]string{{`rate(process_cpu_seconds_total{job="assetplatform-operator"}[$__rate_interval])`, "{{pod}}"}}},
}

// Dashboard is the platform's dashboard as Grafana's sidecar finds it; nil where the spec wants none.
func Dashboard(ap *assetv1.AssetPlatform) *corev1.ConfigMap {
	if !ptr.Deref(ap.Spec.Monitoring.Dashboard, true) {
		return nil
	}
	m := &corev1.ConfigMap{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "ConfigMap"),
		ObjectMeta: monitoringMeta(ap, DashboardName(ap)),
		Data: map[string]string{
			// Grafana takes no two dashboards of one uid.
			"assetplatform.json": renderDashboard("assetplatform-"+hash(ap.Namespace, ap.Name), "AssetPlatform "+ap.Namespace+"/"+ap.Name, platformPanels, func(text string) string { return forPlatform(ap, text) }),
		},
	}
	m.Labels["grafana_dashboard"] = "1"
	return m
}

// OperatorDashboard is the JSON of the operator's dashboard, which config/monitoring has.
func OperatorDashboard() string {
	return renderDashboard("assetplatform-operator", "AssetPlatform operator", operatorPanels, func(text string) string { return text })
}

// renderDashboard is a dashboard's JSON (grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model):
// two panels a row, the data source chosen by a variable.
func renderDashboard(uid, title string, panels []panel, fill func(string) string) string {
	source := map[string]any{"type": "prometheus", "uid": "${datasource}"}
	var list []any
	for i, p := range panels {
		var targets []any
		for j, q := range p.queries {
			targets = append(targets, map[string]any{"refId": string(rune('A' + j)), "datasource": source, "expr": fill(q[0]), "legendFormat": q[1]})
		}
		list = append(list, map[string]any{
			"id": i + 1, "type": "timeseries", "title": p.title, "datasource": source, "targets": targets,
			"gridPos":     map[string]any{"x": i % 2 * 12, "y": i / 2 * 8, "w": 12, "h": 8},
			"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit, "min": 0}, "overrides": []any{}},
		})
	}
	text, err := json.Marshal(map[string]any{
		"uid": uid, "title": title, "tags": []any{"assetplatform"}, "schemaVersion": 39, "editable": true, "refresh": "30s",
		"time":       map[string]any{"from": "now-3h", "to": "now"},
		"templating": map[string]any{"list": []any{map[string]any{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}}},
		"panels":     list,
	})
	if err != nil {
		panic("a dashboard is no JSON: " + err.Error()) // only our own plain values are in it
	}
	return string(text)
}
