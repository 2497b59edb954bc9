package controllers

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

func TestMinimalPlatformBecomesReady(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	if ap.Status.Image != manifests.DefaultImages.Server || ap.Status.Schema.Current != 1 || ap.Status.Replicas != 3 {
		t.Errorf("status %+v", ap.Status)
	}
	server := get(t, ap, "studio-server", &appsv1.Deployment{})
	if server.Status.ReadyReplicas != 3 {
		t.Errorf("%d replicas are ready", server.Status.ReadyReplicas)
	}
}

// A settled platform costs nothing: no write and no read past the cache, whatever
// touches it without changing anything.
func TestSettledPlatformCostsNothing(t *testing.T) {
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	time.Sleep(2 * time.Second) // the last events of the children arrive
	_, before := sent.since(0)
	for i := range 20 {
		update(t, ap, func(ap *assetv1.AssetPlatform) {
			ap.Annotations = map[string]string{"example.com/touch": fmt.Sprint(i)}
		})
		time.Sleep(50 * time.Millisecond)
	}
	service := get(t, ap, "studio", &corev1.Service{})
	patch := client.MergeFrom(service.DeepCopy())
	service.Annotations = map[string]string{"example.com/note": "somebody else's"}
	if err := admin.Patch(ctx, service, patch); err != nil {
		t.Fatal(err)
	}
	time.Sleep(readinessInterval + 2*time.Second) // one interval, at which every platform is looked at again
	requests, _ := sent.since(before)
	for _, r := range requests {
		if r.verb != "watch" {
			t.Errorf("a settled platform caused: %s", r)
		}
	}
}

func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	server := get(t, ap, "studio-server", &appsv1.Deployment{})
	server.Spec.Replicas = new(int32(1))
	server.Spec.Template.Spec.Containers[0].Image = "example.com/other:1"
	if err := admin.Update(ctx, server); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got := get(t, ap, "studio-server", &appsv1.Deployment{})
		if n, image := ptr.Deref(got.Spec.Replicas, 0), got.Spec.Template.Spec.Containers[0].Image; n != 3 || image != manifests.DefaultImages.Server {
			return fmt.Errorf("%d replicas of %s", n, image)
		}
		return nil
	})

	service := get(t, ap, "studio", &corev1.Service{})
	if err := admin.Delete(ctx, service); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return admin.Get(ctx, client.ObjectKeyFromObject(service), &corev1.Service{}) })

	account := get(t, ap, "studio-server", &corev1.ServiceAccount{})
	account.Labels = nil // now the cache cannot see it
	if err := admin.Update(ctx, account); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := get(t, ap, "studio-server", &corev1.ServiceAccount{}); got.Labels[manifests.LabelManagedBy] != manifests.ManagedBy {
			return fmt.Errorf("labels %v", got.Labels)
		}
		return nil
	})
	waitReady(t, ap)
}
