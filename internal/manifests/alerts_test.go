package manifests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// rules writes the alerts of the smallest sample as a rule file of Prometheus.
func rules(t *testing.T, file string) (names []string) {
	t.Helper()
	ap := samples(t)["minimal"]
	spec, _, err := unstructured.NestedMap(PrometheusRule(ap, OfflineFacts(ap, DefaultImages)).Object, "spec")
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(spec)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		names = append(names, a.name)
	}
	return names
}

// Each alert fires when it should, and not next to its threshold, as Prometheus itself evaluates it; and each has its
// section in the runbook.
func TestAlerts(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	tests, err := os.ReadFile("testdata/alerts.test.yaml")
	if err == nil {
		err = os.WriteFile(filepath.Join(directory, "test.yaml"), tests, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	names := rules(t, filepath.Join(directory, "alerts.yaml"))
	for _, arguments := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "test.yaml"}} {
		command := exec.Command("promtool", arguments...)
		command.Dir = directory
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, out)
		}
	}
	book, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		fires, not := name+" fires", name+" does not fire"
		if !strings.Contains(string(tests), fires) || !strings.Contains(string(tests), not) {
			t.Errorf("no test that %s, or none that it does not", fires)
		}
		if !strings.Contains(string(book), "\n## "+name+"\n") {
			t.Errorf("docs/runbook.md has no section %s", name)
		}
	}
}
