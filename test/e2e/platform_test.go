//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// One platform's life: it serves, it is hurt and repaired, it is given an image that
// does not exist, another that does, and an operator that dies in the middle.
func TestPlatform(t *testing.T) {
	t.Parallel()
	ap := small(newNamespace(t, "platform"), "studio")
	create(t, ap)
	waitReady(t, ap)

	u := register(t, ap, "artist")
	content := picture(t)
	id := u.upload(t, "勇者.png", content)
	u.mustDownload(t, id, content)
	eventually(t, func() error {
		_, err := u.send(http.MethodGet, "/api/assets/"+id+"/thumbnail", "", nil)
		return err
	})

	t.Run("a killed pod is replaced while the others serve", func(t *testing.T) {
		pods := serverPods(t, ap)
		if err := cluster.Delete(ctx, &pods[0], client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
		u.mustDownload(t, id, content)
		eventually(t, func() error {
			server := deployment(t, ap)
			for _, pod := range serverPods(t, ap) {
				if pod.UID == pods[0].UID {
					return fmt.Errorf("pod %s is still there", pod.Name)
				}
			}
			if server.Status.ReadyReplicas != 2 {
				return fmt.Errorf("%d pods are ready", server.Status.ReadyReplicas)
			}
			return nil
		})
		waitReady(t, ap)
	})
	t.Run("a deleted child comes back", func(t *testing.T) {
		for _, child := range []client.Object{
			&appsv1.Deployment{ObjectMeta: child(ap, "server")},
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: ap.Name}},
			&appsv1.StatefulSet{ObjectMeta: child(ap, "postgres")},
		} {
			if err := cluster.Delete(ctx, child); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second) // the platform has noticed
		waitReady(t, ap)
		u.url = serviceURL(t, ap) // a new Service has a new address
		eventually(t, func() error { return u.download(id, content) })
	})
	t.Run("a child edited by hand is put right", func(t *testing.T) {
		mustKubectl(t, "-n", ap.Namespace, "set", "image", "deployment/studio-server", "server=example.com/other:1")
		mustKubectl(t, "-n", ap.Namespace, "scale", "deployment/studio-server", "--replicas=1")
		eventually(t, func() error {
			server := deployment(t, ap)
			if n := ptr.Deref(server.Spec.Replicas, 0); n != 2 || server.Spec.Template.Spec.Containers[0].Image != firstImage {
				return fmt.Errorf("%d replicas of %s", n, server.Spec.Template.Spec.Containers[0].Image)
			}
			return nil
		})
		waitReady(t, ap)
	})
	t.Run("another manager that keeps changing a field is named, and the storm stops", func(t *testing.T) {
		fighting, stop := context.WithCancel(ctx)
		var ended sync.WaitGroup
		ended.Go(func() { // as an autoscaler of somebody else's does
			for ; fighting.Err() == nil; time.Sleep(100 * time.Millisecond) {
				_, _ = kubectl("", "-n", ap.Namespace, "scale", "deployment/studio-server", "--replicas=3")
			}
		})
		defer func() { stop(); ended.Wait() }()
		waitFor(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, "kubectl keeps changing spec.replicas of Deployment studio-server", "stop the other")
		before := deployment(t, ap).Generation
		time.Sleep(5 * time.Second)
		if edits := deployment(t, ap).Generation - before; edits > 2 { // put back once, and changed once
			t.Errorf("%d edits in five seconds", edits)
		}
		u.mustDownload(t, id, content)
		stop()
		ended.Wait()
		waitReady(t, ap)
		if n := ptr.Deref(deployment(t, ap).Spec.Replicas, 0); n != 2 {
			t.Errorf("%d replicas", n)
		}
	})
	t.Run("kubectl scale works on the platform", func(t *testing.T) {
		mustKubectl(t, "-n", ap.Namespace, "scale", "ap/studio", "--replicas=3")
		waitReady(t, ap)
		nodes := map[string]bool{}
		for _, pod := range serverPods(t, ap) {
			nodes[pod.Spec.NodeName] = true
		}
		if got := len(serverPods(t, ap)); got != 3 || len(nodes) != 2 {
			t.Errorf("%d server pods on the nodes %v", got, nodes)
		}
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(2)) })
		waitReady(t, ap)
	})
	t.Run("an image that does not exist stops nothing", func(t *testing.T) {
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = "ghcr.io/assetplatform/assetplatform:missing" })
		waitFor(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, "ghcr.io/assetplatform/assetplatform:missing", "spec.image")
		u.mustDownload(t, id, content)
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = firstImage })
		waitReady(t, ap)
		u.mustDownload(t, id, content)
	})
	t.Run("the operator killed in the middle of a rollout", func(t *testing.T) {
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = nextImage })
		for range 3 {
			mustKubectl(t, "-n", operatorNamespace, "delete", "pod", "-l", "app.kubernetes.io/name="+operatorName, "--grace-period=0", "--force")
			time.Sleep(2 * time.Second)
		}
		waitReady(t, ap)
		if ap.Status.Image != nextImage {
			t.Errorf("status.image is %s", ap.Status.Image)
		}
		u.mustDownload(t, id, content)
		var jobs int
		for line := range strings.Lines(mustKubectl(t, "-n", ap.Namespace, "get", "jobs", "-o", "name")) {
			t.Log(strings.TrimSpace(line))
			jobs++
		}
		if jobs != 1 {
			t.Errorf("%d migration Jobs are left, want the last one", jobs)
		}
	})
	t.Run("a suspended platform is left as it is", func(t *testing.T) {
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = true })
		waitReady(t, ap)
		mustKubectl(t, "-n", ap.Namespace, "delete", "service", "studio")
		waitFor(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, "Service studio is missing", "set spec.suspend to false")
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = false })
		waitReady(t, ap)
		u.url = serviceURL(t, ap)
		eventually(t, func() error { return u.download(id, content) })
	})
	t.Run("a platform hibernates and wakes", func(t *testing.T) {
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Hibernate = true })
		waitFor(t, ap, assetv1.ConditionReady, metav1.ConditionTrue, "Hibernating")
		eventually(t, func() error {
			if left := mustKubectl(t, "-n", ap.Namespace, "get", "pods", "-o", "name", "--field-selector=status.phase!=Succeeded"); left != "" {
				return fmt.Errorf("running: %s", left)
			}
			return nil
		})
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Hibernate = false })
		waitReady(t, ap)
		eventually(t, func() error { return u.download(id, content) })
	})
}

// A foreign object of a child's name is left as it is, and said so.
func TestNameConflict(t *testing.T) {
	t.Parallel()
	ap := small(newNamespace(t, "conflict"), "studio")
	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: "studio"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "other"}, Ports: []corev1.ServicePort{{Port: 8080}}},
	}
	create(t, foreign)
	create(t, ap)
	waitFor(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, "Service studio", assetv1.AnnotationAdopt)
	var now corev1.Service
	if err := cluster.Get(ctx, client.ObjectKeyFromObject(foreign), &now); err != nil || now.ResourceVersion != foreign.ResourceVersion {
		t.Errorf("the foreign Service was touched: %v %v", now, err)
	}
	mustKubectl(t, "-n", ap.Namespace, "delete", "service", "studio")
	waitReady(t, ap)
}

// What the cluster will not give is named with the field that asks for it, and what the
// user or the cluster's admin mends is taken up without more ado. Old pods go on serving.
func TestWhatTheClusterRefuses(t *testing.T) {
	t.Parallel()
	ap := small(newNamespace(t, "refusals"), "studio")
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}
	create(t, quota)
	eventually(t, func() error {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(quota), quota); err != nil {
			return err
		}
		if len(quota.Status.Hard) == 0 {
			return fmt.Errorf("the quota is not in force yet")
		}
		return nil
	})
	ap.Spec.Cache.Managed.StorageClassName = new("fats")
	create(t, ap)
	waitFor(t, ap, assetv1.ConditionDatabaseReady, metav1.ConditionFalse, "refuses the pods of the managed database", "exceeded quota: few", "raise the quota")
	waitFor(t, ap, assetv1.ConditionCacheReady, metav1.ConditionFalse, `"fats" not found`, "correct storageClassName", "spec.cache.managed")
	quota.Spec.Hard[corev1.ResourcePods] = resource.MustParse("20")
	if err := cluster.Update(ctx, quota); err != nil {
		t.Fatal(err)
	}
	edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Cache.Managed.StorageClassName = nil })
	waitReady(t, ap)

	for name, test := range map[string]struct {
		resource corev1.ResourceName
		value    string
		words    []string
	}{
		"memory":    {corev1.ResourceMemory, "7Mi", []string{"was killed at its memory limit of 7Mi", "raise spec.resources.limits.memory"}},
		"processor": {corev1.ResourceCPU, "1k", []string{"fits on no node", "Insufficient cpu", "lower spec.resources.requests"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := ap.Spec.Resources.DeepCopy()
			edit(t, ap, func(ap *assetv1.AssetPlatform) {
				ap.Spec.Resources.Requests[test.resource] = resource.MustParse(test.value)
				ap.Spec.Resources.Limits[test.resource] = resource.MustParse(test.value)
			})
			waitFor(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, test.words...)
			if n := deployment(t, ap).Status.AvailableReplicas; n != 2 {
				t.Errorf("%d pods serve", n)
			}
			edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Resources = before })
			waitReady(t, ap)
		})
	}
}

// Retained data is taken back by a platform made again; deleted data is gone.
func TestDeletion(t *testing.T) {
	t.Parallel()
	ap := small(newNamespace(t, "deletion"), "studio")
	create(t, ap)
	waitReady(t, ap)
	content := picture(t)
	id := register(t, ap, "artist").upload(t, "hero.png", content)

	remove(t, ap)
	eventually(t, func() error { return only(t, ap.Namespace, "persistentvolumeclaim/", "secret/") })

	again := small(ap.Namespace, ap.Name)
	again.Spec.DeletionPolicy = assetv1.DeletionDelete
	create(t, again)
	waitReady(t, again)
	login(t, again, "artist").mustDownload(t, id, content)

	remove(t, again)
	eventually(t, func() error { return only(t, ap.Namespace) })
}

func remove(t *testing.T, ap *assetv1.AssetPlatform) {
	t.Helper()
	mustKubectl(t, "-n", ap.Namespace, "delete", "ap", ap.Name, "--timeout=120s")
}

// only says what is in a namespace beside the kinds named.
func only(t *testing.T, namespace string, kinds ...string) error {
	t.Helper()
	var left []string
	for line := range strings.Lines(mustKubectl(t, "-n", namespace, "get", "deployments,statefulsets,replicasets,pods,services,serviceaccounts,jobs,configmaps,secrets,pvc,hpa,pdb,networkpolicies", "-o", "name")) {
		name := strings.TrimSpace(line)
		expected := name == "serviceaccount/default" || name == "configmap/kube-root-ca.crt"
		for _, kind := range kinds {
			expected = expected || strings.HasPrefix(name, kind)
		}
		if !expected {
			left = append(left, name)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left in %s: %s", namespace, strings.Join(left, ", "))
	}
	return nil
}

func child(ap *assetv1.AssetPlatform, suffix string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ap.Namespace, Name: ap.Name + "-" + suffix}
}

func deployment(t *testing.T, ap *assetv1.AssetPlatform) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: child(ap, "server")}
	if err := cluster.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// serverPods are those that are not about to go.
func serverPods(t *testing.T, ap *assetv1.AssetPlatform) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := cluster.List(ctx, &pods, client.InNamespace(ap.Namespace), client.MatchingLabels{"app.kubernetes.io/component": "server"}); err != nil {
		t.Fatal(err)
	}
	var running []corev1.Pod
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			running = append(running, pod)
		}
	}
	return running
}
