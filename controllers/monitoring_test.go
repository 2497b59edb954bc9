package controllers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// Monitoring objects come and go with the spec, with the labels that a Prometheus selects by.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	needCRDs(t)
	ap := newPlatform(t, specOf(t, "monitoring: {labels: {release: prometheus}, scrapeInterval: 30s}"))
	waitReady(t, ap)
	waitCondition(t, ap, assetv1.ConditionMonitoringReady, metav1.ConditionTrue, assetv1.ReasonApplied)
	objects := map[string]client.Object{
		"studio-metrics": &corev1.Service{}, "studio-server": newOptional(manifests.KindServiceMonitor),
		"studio-alerts": newOptional(manifests.KindPrometheusRule), "studio-dashboard": &corev1.ConfigMap{},
	}
	for name, o := range objects {
		get(t, ap, name, o)
		if labels := o.GetLabels(); name != "studio-metrics" && labels["release"] != "prometheus" {
			t.Errorf("%s has the labels %v", describe(o), labels)
		}
	}
	checkScrapes(t, "serviceMonitor/"+ap.Namespace+"/studio-server/0",
		mustKubectl(t, "get", "-n", ap.Namespace, "servicemonitor/studio-server", "-o", "yaml"), mustKubectl(t, "get", "-n", ap.Namespace, "prometheusrule/studio-alerts", "-o", "yaml"))
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		m := &ap.Spec.Monitoring
		m.ServiceMonitor, m.Rules, m.Dashboard = new(false), new(false), new(false)
	})
	waitReady(t, ap)
	for _, o := range objects {
		eventually(t, func() error {
			err := admin.Get(ctx, client.ObjectKeyFromObject(o), o)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("%s is there: %v", describe(o), err)
		})
	}
	if c := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionMonitoringReady); c != nil {
		t.Errorf("nobody asked for monitoring: %v", c)
	}
}

// The objects of config/monitoring are like those that the operator makes.
func TestMonitoringOfTheOperator(t *testing.T) {
	t.Parallel()
	var objects []string
	for _, name := range []string{"service_monitor.yaml", "rules.yaml"} {
		text, err := os.ReadFile("../config/monitoring/" + name)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, strings.Replace(string(text), "metadata:\n", "metadata:\n  namespace: assetplatform-system\n", 1)) // as kustomize does
	}
	checkScrapes(t, "serviceMonitor/assetplatform-system/assetplatform-operator/0", objects...)
}

// checkScrapes has the Prometheus operator take ServiceMonitors and PrometheusRules, and Prometheus what it makes of them, with
// a job of this name. (Debian's Prometheus is built without the discovery of pods, which is left out.)
func checkScrapes(t *testing.T, job string, objects ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(objects, "---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	text := mustRun(t, "prometheus-check", file)
	var config map[string]any
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	jobs, _ := config["scrape_configs"].([]any)
	found := false
	for _, j := range jobs {
		delete(j.(map[string]any), "kubernetes_sd_configs")
		found = found || j.(map[string]any)["job_name"] == job
	}
	if !found {
		t.Errorf("no job is called %s: %s", job, text)
	}
	out, err := yaml.Marshal(config)
	file = filepath.Join(t.TempDir(), "prometheus.yaml")
	if err == nil {
		err = os.WriteFile(file, out, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("promtool", "check", "config", file).CombinedOutput(); err != nil {
		t.Errorf("promtool check config: %v: %s\n%s", err, said, out)
	}
}

// The operator's metrics tell each platform's state while it is there, and who sends requests why.
func TestOperatorMetrics(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	of := func() []string { return series(t, "assetplatform_condition", "platform_namespace="+ap.Namespace) }
	eventually(t, func() error {
		got := of()
		if len(got) != len(ap.Status.Conditions) || !slices.ContainsFunc(got, func(s string) bool {
			return strings.Contains(s, "condition=Ready") && strings.Contains(s, "status=True") && strings.Contains(s, "reason=Ready")
		}) {
			return fmt.Errorf("conditions are %q", got)
		}
		return nil
	})
	server := serving(t, ap)
	if err := retryUpdate(server, func() { server.Spec.RevisionHistoryLimit = new(int32(1)) }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cause=drift code=200 resource=deployments verb=patch", "cause=create code=201 resource=deployments verb=patch", "cause=status code=200 resource=assetplatforms/status verb=patch", "cause=cache code=200 resource=pods verb=watch", "cause=migration code=201 resource=jobs verb=create"} {
		eventually(t, func() error {
			if got := series(t, "assetplatform_api_requests_total", want); len(got) == 0 {
				return fmt.Errorf("no %s in %q", want, series(t, "assetplatform_api_requests_total", ""))
			}
			return nil
		})
	}
	if err := admin.Delete(ctx, ap); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := of(); len(got) > 0 {
			return fmt.Errorf("of a platform that is gone: %q", got)
		}
		return nil
	})
}

// series are the labels of a metric's series that hold a text.
func series(t *testing.T, metric, text string) []string {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, family := range families {
		if family.GetName() != metric {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if line := strings.Join(labels, " "); strings.Contains(line, text) {
				found = append(found, line)
			}
		}
	}
	return found
}
