package controllers

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// newQuota makes a quota as its controller would leave it: in force, with nothing used.
func newQuota(t *testing.T, namespace string, hard corev1.ResourceList) *corev1.ResourceQuota {
	t.Helper()
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "small", Namespace: namespace}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	if err := admin.Create(ctx, quota); err != nil {
		t.Fatal(err)
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{}}
	for name := range hard {
		quota.Status.Used[name] = quantity("0")
	}
	if err := admin.Status().Update(ctx, quota); err != nil {
		t.Fatal(err)
	}
	return quota
}

// waitSays waits until a condition is false for a reason, in words that hold these.
func waitSays(t *testing.T, ap *assetv1.AssetPlatform, condition, reason string, words ...string) {
	t.Helper()
	eventually(t, func() error {
		c := waitCondition(t, ap, condition, metav1.ConditionFalse, reason)
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return fmt.Errorf("message %q does not say %q", c.Message, word)
			}
		}
		return nil
	})
}

// Pods that a quota refuses are named with what they are for, without a name that changes
// with each try, and come when the quota goes: nobody has to touch the platform.
func TestPodsThatAQuotaRefuses(t *testing.T) {
	t.Parallel()
	none := corev1.ResourceList{"pods": quantity("0")}
	for name, test := range map[string]struct {
		platform  func(*testing.T, string) *assetv1.AssetPlatform
		condition string
		words     []string
	}{
		"of the managed database": {
			func(t *testing.T, namespace string) *assetv1.AssetPlatform { return newPlatformIn(t, namespace, nil) },
			assetv1.ConditionDatabaseReady,
			[]string{"refuses the pods of the managed database (", "exceeded quota: small"},
		},
		"of the migration": {
			func(t *testing.T, namespace string) *assetv1.AssetPlatform {
				return newPlatformIn(t, namespace, externalSpec)
			},
			assetv1.ConditionMigrated,
			[]string{"refuses the pods of the migration (", "exceeded quota: small"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t, &fakeReadiness{})
			if err := admin.Create(ctx, backendSecrets(namespace)); err != nil {
				t.Fatal(err)
			}
			quota := newQuota(t, namespace, none)
			ap := test.platform(t, namespace)
			waitSays(t, ap, test.condition, assetv1.ReasonPodsRefused, test.words...)
			if c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonPodsRefused); strings.Contains(c.Message, "Error creating") {
				t.Errorf("message %q", c.Message)
			}
			if err := admin.Delete(ctx, quota); err != nil {
				t.Fatal(err)
			}
			waitReady(t, ap)
		})
	}
	t.Run("of the server", func(t *testing.T) {
		t.Parallel()
		ap := newExternalPlatform(t, nil)
		waitReady(t, ap)
		quota := newQuota(t, ap.Namespace, none)
		update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(5)) })
		waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonPodsRefused, "refuses the pods of the server (", "exceeded quota: small")
		if err := admin.Delete(ctx, quota); err != nil {
			t.Fatal(err)
		}
		waitReady(t, ap)
	})
}

// A quota on limits wants limits of every pod; the parts that the operator runs have no
// limit of the processor's time.
func TestQuotaOnLimits(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, &fakeReadiness{})
	newQuota(t, namespace, corev1.ResourceList{"limits.cpu": quantity("8")})
	ap := newPlatformIn(t, namespace, nil)
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonPodsRefused, "must specify limits.cpu", "add a LimitRange with defaults")
	defaults := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "defaults", Namespace: namespace}, Spec: corev1.LimitRangeSpec{
		Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Default: corev1.ResourceList{"cpu": quantity("1")}}},
	}}
	if err := admin.Create(ctx, defaults); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
}

// A volume that cannot be made is named with the field that asks for it; corrected, the
// claim that was never bound is made anew.
func TestStorageClassThatIsNotThere(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Cache = &assetv1.CacheSpec{Managed: &assetv1.ManagedVolumeSpec{StorageClassName: new("fats"), Storage: new(quantity("100Ti"))}}
	})
	waitSays(t, ap, assetv1.ConditionCacheReady, assetv1.ReasonVolumeNotBound, `"fats" not found`, "correct storageClassName or storage in spec.cache.managed")
	before := get(t, ap, "studio-redis", &corev1.PersistentVolumeClaim{})
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Cache.Managed.StorageClassName = new(controlplane.StorageClass)
	})
	eventually(t, func() error {
		claim := &corev1.PersistentVolumeClaim{}
		if err := admin.Get(ctx, client.ObjectKeyFromObject(before), claim); err != nil {
			return err
		}
		if claim.UID == before.UID || *claim.Spec.StorageClassName != controlplane.StorageClass {
			return fmt.Errorf("claim %s of class %s", claim.UID, *claim.Spec.StorageClassName)
		}
		return nil
	})
	waitReady(t, ap)
}

// A claim that has its volume is never made anew: the status says what cannot be changed.
func TestClassOfABoundVolumeStays(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	claim := get(t, ap, "studio-postgres", &corev1.PersistentVolumeClaim{})
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Database = &assetv1.DatabaseSpec{Managed: &assetv1.ManagedVolumeSpec{StorageClassName: new("fast")}}
	})
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonApplyFailed, "set storage in spec.database.managed to the volume's present size, 10Gi, ", "and leave the class as it was: ", "immutable")
	if got := get(t, ap, "studio-postgres", &corev1.PersistentVolumeClaim{}); got.UID != claim.UID || got.DeletionTimestamp != nil {
		t.Errorf("the claim is being replaced: %+v", got.ObjectMeta)
	}
}

// Whoever gives a pod our labels does not make it ours.
func TestPodsOfOthersWithOurLabels(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{PullError: "not found"})[0]
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	var pods corev1.PodList
	if err := admin.List(ctx, &pods, inPlatform(ap)...); err != nil || len(pods.Items) == 0 {
		t.Fatal(err)
	}
	stray := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "stray", Namespace: ap.Namespace, Labels: pods.Items[0].Labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "server", Image: image}}},
	}
	delete(stray.Labels, "pod-template-hash") // or the ReplicaSet would take it in
	if err := admin.Create(ctx, stray); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(stray), stray); err != nil {
			return err
		}
		if len(stray.Status.ContainerStatuses) == 0 || stray.Status.ContainerStatuses[0].State.Waiting == nil {
			return fmt.Errorf("status %+v", stray.Status)
		}
		return nil
	})
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(2)) }) // a pass that has seen it
	waitReady(t, ap)
	if len(ap.Status.Problems) != 0 {
		t.Errorf("problems %+v", ap.Status.Problems)
	}
}

// A rollout that somebody paused is named: it looks like one that is slow.
func TestPausedRollout(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	pause := func(paused bool) {
		t.Helper()
		patch := fmt.Sprintf(`{"spec":{"paused":%t}}`, paused)
		if err := admin.Patch(ctx, serving(t, ap), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	pause(true)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Server.LogLevel = "debug" })
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonUpdateNotCompleted, "rollout is paused", "kubectl rollout resume deployment/studio-server")
	pause(false)
	waitReady(t, ap)
}

// What the cluster refuses for a value of the spec is said of the field that has it, and waits for an edit; what runs, runs on
// and is said to.
func TestRefusedValuesNameTheirFields(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Pod.Tolerations = []corev1.Toleration{{Key: "room", Operator: "Lt", Value: "no number"}}
	})
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonInvalidSpec, "spec.pod.tolerations[0]", "correct spec.pod.tolerations[0]")
	waitCondition(t, ap, assetv1.ConditionStalled, metav1.ConditionTrue, assetv1.ReasonInvalidSpec)
	waitCondition(t, ap, assetv1.ConditionAvailable, metav1.ConditionFalse, assetv1.ReasonInvalidSpec)
	for _, condition := range []string{assetv1.ConditionDatabaseReady, assetv1.ConditionCacheReady, assetv1.ConditionStorageReady} {
		waitCondition(t, ap, condition, metav1.ConditionTrue, assetv1.ReasonAnswers)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Pod.Tolerations = nil })
	waitReady(t, ap)

	// A new platform's first pods are those of its migration.
	ap = newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Pod.Tolerations = []corev1.Toleration{{Key: "room", Operator: "Lt", Value: "no number"}}
	})
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonInvalidSpec, "Job studio-migrate", "correct spec.pod.tolerations[0]")
	waitCondition(t, ap, assetv1.ConditionStalled, metav1.ConditionTrue, assetv1.ReasonInvalidSpec)
}

// A place that the cluster has not stops the server's rollout, and takes no managed part down: those have no second pod.
func TestManagedPartsMoveAfterTheServer(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	before := managedPods(t, ap)
	const class = "move-after-the-server"
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Pod.PriorityClassName = class })
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonPodsRefused, class, "correct spec.pod.priorityClassName")
	// What else is to change of them, or is changed by hand, does not wait.
	set := get(t, ap, "studio-redis", &appsv1.StatefulSet{})
	if err := retryUpdate(set, func() { set.Spec.Template.Labels[manifests.LabelPartOf] = "others" }); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if part := get(t, ap, "studio-redis", set).Spec.Template.Labels[manifests.LabelPartOf]; part == "others" {
			return errors.New("the label was not put right")
		}
		return nil
	})
	after := managedPods(t, ap)
	for _, name := range []string{"studio-postgres-0", "studio-s3-0"} {
		if after[name].UID != before[name].UID {
			t.Errorf("Pod %s was replaced", name)
		}
	}

	priority := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Value: 1}
	if err := admin.Create(ctx, priority); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(ctx, priority) })
	waitReady(t, ap)
	for name, pod := range managedPods(t, ap) {
		if pod.Spec.PriorityClassName != class {
			t.Errorf("Ready, and Pod %s has the priority class %q", name, pod.Spec.PriorityClassName)
		}
	}
}

// managedPods are the pods of the managed parts.
func managedPods(t *testing.T, ap *assetv1.AssetPlatform) map[string]corev1.Pod {
	t.Helper()
	pods := map[string]corev1.Pod{}
	for _, name := range []string{"studio-postgres-0", "studio-redis-0", "studio-s3-0"} {
		eventually(t, func() error { // one that is replaced is away for a moment
			var pod corev1.Pod
			err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, &pod)
			pods[name] = pod
			return err
		})
	}
	return pods
}

// Names of what is not in the cluster are no mistake of the spec alone: either can be mended.
func TestNamesOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Pod.PriorityClassName = "urgent" })
	waitSays(t, ap, assetv1.ConditionAvailable, assetv1.ReasonPodsRefused, "make the PriorityClass, or correct spec.pod.priorityClassName")
	waitCondition(t, ap, assetv1.ConditionDatabaseReady, metav1.ConditionTrue, assetv1.ReasonAnswers) // as the pods before say

	// What looks for accounts does not run here; it says this.
	for whose, want := range map[string]string{
		serverPods:      "make the ServiceAccount, or correct spec.serviceAccount.name",
		"the migration": "make the ServiceAccount, if the cluster does not in a moment", // those run as the namespace's own
	} {
		f := podsRefused("Deployment studio-server", whose, `pods "studio-server-5d9c7b8f46-" is forbidden: error looking up service account games/robot: serviceaccount "robot" not found`)
		if f.remedy != want {
			t.Errorf("of an account for the pods of %s: %s", whose, f.message())
		}
	}
}
