package controllers

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
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

// The longest name that is admitted works as well: every child's name and label fits.
func TestLongestNameBecomesReady(t *testing.T) {
	t.Parallel()
	ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{
		Name: "a-name-of-sixty-three-characters-is-the-longest-that-is-allowed", Namespace: newNamespace(t, &fakeReadiness{}),
	}}
	if err := admin.Create(ctx, ap); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
}

// A healthy rollout does not flap: Ready goes from true to false once and back once,
// and the number of status writes does not grow with anything but the pods.
func TestHealthyRolloutDoesNotFlap(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = "example.com/assets:2" })
	waitReady(t, ap)
	eventually(t, func() error { // the watch may come after what was read
		if versions := seen.versions(ap); len(versions) == 0 || versions[len(versions)-1].ResourceVersion != ap.ResourceVersion {
			return fmt.Errorf("version %s was not seen yet", ap.ResourceVersion)
		}
		return nil
	})
	var turns []metav1.ConditionStatus
	writes := 0
	for _, version := range seen.versions(ap) {
		ready := meta.FindStatusCondition(version.Status.Conditions, assetv1.ConditionReady)
		if ready == nil {
			continue
		}
		writes++
		if len(turns) == 0 || turns[len(turns)-1] != ready.Status {
			turns = append(turns, ready.Status)
		}
	}
	if want := []metav1.ConditionStatus{"False", "True", "False", "True"}; fmt.Sprint(turns) != fmt.Sprint(want) {
		t.Errorf("Ready went through %v, want %v", turns, want)
	}
	if writes > 40 {
		t.Errorf("two rollouts of three pods took %d versions of the object", writes)
	}
	t.Logf("%d versions", writes)
}

// Events tell of changes, and of nothing that stays as it is.
func TestEventsOnTransitionsOnly(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Image = "example.com/events:1" })
	waitReady(t, ap)
	for i := range 10 {
		update(t, ap, func(ap *assetv1.AssetPlatform) {
			ap.Annotations = map[string]string{"example.com/touch": fmt.Sprint(i)}
		})
	}
	plane.Kubelet.SetImage("example.com/events:2", controlplane.Image{PullError: "not found"})
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = "example.com/events:2" })
	waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonImagePull)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = "example.com/events:1" })
	waitReady(t, ap)
	eventually(t, func() error {
		events := platformEvents(t, ap)
		count := map[string]int{}
		for _, e := range events {
			count[e.Type+" "+e.Reason]++
		}
		if count["Warning ImagePullFailed"] == 0 || count["Normal Ready"] == 0 || count["Normal Migrated"] == 0 {
			return fmt.Errorf("events %v", count)
		}
		if len(events) > 20 {
			t.Fatalf("%d events of three rollouts: %v", len(events), count)
		}
		return nil
	})
}

func platformEvents(t *testing.T, ap *assetv1.AssetPlatform) []eventsv1.Event {
	t.Helper()
	var events eventsv1.EventList
	if err := admin.List(ctx, &events, client.InNamespace(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	var own []eventsv1.Event
	for _, e := range events.Items {
		if e.Regarding.UID == ap.UID {
			own = append(own, e)
		}
	}
	return own
}

// A settled platform costs nothing: no write, and no read past the cache or list, whatever
// touches it without changing anything, over several intervals, and after a restart.
//
// It is not parallel: it looks at every request of the operator.
func TestSettledPlatformCostsNothing(t *testing.T) {
	const interval = 400 * time.Millisecond
	restartOperator(t, operatorOptions{interval: interval})
	managed := newPlatform(t, nil)
	external, routed := newExternalPlatform(t, nil), newRoutedPlatform(t)
	waitReady(t, managed)
	waitReady(t, external)
	waitCondition(t, routed, assetv1.ConditionAvailable, metav1.ConditionTrue, "")
	start := quiet(t)

	for i := range 20 {
		for _, ap := range []*assetv1.AssetPlatform{managed, external, routed} {
			update(t, ap, func(ap *assetv1.AssetPlatform) {
				ap.Annotations = map[string]string{"example.com/touch": fmt.Sprint(i)}
			})
		}
	}
	service := get(t, managed, "studio", &corev1.Service{})
	patch := client.MergeFrom(service.DeepCopy())
	service.Annotations = map[string]string{"example.com/note": "somebody else's"}
	if err := admin.Patch(ctx, service, patch); err != nil {
		t.Fatal(err)
	}
	unrelated := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "unrelated", Namespace: managed.Namespace}}
	if err := admin.Create(ctx, unrelated); err != nil {
		t.Fatal(err)
	}
	passes := reconciles(t)
	eventually(t, func() error { // three intervals of each, at which everything is looked at again
		if n := reconciles(t) - passes; n < 9 {
			return fmt.Errorf("%v passes", n)
		}
		return nil
	})
	requests, _ := sent.since(start)
	for _, r := range requests {
		t.Errorf("a settled platform caused: %s", r)
	}

	restartOperator(t, operatorOptions{interval: interval})
	passes = reconciles(t)
	eventually(t, func() error {
		if n := reconciles(t) - passes; n < 9 {
			return fmt.Errorf("%v passes", n)
		}
		return nil
	})
	requests, _ = sent.since(start)
	lists := map[string]int{}
	for _, r := range requests {
		switch {
		case r.write():
			t.Errorf("an operator that was started again caused: %s", r)
		case r.verb == "get" && r.resource != "secrets" && r.namespace != "":
			t.Errorf("an operator that was started again read past its cache: %s", r)
		case r.verb == "list":
			lists[r.resource]++
		}
	}
	for resource, n := range lists {
		if n > 2 { // Secrets are listed twice: ours whole, the others' metadata
			t.Errorf("%s were listed %d times", resource, n)
		}
	}
}
