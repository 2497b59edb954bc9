package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// A managed database whose volume goes is named while the volume is still there, and its
// empty successor is migrated before anything serves from it.
func TestNewVolumeIsMigrated(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	before := ap.Status.Migration.DeepCopy()
	claim := get(t, ap, "studio-postgres", &corev1.PersistentVolumeClaim{})
	if err := admin.Delete(ctx, claim); err != nil {
		t.Fatal(err)
	}
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonVolumeLeaving)
	if !strings.Contains(c.Message, "PersistentVolumeClaim studio-postgres") {
		t.Errorf("message %q", c.Message)
	}
	patch := client.MergeFrom(claim.DeepCopy())
	claim.Finalizers = nil // as when the last pod that used it has ended
	if err := admin.Patch(ctx, claim, patch); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		if m := ap.Status.Migration; m.Target == before.Target || m.Phase != assetv1.MigrationSucceeded {
			return fmt.Errorf("migration %+v", m)
		}
		return nil
	})
	waitReady(t, ap)
	if got := ap.Status.Migration.Attempt; got != before.Attempt+1 {
		t.Errorf("attempt %d after %d", got, before.Attempt)
	}
}

// A generated Secret that is lost is made again, and the part that it opens starts with it.
func TestLostSecretOfAPart(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	for _, name := range []string{"studio-redis", "studio-s3"} {
		mark := func() string {
			for _, v := range get(t, ap, name, &appsv1.StatefulSet{}).Spec.Template.Spec.Containers[0].Env {
				if v.Name == "CREDENTIALS_MARK" {
					return v.Value
				}
			}
			return ""
		}
		old := mark()
		if err := admin.Delete(ctx, get(t, ap, name, &corev1.Secret{})); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if now := mark(); now == old || now == "" {
				return fmt.Errorf("%s still starts with the old Secret (%q)", name, now)
			}
			return nil
		})
		waitReady(t, ap)
	}
}

// A wrong image of a managed part, put right, is no longer in the way.
func TestImageOfAPartPutBack(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{PullError: "not found"})
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Cache = &assetv1.CacheSpec{Managed: &assetv1.ManagedVolumeSpec{Image: image[0]}}
	})
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonImagePull)
	if !strings.Contains(c.Message, "spec.cache.managed.image") {
		t.Errorf("message %q", c.Message)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Cache = nil })
	waitReady(t, ap)
}

// The retry annotation also migrates a database that was emptied or restored behind our back.
func TestRetryAfterSuccess(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	before := ap.Status.Migration.Attempt
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Annotations = map[string]string{assetv1.AnnotationRetry: "again"} })
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		if m := ap.Status.Migration; m.Attempt != before+1 || m.Phase != assetv1.MigrationSucceeded {
			return fmt.Errorf("migration %+v", m)
		}
		return nil
	})
	waitReady(t, ap)
}

// A generated Secret that a quota refuses is made once the quota allows it; nothing but
// time tells.
func TestRefusedSecretIsTriedAgain(t *testing.T) {
	restartOperator(t, operatorOptions{interval: time.Second})
	namespace := newNamespace(t, &fakeReadiness{})
	quota := newQuota(t, namespace, corev1.ResourceList{"secrets": quantity("1")})
	quota.Status.Used["secrets"] = quantity("1")
	if err := admin.Status().Update(ctx, quota); err != nil {
		t.Fatal(err)
	}
	ap := newPlatformIn(t, namespace, nil)
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, "")
	if !strings.Contains(c.Message, "exceeded quota: small") || !strings.Contains(c.Message, "secrets=1") {
		t.Errorf("message %q", c.Message)
	}
	if err := admin.Delete(ctx, quota); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
}
