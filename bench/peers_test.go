package bench

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/assetplatform/assetplatform/internal/manifests"
)

// objects are what the operator makes for n platforms.
func (o *operatorBench) objects(namespace string, n int) (list [][]client.Object) {
	for i := range n {
		ap := platform(namespace, i+1)
		ap.UID = "unknown"
		objects, job := manifests.Plan(ap, manifests.OfflineFacts(ap, manifests.DefaultImages))
		list = append(list, append(objects, job))
	}
	return list
}

// raw applies the objects server-side, as many at a time as the operator has workers, and says how long that takes.
func (o *operatorBench) raw(b *testing.B, platforms [][]client.Object) time.Duration {
	b.Helper()
	began := time.Now()
	each(b, len(platforms), func(i int) error {
		for _, object := range platforms[i-1] {
			intent, err := manifests.Intent(object)
			if err != nil {
				return err
			}
			if err := o.admin.Apply(context.Background(), client.ApplyConfigurationFromUnstructured(intent), client.FieldOwner("raw"), client.ForceOwnership); err != nil {
				return err
			}
		}
		return nil
	})
	return time.Since(began)
}

// kubectlApply says how long kubectl apply -f takes for the objects.
func (o *operatorBench) kubectlApply(b *testing.B, platforms [][]client.Object) time.Duration {
	b.Helper()
	file := filepath.Join(b.TempDir(), "all.yaml")
	if err := os.WriteFile(file, asYAML(b, platforms), 0o600); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if _, err := o.plane.Kubectl("apply", "-f", file); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// helmInstall says how long helm install takes for the objects.
func (o *operatorBench) helmInstall(b *testing.B, platforms [][]client.Object) time.Duration {
	b.Helper()
	chart := b.TempDir()
	for name, content := range map[string][]byte{
		"Chart.yaml": []byte("{apiVersion: v2, name: studio, version: 1.0.0}"), "files/all.yaml": asYAML(b, platforms),
		"templates/all.yaml": []byte(`{{ .Files.Get "files/all.yaml" }}`), // as it is: alerts have templates of their own
	} {
		file := filepath.Join(chart, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
			b.Fatal(err)
		}
	}
	began := time.Now()
	command := exec.Command(built(b, "peers", "helm"), "install", "studio", chart, "--namespace", "helm")
	command.Env = append(os.Environ(), "KUBECONFIG="+o.kubeconfig, "HOME="+b.TempDir())
	if out, err := command.CombinedOutput(); err != nil {
		b.Fatalf("helm install: %v: %s", err, out)
	}
	return time.Since(began)
}

// built is the path of a program of a group of hack/cluster/binaries.
func built(b testing.TB, group, name string) string {
	b.Helper()
	directory, err := exec.Command("../hack/cluster/binaries", group).Output()
	if err != nil {
		b.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(directory)), name)
}

// asYAML are the objects of all platforms as one stream.
func asYAML(b *testing.B, platforms [][]client.Object) []byte {
	b.Helper()
	var text bytes.Buffer
	for _, objects := range platforms {
		for _, object := range objects {
			one, err := manifests.PlanYAML(object)
			if err != nil {
				b.Fatal(err)
			}
			text.WriteString("---\n")
			text.Write(one)
		}
	}
	return text.Bytes()
}
