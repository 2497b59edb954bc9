package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// staleClient is the real client, but for one object that it shows as it was.
type staleClient struct {
	client.Client
	was *corev1.ServiceAccount
}

func (c staleClient) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	if account, ok := into.(*corev1.ServiceAccount); ok && c.was != nil && key == client.ObjectKeyFromObject(c.was) {
		c.was.DeepCopyInto(account)
		return nil
	}
	return c.Client.Get(ctx, key, into, options...)
}

// A cache that does not show our last apply yet proves nothing: an intent that goes there
// and back would be taken for settled while the cluster holds the one between.
func TestStaleCacheProvesNothing(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	stale := staleClient{Client: admin}
	now := time.Now()
	a := &applier{client: &stale, uncached: admin, secrets: admin, clock: func() time.Time { return now }}
	apply := func(note string) bool {
		t.Helper()
		account := manifests.ServerServiceAccount(ap)
		account.Name = "of-the-test"
		account.Annotations = map[string]string{"example.com/note": note}
		settled, err := a.apply(ctx, ap, account)
		if err != nil {
			t.Fatal(err)
		}
		return settled
	}
	live := func() *corev1.ServiceAccount { return get(t, ap, "of-the-test", &corev1.ServiceAccount{}) }
	apply("one")
	was := live()
	if !apply("one") {
		t.Error("what was applied is not settled")
	}
	apply("two")
	stale.was = was
	if apply("one") {
		t.Error("settled, as an old cache shows it")
	}
	if got := live().Annotations["example.com/note"]; got != "one" {
		t.Errorf("the cluster holds %q", got)
	}
	// Nor is the same applied again while the cache catches up: it would undo, unnoticed, what somebody has changed since.
	theirs := live()
	if err := retryUpdate(theirs, func() { theirs.Annotations["example.com/note"] = "theirs" }); err != nil {
		t.Fatal(err)
	}
	account := manifests.ServerServiceAccount(ap)
	account.Name, account.Annotations = "of-the-test", map[string]string{"example.com/note": "one"}
	if _, err := a.apply(ctx, ap, account); !errors.Is(err, errNotSeen) {
		t.Errorf("while the cache is behind: %v", err)
	}
	if got := live().Annotations["example.com/note"]; got != "theirs" {
		t.Errorf("the cluster holds %q", got)
	}
	now = now.Add(cacheDelay) // but that ends
	if apply("one"); live().Annotations["example.com/note"] != "one" {
		t.Errorf("the cluster holds %q", live().Annotations["example.com/note"])
	}
	stale.was = nil
	if !apply("one") {
		t.Error("what was applied is not settled, now that the cache shows it")
	}
}

// A pass that cannot find something out says nothing: Ready never speaks of a spec
// that nobody could look at.
func TestFailedPassSaysNothing(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Image = "example.com/failing:1" })
	waitReady(t, ap)
	_, start := sent.since(0)
	namespace := ap.Namespace // ap is written to while requests are sent
	sent.breakDown(func(r request) bool { return r.namespace == namespace && r.resource == "secrets" && r.verb == "get" })
	setSecret(t, ap, "unrelated", "makes it read again")
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = "example.com/failing:2" })
	eventually(t, func() error {
		failed := 0
		requests, _ := sent.since(start)
		for _, r := range requests {
			if r.namespace == ap.Namespace && r.status == http.StatusTeapot {
				failed++
			}
		}
		if failed < 6 {
			return fmt.Errorf("%d requests failed", failed)
		}
		return nil
	})
	if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
		t.Fatal(err)
	}
	if ap.Status.ObservedGeneration == ap.Generation {
		t.Errorf("generation %d was observed by a pass that failed: %s", ap.Generation, describeStatus(ap))
	}
	if !meta.IsStatusConditionTrue(ap.Status.Conditions, assetv1.ConditionReady) {
		t.Error("what was known of the generation before is lost")
	}
	sent.breakDown(nil)
	waitReady(t, ap)
}

// The wait for the cache ends: after a restore of the cluster it shows older versions for long.
func TestWaitForTheCacheEnds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	last := writtenStatus{resourceVersion: "1000", at: now}
	old, fresh := &assetv1.AssetPlatform{}, &assetv1.AssetPlatform{}
	old.ResourceVersion, fresh.ResourceVersion = "999", "1000"
	if !last.hides(old, now.Add(time.Second)) || last.hides(fresh, now) || last.hides(old, now.Add(cacheDelay)) {
		t.Error("an old object is to be waited out for cacheDelay, and no other")
	}
}

var errBroken = errors.New("broken by the test")

// blindClient is the real client, but shows no Jobs: a cache that is far behind.
type blindClient struct{ client.Client }

func (c blindClient) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if _, jobs := list.(*batchv1.JobList); jobs {
		return nil
	}
	return c.Client.List(ctx, list, options...)
}

// A Job that the cache does not show yet is seen before another is made.
func TestJobsAreCountedPastTheCache(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, externalSpec) // without its Secret the suite's operator leaves its migration alone
	waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonSecretNotFound)
	first := manifests.Facts{TargetImage: "example.com/counted:1", Attempt: 1, Credentials: manifests.Credentials{DatabaseURL: "postgres://h/d"}}
	plane.Kubelet.SetImage(first.TargetImage, controlplane.Image{Hold: true})
	old := manifests.MigrateJob(ap, first)
	if err := admin.Create(ctx, old); err != nil {
		t.Fatal(err)
	}
	second := first
	second.TargetImage, second.Attempt = "example.com/counted:2", 2
	patch := client.MergeFrom(ap.DeepCopy())
	ap.Status.Migration = nextAttempt(ap, first)
	ap.Status.Migration = nextAttempt(ap, second)
	if err := admin.Status().Patch(ctx, ap, patch); err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Client: blindClient{admin}, APIReader: admin}
	if err := r.startMigration(ctx, &pass{ap: ap, stored: ap.DeepCopy(), facts: second, databaseStarted: true}); err != nil {
		t.Fatal(err)
	}
	if ap.Status.Migration.Phase != assetv1.MigrationPending {
		t.Errorf("phase %s while another migration runs", ap.Status.Migration.Phase)
	}
	if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: ap.Status.Migration.Job}, &batchv1.Job{}); !apierrors.IsNotFound(err) {
		t.Errorf("two migrations run: %v", err)
	}
	eventually(t, func() error { // and the superseded one is ended
		if err := admin.Get(ctx, client.ObjectKeyFromObject(old), old); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Job %s is there: %v", old.Name, err)
		}
		return nil
	})
}
