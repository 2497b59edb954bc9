//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/test/services"
)

// A real Prometheus, configured as the documentation says, scrapes the real pods: every query of both dashboards has an
// answer, and every series that an alert looks at is there.
func TestMonitoring(t *testing.T) {
	installProject(t, "prometheus-operator")
	ap := small(newNamespace(t, "monitoring"), "studio")
	cert, key := services.NewAuthority(t).Issue(t, host, time.Now().Add(time.Hour))
	create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: "own"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key},
	})
	ap.Spec.Networking = assetv1.NetworkingSpec{Host: host, TLS: &assetv1.TLSSpec{SecretName: "own"}}
	vault := newVault(t, "measured")
	create(t, vault.secret(ap.Namespace))
	ap.Spec.Backup = &assetv1.BackupSpec{
		Destinations: []assetv1.BackupDestination{vault.destination()}, Objectives: assetv1.BackupObjectives{RPO: &metav1.Duration{Duration: 24 * time.Hour}},
	}
	create(t, ap)
	waitReady(t, ap)
	waitFor(t, ap, assetv1.ConditionMonitoringReady, metav1.ConditionTrue)
	backUp(t, ap, "first")
	p := startPrometheus(t)
	u := register(t, ap, "artist")
	content := picture(t)
	id := u.upload(t, "hero.png", content)
	load := startLoad(u, id, content, 100*time.Millisecond)
	defer func() { _, _, _ = load.end() }()

	var dashboard corev1.ConfigMap
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: "studio-dashboard"}, &dashboard); err != nil {
		t.Fatal(err)
	}
	operators, err := os.ReadFile("../../config/monitoring/operator-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, text := range []string{dashboard.Data["assetplatform.json"], string(operators)} {
		for _, query := range queriesOf(t, text) {
			p.mustAnswer(t, strings.ReplaceAll(query, "$__rate_interval", "1m"))
			asked++
		}
	}
	rule := &unstructured.Unstructured{}
	rule.SetGroupVersionKind(schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PrometheusRule"})
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: "studio-alerts"}, rule); err != nil {
		t.Fatal(err)
	}
	groups, _, _ := unstructured.NestedSlice(rule.Object, "spec", "groups")
	for _, alert := range groups[0].(map[string]any)["rules"].([]any) {
		// What is only there when something is wrong is left out of the selectors.
		expr := regexp.MustCompile(`, (status|reason)[=!~]+"[^"]*"`).ReplaceAllString(alert.(map[string]any)["expr"].(string), "")
		for _, selector := range regexp.MustCompile(`[a-z_]+\{[^}]*\}`).FindAllString(expr, -1) {
			p.mustAnswer(t, selector)
			asked++
		}
	}
	t.Logf("%d queries, each with an answer", asked)
	if asked < 35 {
		t.Errorf("only %d queries were found", asked)
	}

	// A kind that goes takes nothing along.
	mustKubectl(t, "delete", "crd", "servicemonitors.monitoring.coreos.com")
	waitFor(t, ap, assetv1.ConditionMonitoringReady, metav1.ConditionFalse, "no ServiceMonitor", "install the Prometheus operator")
	waitReady(t, ap)
	installProject(t, "prometheus-operator")
	waitFor(t, ap, assetv1.ConditionMonitoringReady, metav1.ConditionTrue)
}

// queriesOf are the queries of a dashboard's JSON.
func queriesOf(t *testing.T, dashboard string) []string {
	t.Helper()
	var content struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(dashboard), &content); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, panel := range content.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, target.Expr)
		}
	}
	return queries
}

type prometheus struct{ url string }

// startPrometheus runs Debian's Prometheus with config/monitoring/scrape-configs.yaml, as an admin beside the cluster, and
// has it scrape the kubelet's figures of containers as well. Debian's is built without the discovery of pods: it gets them
// from a file, with the labels that the discovery gives.
func startPrometheus(t *testing.T) *prometheus {
	t.Helper()
	directory := t.TempDir()
	cfg, err := ctrl.GetConfig()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"ca": cfg.CAData, "cert": cfg.CertData, "key": cfg.KeyData}
	for name, given := range map[string]string{"ca": cfg.CAFile, "cert": cfg.CertFile, "key": cfg.KeyFile} {
		if given != "" {
			if files[name], err = os.ReadFile(given); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(directory, name), files[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("../../config/monitoring/scrape-configs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	jobs := config["scrape_configs"].([]any)
	discoverPods(t, filepath.Join(directory, "pods.json"))
	for _, job := range jobs {
		job := job.(map[string]any)
		job["scrape_interval"] = "2s"
		delete(job, "kubernetes_sd_configs")
		job["file_sd_configs"] = []any{map[string]any{"files": []any{"pods.json"}}}
	}
	var nodes corev1.NodeList
	if err := cluster.List(ctx, &nodes); err != nil {
		t.Fatal(err)
	}
	api, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	config["scrape_configs"] = append(jobs, map[string]any{
		"job_name": "cadvisor", "scrape_interval": "5s", "scheme": "https", "metrics_path": "/api/v1/nodes/" + nodes.Items[0].Name + "/proxy/metrics/cadvisor",
		"tls_config":     map[string]any{"ca_file": "ca", "cert_file": "cert", "key_file": "key", "insecure_skip_verify": true},
		"static_configs": []any{map[string]any{"targets": []any{api.Host}}},
	})
	if text, err = yaml.Marshal(config); err == nil {
		err = os.WriteFile(filepath.Join(directory, "prometheus.yml"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", services.FreePort(t))
	log, err := os.Create(filepath.Join(directory, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command("prometheus", "--config.file="+filepath.Join(directory, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(directory, "data"), "--web.listen-address="+address)
	server.Stdout, server.Stderr = log, log
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("Prometheus:\n%s", text[max(0, len(text)-3000):])
		}
	})
	return &prometheus{url: "http://" + address}
}

// discoverPods writes all pods' ports with the labels of Prometheus' discovery
// (prometheus.io/docs/prometheus/latest/configuration/configuration, kubernetes_sd_config, role pod).
func discoverPods(t *testing.T, file string) {
	t.Helper()
	var pods corev1.PodList
	if err := cluster.List(ctx, &pods); err != nil {
		t.Fatal(err)
	}
	unfit := regexp.MustCompile(`[^a-zA-Z0-9_]`)
	var groups []map[string]any
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			for _, port := range container.Ports {
				labels := map[string]string{
					"__meta_kubernetes_namespace": pod.Namespace, "__meta_kubernetes_pod_name": pod.Name,
					"__meta_kubernetes_pod_container_name": container.Name, "__meta_kubernetes_pod_container_port_name": port.Name,
				}
				for key, value := range pod.Labels {
					labels["__meta_kubernetes_pod_label_"+unfit.ReplaceAllString(key, "_")] = value
				}
				groups = append(groups, map[string]any{"targets": []string{fmt.Sprintf("%s:%d", pod.Status.PodIP, port.ContainerPort)}, "labels": labels})
			}
		}
	}
	text, err := json.Marshal(groups)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// mustAnswer waits until a query has an answer that holds a number.
func (p *prometheus) mustAnswer(t *testing.T, query string) {
	t.Helper()
	eventually(t, func() error {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(asking, http.MethodGet, p.url+"/api/v1/query?query="+url.QueryEscape(query), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var answer struct {
			Error string
			Data  struct {
				Result []struct{ Value [2]any }
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return err
		}
		for _, series := range answer.Data.Result {
			if value, _ := series.Value[1].(string); value != "NaN" {
				return nil
			}
		}
		return fmt.Errorf("%s has no answer: %+v", query, answer)
	})
}
