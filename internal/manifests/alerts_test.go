package manifests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// rules writes the alerts of a PrometheusRule as a rule file of Prometheus, and returns their names.
func rules(t *testing.T, rule map[string]any, file string) (names []string) {
	t.Helper()
	text, err := yaml.Marshal(rule["spec"])
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`(?m)alert: (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, name[1])
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
	var operators map[string]any
	text, err := os.ReadFile("../../config/monitoring/rules.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &operators)
	}
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Concat(
		rules(t, PrometheusRule(samples(t)["minimal"], OfflineFacts(samples(t)["minimal"], DefaultImages)).Object, filepath.Join(directory, "alerts.yaml")),
		rules(t, operators, filepath.Join(directory, "operator.yaml")))
	if len(names) != len(alerts)+1 {
		t.Errorf("the alerts are %q", names)
	}
	for _, arguments := range [][]string{{"check", "rules", "alerts.yaml", "operator.yaml"}, {"test", "rules", "test.yaml"}} {
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
