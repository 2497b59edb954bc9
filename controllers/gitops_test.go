package controllers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// Who applies a platform again and again, as GitOps tools do, finds it as it was: the operator writes nothing that they
// compare. And they see it become ready by its status alone.
func TestGitOps(t *testing.T) {
	t.Parallel()
	for name, apply := range map[string]func(t *testing.T, file string) string{
		"kubectl apply": func(t *testing.T, file string) string { return mustKubectl(t, "apply", "-f", file) },
		"kubectl apply --server-side": func(t *testing.T, file string) string {
			return mustKubectl(t, "apply", "--server-side", "--field-manager=gitops", "-f", file)
		},
		"Flux": func(t *testing.T, file string) string { // it also waits until the platform is ready
			out := mustRun(t, "flux-apply", file)
			if !strings.HasSuffix(out, ", then unchanged\n") {
				t.Errorf("Flux finds it changed: %s", out)
			}
			return out
		},
		"Argo CD":                    func(t *testing.T, file string) string { return mustRun(t, "argo-sync", file) },
		"Argo CD by ServerSideApply": func(t *testing.T, file string) string { return mustRun(t, "argo-sync", "-server-side", file) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: newNamespace(t, &fakeReadiness{})}}
			file := filepath.Join(t.TempDir(), "platform.yaml")
			// Without monitoring, whose condition changes while other tests install its kinds.
			text := fmt.Sprintf("apiVersion: assetplatform.io/v1alpha1\nkind: AssetPlatform\nmetadata: {name: studio, namespace: %s}\nspec:\n  replicas: 2\n  server: {logLevel: debug}\n  networking: {service: {port: 8080}}\n  monitoring: {serviceMonitor: false, rules: false}\n", ap.Namespace)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Log(apply(t, file))
			waitReady(t, ap)
			before := ap.ResourceVersion
			if out := mustKubectl(t, "diff", "-f", file); out != "" { // it fails where there is a difference
				t.Errorf("a difference: %s", out)
			}
			if out := apply(t, file); strings.HasPrefix(name, "Argo") && out != "AssetPlatform studio: in sync\n" {
				t.Errorf("Argo CD finds it out of sync: %s", out)
			}
			if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
				t.Fatal(err)
			}
			if ap.ResourceVersion != before {
				t.Errorf("the platform is at version %s, and was at %s", ap.ResourceVersion, before)
			}
			if slices.ContainsFunc(ap.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == fieldManager && e.Subresource != "status" }) {
				t.Errorf("the operator owns fields beside the status: %+v", ap.ManagedFields)
			}
		})
	}
}

func mustKubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := plane.Kubectl(arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// peer is the path of one of the programs of hack/peers, which are others' own code.
func peer(t *testing.T, program string) string {
	t.Helper()
	directory, err := exec.Command("../hack/cluster/binaries", "peers").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(directory)), program)
}

// mustRun runs a peer, and returns what it prints.
func mustRun(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	command := exec.Command(peer(t, program), arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+plane.Kubeconfig())
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", program, err, out, said.String())
	}
	return string(out)
}

// Argo CD's health check of a platform says what kstatus says.
func TestArgoHealth(t *testing.T) {
	t.Parallel()
	ready, suspended := newPlatform(t, nil), newPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Suspend = true })
	stalled := newPlatform(t, specOf(t, "pod: {tolerations: [{key: room, operator: Lt, value: no number}]}"))
	waiting := newPlatform(t, externalSpec)
	waitReady(t, ready)
	waitCondition(t, suspended, assetv1.ConditionStalled, metav1.ConditionTrue, "")
	waitCondition(t, stalled, assetv1.ConditionStalled, metav1.ConditionTrue, "")
	waitCondition(t, waiting, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonSecretNotFound)
	edited := ready.DeepCopy()
	edited.Generation++ // and nobody has looked at it yet
	for _, test := range []struct {
		ap           *assetv1.AssetPlatform
		health, says string
	}{
		{ready, "Healthy", "Serving"},
		{suspended, "Suspended", "suspended"},
		{stalled, "Degraded", "spec.pod.tolerations"},
		{waiting, "Progressing", "backend-secrets"},
		{edited, "Progressing", "Waiting for the operator"},
		{&assetv1.AssetPlatform{}, "Progressing", "Waiting for the operator"},
	} {
		if health, message := argoHealth(t, "AssetPlatform", test.ap); health != test.health || !strings.Contains(message, test.says) {
			t.Errorf("%s (%s), want %s; status is %s", health, message, test.health, describeStatus(test.ap))
		}
	}
}

// Of an AssetBackup and an AssetRestore it says so, too.
func TestArgoHealthOfOneTimeJobs(t *testing.T) {
	t.Parallel()
	done, failed := yes(assetv1.ReasonReady, "verified"), no(&finding{reason: "SetDamaged", problem: "it is damaged", remedy: "mend it"})
	for health, o := range map[string]oneTime{"Healthy": {done: &done}, "Degraded": {done: &failed}, "Progressing": {waits: "Waiting"}} {
		b := &assetv1.AssetBackup{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Status: assetv1.AssetBackupStatus{ObservedGeneration: 1}}
		setOneTime(&b.Status.Conditions, 1, o)
		restore := &assetv1.AssetRestore{ObjectMeta: b.ObjectMeta, Status: assetv1.AssetRestoreStatus{ObservedGeneration: 1, Conditions: b.Status.Conditions}}
		for kind, object := range map[string]any{"AssetBackup": b, "AssetRestore": restore} {
			if got, message := argoHealth(t, kind, object); got != health || message == "" {
				t.Errorf("%s: %s (%s), want %s", kind, got, message, health)
			}
		}
	}
}

// argoHealth runs the script as Argo CD does: the object is its global obj, what it returns is a table.
func argoHealth(t *testing.T, kind string, o any) (health, message string) {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", luaValue(state, content))
	text, err := os.ReadFile("../config/gitops/argocd/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var settings corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &settings); err != nil {
		t.Fatal(err)
	}
	if err := state.DoString(settings.Data["resource.customizations.health.assetplatform.io_"+kind]); err != nil {
		t.Fatal(err)
	}
	result := state.Get(-1).(*lua.LTable)
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

func luaValue(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, item := range v {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range v {
			table.Append(luaValue(state, item))
		}
		return table
	case int64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	}
	return lua.LNil
}

// The samples for Flux and Argo CD are what these take, as strictly as their own definitions can tell; and the image that they
// set for the operator is also that of the platforms which name none.
func TestGitOpsSamples(t *testing.T) {
	t.Parallel()
	for _, project := range []string{"argo-cd", "flux-kustomize", "flux-source"} {
		if err := plane.InstallCRDs(project); err != nil {
			t.Fatal(err)
		}
	}
	for namespace, folder := range map[string]string{"argocd": "argocd", "flux-system": "flux"} {
		if err := admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { // the definitions are served a moment after they are made
			_, err := plane.Kubectl("apply", "--dry-run=server", "--validate=strict", "-f", filepath.Join("..", "config", "gitops", folder))
			return err
		})
	}

	copied := filepath.Join(t.TempDir(), "config")
	if err := os.CopyFS(copied, os.DirFS("../config")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(copied, "default", "kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "\nimages: [{name: ghcr.io/assetplatform/assetplatform, newName: registry.example.com/assetplatform, newTag: main}]\n"...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out := mustKubectl(t, "kustomize", filepath.Dir(file))
	if n := strings.Count(out, "registry.example.com/assetplatform:main"); n != 2 || strings.Contains(out, " ghcr.io/assetplatform/assetplatform:dev") {
		t.Errorf("the image is set in %d of 2 places: %s", n, out)
	}
}
