package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/internal/manifests"
)

func runPlan(t *testing.T, stdin string, arguments ...string) (string, error) {
	t.Helper()
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(append([]string{"plan"}, arguments...))
	err := root.Execute()
	return out.String(), err
}

func TestPlanOfEverySample(t *testing.T) {
	samples, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, sample := range samples {
		first, err := runPlan(t, "", "--offline", "-f", sample)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		second, err := runPlan(t, string(text), "--offline", "-f", "-")
		if err != nil {
			t.Fatal(err)
		}
		if first != second {
			t.Errorf("%s: two plans of the same file differ", sample)
		}
		for _, kind := range []string{"Deployment", "Service", "Job", "ConfigMap", "ServiceAccount"} {
			if !strings.Contains(first, "\nkind: "+kind+"\n") {
				t.Errorf("%s: the plan holds no %s", sample, kind)
			}
		}
	}
}

// A plan has the operator's flags for images, and shows what they name.
func TestPlanTakesTheOperatorsImages(t *testing.T) {
	operator := newOperatorCommand()
	for _, flag := range []string{"server-image", "postgres-image", "redis-image", "s3-image"} {
		theirs := operator.Flag(flag)
		out, err := runPlan(t, "", "--offline", "-f", "../../config/samples/minimal.yaml")
		if err != nil || theirs == nil || !strings.Contains(out, "image: "+theirs.DefValue+"\n") {
			t.Errorf("--%s of the operator: %+v; a plan without flags: %v\n%s", flag, theirs, err, out)
		}
		out, err = runPlan(t, "", "--offline", "-f", "../../config/samples/minimal.yaml", "--"+flag, "example.com/ours:1")
		if err != nil || !strings.Contains(out, "image: example.com/ours:1\n") {
			t.Errorf("--%s: %v\n%s", flag, err, out)
		}
	}
}

// What kubectl get prints of a live platform is planned as the operator would apply it: with the
// images that its status pins, and not with those of this program.
func TestPlanOfALivePlatform(t *testing.T) {
	const live = `
apiVersion: assetplatform.io/v1alpha1
kind: AssetPlatform
metadata: {name: %s, namespace: games, resourceVersion: "7", uid: 5c1b1a3e}
spec: {deletionPolicy: Retain, replicas: 3, database: {managed: {image: example.com/postgres:named}}}
status:
  image: example.com/assets:pinned
  replicas: 3
  components: [{name: postgres, ready: 1, desired: 1, image: example.com/postgres:pinned}, {name: redis, ready: 1, desired: 1, image: example.com/redis:pinned}, {name: server, ready: 3, desired: 3}]
`
	one, two := fmt.Sprintf(live, "studio"), fmt.Sprintf(live, "other")
	want, err := runPlan(t, one, "--offline", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	for image, times := range map[string]int{
		"example.com/assets:pinned": 2, "example.com/postgres:named": 1, "example.com/redis:pinned": 1, manifests.DefaultImages.S3: 1,
	} {
		if n := strings.Count(want, " image: "+image+"\n"); n != times {
			t.Errorf("%s runs in %d pods, want %d, in\n%s", image, n, times, want)
		}
	}
	more, err := runPlan(t, one+"---"+two, "--offline", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	item := func(document string) string { return "-" + strings.ReplaceAll(document, "\n", "\n  ") + "\n" }
	list := "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: \"\"}\nitems:\n" + item(one) + item("\napiVersion: v1\nkind: Secret") + item(two)
	if got, err := runPlan(t, list, "--offline", "-f", "-"); err != nil || got != more {
		t.Errorf("a list and its items one by one are planned differently: %v\n%s", err, got)
	}
}

func TestPlanShowsNoSecretValue(t *testing.T) {
	out, err := runPlan(t, "", "--offline", "-f", "../../config/samples/external.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, `DATABASE_URL: ""`) || strings.Contains(out, "change-me") {
		t.Errorf("values of Secrets in\n%s", out)
	}
}

func TestPlanRefuses(t *testing.T) {
	const platform = "apiVersion: assetplatform.io/v1alpha1\nkind: AssetPlatform\n"
	for name, c := range map[string]struct{ stdin, names string }{
		"a field that does not exist": {platform + "metadata: {name: studio}\nspec: {replica: 3}\n", `unknown field "spec.replica"`},
		"no name":                     {platform, "metadata.name"},
		"no platform":                 {"apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", "no AssetPlatform"},
		"no YAML":                     {"a: [", "yaml"},
		"an empty file":               {"", "no AssetPlatform"},
		"an empty list":               {"apiVersion: v1\nkind: List\nitems: []\n", "no AssetPlatform"},
		"a list with a wrong item": {
			"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret}\n- {apiVersion: assetplatform.io/v1alpha1, kind: AssetPlatform, metadata: {name: a}, spec: {replica: 3}}\n",
			`items[1]: unknown field "spec.replica"`,
		},
	} {
		if out, err := runPlan(t, c.stdin, "--offline", "-f", "-"); err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: %v; want an error that names %q; printed %q", name, err, c.names, out)
		}
	}
	if _, err := runPlan(t, "", "-f", "x.yaml"); err == nil || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("without --offline: %v", err)
	}
	if _, err := runPlan(t, "", "--offline", "-f", "does-not-exist.yaml"); err == nil || !strings.Contains(err.Error(), "does-not-exist.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}
