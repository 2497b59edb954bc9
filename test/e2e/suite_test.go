//go:build e2e

// Package e2e has the scenarios that need real pods: the operator runs in a pod of a
// real node, and the platforms' API is used through their Services. hack/e2e starts
// the node. Scenarios run one after the other: two cores carry one platform well.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/controllers"
)

const (
	operatorNamespace = "assetplatform-system"
	operatorName      = "assetplatform-operator"

	// patience is how long anything may take on a busy machine of two cores.
	patience = 4 * time.Minute
)

var (
	cluster    client.Client
	ctx        = context.Background()
	firstImage = os.Getenv("E2E_IMAGE")      // what the operator runs, and platforms that name none
	nextImage  = os.Getenv("E2E_NEXT_IMAGE") // another version of it
)

func TestMain(m *testing.M) {
	if err := install(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// install does what a user does: kubectl apply -k config/default, with the image in use.
func install() error {
	if firstImage == "" || nextImage == "" {
		return fmt.Errorf("E2E_IMAGE and E2E_NEXT_IMAGE are not set: run hack/e2e")
	}
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	if cluster, err = client.New(cfg, client.Options{Scheme: controllers.NewScheme()}); err != nil {
		return err
	}
	objects, err := kubectl("", "kustomize", "../../config/default")
	if err != nil {
		return err
	}
	objects = strings.ReplaceAll(objects, "ghcr.io/assetplatform/assetplatform:dev", firstImage)
	if _, err := kubectl(objects, "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		return err
	}
	_, err = kubectl("", "rollout", "status", "-n", operatorNamespace, "deployment/"+operatorName, "--timeout=180s")
	return err
}

func kubectl(stdin string, arguments ...string) (string, error) {
	command := exec.Command("kubectl", arguments...)
	command.Stdin = strings.NewReader(stdin)
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(arguments, " "), err, out)
	}
	return string(out), nil
}

func mustKubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := kubectl("", arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// newNamespace makes a namespace that enforces the restricted pod security level.
func newNamespace(t *testing.T, name string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if err := client.IgnoreAlreadyExists(cluster.Create(ctx, ns)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, name)
			return
		}
		// Not waited for: Kubernetes looks again only after half of the pods' grace period.
		if err := cluster.Delete(ctx, ns); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	return name
}

// explain prints what a person would look at.
func explain(t *testing.T, namespace string) {
	for _, arguments := range [][]string{
		{"get", "ap,all,pvc,secret,configmap", "-n", namespace},
		{"get", "ap", "-n", namespace, "-o", "yaml"},
		{"get", "events", "-n", namespace, "--sort-by=.lastTimestamp"},
		{"logs", "-n", operatorNamespace, "deployment/" + operatorName, "--tail=40"},
	} {
		out, err := kubectl("", arguments...)
		t.Logf("kubectl %s (%v)\n%s", strings.Join(arguments, " "), err, out)
	}
}

// small is a platform that leaves room for others on two cores.
func small(namespace, name string) *assetv1.AssetPlatform {
	size := func(s string) *assetv1.ManagedVolumeSpec {
		return &assetv1.ManagedVolumeSpec{Storage: new(resource.MustParse(s))}
	}
	return &assetv1.AssetPlatform{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: assetv1.AssetPlatformSpec{
			Replicas: new(int32(2)),
			Resources: &corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
			},
			Database: &assetv1.DatabaseSpec{Managed: size("1Gi")},
			Cache:    &assetv1.CacheSpec{Managed: size("256Mi")},
			Storage:  &assetv1.StorageSpec{Managed: size("1Gi")},
		},
	}
}

func create(t *testing.T, o client.Object) {
	t.Helper()
	if err := cluster.Create(ctx, o); err != nil {
		t.Fatal(err)
	}
}

// edit changes a platform as kubectl edit does.
func edit(t *testing.T, ap *assetv1.AssetPlatform, change func(*assetv1.AssetPlatform)) {
	t.Helper()
	eventually(t, func() error {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		change(ap)
		return cluster.Update(ctx, ap)
	})
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", patience, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// waitFor waits until a condition of the newest generation has this status and its
// message holds every word; it returns the message.
func waitFor(t *testing.T, ap *assetv1.AssetPlatform, condition string, status metav1.ConditionStatus, words ...string) string {
	t.Helper()
	started := time.Now()
	var message string
	eventually(t, func() error {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		c := meta.FindStatusCondition(ap.Status.Conditions, condition)
		if c == nil || c.Status != status || c.ObservedGeneration != ap.Generation {
			return fmt.Errorf("want %s=%s of generation %d, conditions are %+v", condition, status, ap.Generation, ap.Status.Conditions)
		}
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return fmt.Errorf("%s says %q; want it to name %q", condition, c.Message, word)
			}
		}
		message = c.Message
		return nil
	})
	t.Logf("%5.1f s until %s=%s: %s", time.Since(started).Seconds(), condition, status, message)
	return message
}

func waitReady(t *testing.T, ap *assetv1.AssetPlatform) {
	t.Helper()
	waitFor(t, ap, assetv1.ConditionReady, metav1.ConditionTrue)
}
