package controllers

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// The number of pods is the autoscaler's from the moment that the spec says so, and the spec's
// again when it no longer does; it is never anything else, above all not the default of 1.
func TestReplicasAreHandedOverBothWays(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	wantReplicas(t, ap, 3, true)

	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Autoscaling = &assetv1.AutoscalingSpec{MinReplicas: 2, MaxReplicas: 8}
	})
	wantReplicas(t, ap, 3, false)
	waitReady(t, ap)
	if ready := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionReady); ready.Message != "Serving with 2 to 8 replicas" {
		t.Errorf("Ready says %q", ready.Message)
	}
	scale(t, ap, 5)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = "example.com/assets:2" })
	waitReady(t, ap)
	wantReplicas(t, ap, 5, false)

	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Autoscaling, ap.Spec.Replicas = nil, new(int32(4)) })
	waitReady(t, ap)
	wantReplicas(t, ap, 4, true)
	wantGone(t, ap, "studio-server", &autoscalingv2.HorizontalPodAutoscaler{})

	// And once more: who owned the field the last time must not matter.
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Autoscaling = &assetv1.AutoscalingSpec{MinReplicas: 2, MaxReplicas: 8}
	})
	wantReplicas(t, ap, 4, false)
	scale(t, ap, 6)
	waitReady(t, ap)
	wantReplicas(t, ap, 6, false)
	if asked := seen.replicas(ap); slices.ContainsFunc(asked, func(n int32) bool { return n < 3 }) {
		t.Errorf("the Deployment asked for %v replicas", asked)
	}
}

// Fewer pods than the spec's least number is not ready, also before the autoscaler has noticed.
func TestAutoscalerHasNotReachedTheLeast(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Replicas = new(int32(2)) })
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Autoscaling = &assetv1.AutoscalingSpec{MinReplicas: 4, MaxReplicas: 8}
	})
	waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonProgressing)
	wantReplicas(t, ap, 2, false)
	waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonProgressing)
	scale(t, ap, 4)
	waitReady(t, ap)
}

// A platform that begins with an autoscaler begins with the least number.
func TestAutoscaledFromTheStart(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Autoscaling = &assetv1.AutoscalingSpec{MinReplicas: 2, MaxReplicas: 8}
	})
	waitReady(t, ap)
	wantReplicas(t, ap, 2, false)
	if asked := seen.replicas(ap); slices.ContainsFunc(asked, func(n int32) bool { return n != 2 }) {
		t.Errorf("the Deployment asked for %v replicas", asked)
	}
}

// What an autoscaler does is no news of the platform: Ready stays as it was.
func TestAutoscalingDoesNotFlap(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Autoscaling = &assetv1.AutoscalingSpec{MinReplicas: 2, MaxReplicas: 8}
	})
	waitReady(t, ap)
	wantReplicas(t, ap, 2, false)
	before := len(seen.versions(ap))
	for _, n := range []int32{7, 3, 8, 2} {
		scale(t, ap, n)
		eventually(t, func() error {
			if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
				return err
			}
			if ap.Status.Replicas != n {
				return fmt.Errorf("the status shows %d replicas, want %d", ap.Status.Replicas, n)
			}
			return nil
		})
	}
	for _, version := range seen.versions(ap)[before:] {
		if !meta.IsStatusConditionTrue(version.Status.Conditions, assetv1.ConditionReady) {
			t.Fatalf("not Ready while it was scaled: %s", describeStatus(&version))
		}
	}
}

// An autoscaler that cannot do its work is a problem with a remedy, once it has had the time that measurements take; what
// serves stays Ready. That kubectl scale changes nothing meanwhile is said, too.
func TestAutoscalerThatCannotScale(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Autoscaling = &assetv1.AutoscalingSpec{MinReplicas: 2, MaxReplicas: 8}
	})
	waitReady(t, ap)
	says := func(kind autoscalingv2.HorizontalPodAutoscalerConditionType, status corev1.ConditionStatus, since time.Duration, message string) {
		t.Helper()
		eventually(t, func() error {
			scaler := get(t, ap, "studio-server", &autoscalingv2.HorizontalPodAutoscaler{})
			scaler.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{
				Type: kind, Status: status, Reason: "x", Message: message, LastTransitionTime: metav1.NewTime(time.Now().Add(-since)),
			}}
			return admin.Status().Update(ctx, scaler)
		})
	}
	waitCondition(t, ap, assetv1.ConditionAutoscalingReady, metav1.ConditionFalse, assetv1.ReasonProgressing)
	const noMetrics = "failed to get cpu utilization: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
	says(autoscalingv2.ScalingActive, corev1.ConditionFalse, autoscalerPatience-5*time.Second, noMetrics)
	waitSays(t, ap, assetv1.ConditionAutoscalingReady, assetv1.ReasonCannotScale, noMetrics, "such as metrics-server") // by itself, when the time is over
	if p := ap.Status.Problems; len(p) != 1 || p[0].Where != "HorizontalPodAutoscaler studio-server" {
		t.Errorf("problems %+v", p)
	}
	waitReady(t, ap)
	says(autoscalingv2.ScalingActive, corev1.ConditionFalse, time.Hour, "failed to get cpu utilization: missing request for cpu in container proxy of Pod studio-server-5d9c7b8f46-x2k9q")
	waitSays(t, ap, assetv1.ConditionAutoscalingReady, assetv1.ReasonCannotScale, "of Pod studio-server-…)", "set spec.resources.requests.cpu")
	says(autoscalingv2.AbleToScale, corev1.ConditionFalse, time.Hour, "the HPA controller was unable to get the target's current scale")
	waitSays(t, ap, assetv1.ConditionAutoscalingReady, assetv1.ReasonCannotScale, "see kubectl describe hpa")
	says(autoscalingv2.ScalingActive, corev1.ConditionTrue, 0, "")
	c := waitCondition(t, ap, assetv1.ConditionAutoscalingReady, metav1.ConditionTrue, assetv1.ReasonScales)
	if c.Message != "Scales from 2 to 8 replicas at 75 % of the CPU that they request" {
		t.Errorf("message %q", c.Message)
	}
	if _, err := plane.Kubectl("-n", ap.Namespace, "scale", "ap/studio", "--replicas=5"); err != nil {
		t.Fatal(err)
	}
	waitMessage(t, ap, assetv1.ConditionAutoscalingReady, metav1.ConditionTrue, assetv1.ReasonScales, "spec.replicas (5), which kubectl scale sets, counts again without spec.autoscaling")
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Autoscaling = nil })
	waitReady(t, ap)
	if c := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionAutoscalingReady); c != nil {
		t.Errorf("without an autoscaler: %+v", c)
	}
}

// In hibernation nothing runs and everything stays; waking needs nobody's help, not even with an
// autoscaler, which does not wake what is at zero.
func TestHibernation(t *testing.T) {
	t.Parallel()
	for name, autoscaling := range map[string]*assetv1.AutoscalingSpec{"replicas": nil, "autoscaled": {MinReplicas: 2, MaxReplicas: 4}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Autoscaling = autoscaling })
			waitReady(t, ap)
			kept := append(claims(t, ap), generatedNames(t, ap)...)
			image := ap.Status.Image
			_, release := lingeringPod(t, get(t, ap, "studio-server", &appsv1.Deployment{}))
			update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Hibernate = true })
			waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonProgressing, "Going to sleep: 1 pod left")
			release()
			waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionTrue, assetv1.ReasonHibernating)
			eventually(t, func() error {
				var pods corev1.PodList
				if err := admin.List(ctx, &pods, inPlatform(ap)...); err != nil {
					return err
				}
				running := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
				if len(running) > 0 {
					return fmt.Errorf("pod %s is still there", running[0].Name)
				}
				return nil
			})
			wantGone(t, ap, "studio-server", &autoscalingv2.HorizontalPodAutoscaler{})
			if now := append(claims(t, ap), generatedNames(t, ap)...); !slices.Equal(now, kept) {
				t.Errorf("kept %v of %v", now, kept)
			}
			// An image that is set in the meantime is migrated after waking, not before.
			update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = "example.com/assets:2" })
			waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionTrue, assetv1.ReasonHibernating)
			waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonMigrationWaiting)
			if ap.Status.Image != image {
				t.Errorf("status.image is %s, which never served", ap.Status.Image)
			}
			update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Hibernate = false })
			waitReady(t, ap)
			if autoscaling != nil {
				wantReplicas(t, ap, 2, false)
			} else {
				wantReplicas(t, ap, 3, true)
			}
		})
	}
}

// A suspended platform is left as it is, and says so as soon as that is not what its spec asks for.
func TestSuspend(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = true })
	waitReady(t, ap) // nothing differs
	if err := admin.Delete(ctx, get(t, ap, "studio", &corev1.Service{})); err != nil {
		t.Fatal(err)
	}
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonSuspended, "Service studio is missing, 1 in all", "set spec.suspend to false")

	server := get(t, ap, "studio-server", &appsv1.Deployment{})
	if err := retryUpdate(server, func() { server.Spec.Replicas = new(int32(1)) }); err != nil {
		t.Fatal(err)
	}
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonSuspended, "Deployment studio-server differs from what the spec asks for, 2 in all", "set spec.suspend to false")
	waitCondition(t, ap, assetv1.ConditionStalled, metav1.ConditionTrue, assetv1.ReasonSuspended)
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Image, ap.Spec.Server.LogLevel = "example.com/assets:2", "debug"
	})
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonSuspended, "not migrated for example.com/assets:2", "set spec.suspend to false")
	get(t, ap, "studio-server", server)
	if *server.Spec.Replicas != 1 || server.Spec.Template.Spec.Containers[0].Image != manifests.DefaultImages.Server {
		t.Errorf("a suspended platform's Deployment was changed: %d replicas of %s", *server.Spec.Replicas, server.Spec.Template.Spec.Containers[0].Image)
	}
	wantGone(t, ap, "studio", &corev1.Service{})

	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = false })
	waitReady(t, ap)
	wantReplicas(t, ap, 3, true)
	get(t, ap, "studio", &corev1.Service{})
}

// A key that changes while a platform is suspended stays for later: nothing rolls, and nothing says so. One that goes is told.
func TestSuspendedKeyRotation(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	before := serving(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = true })
	waitReady(t, ap)
	setSecret(t, ap, "jwt-secret", newKey)
	waitSays(t, ap, assetv1.ConditionReady, assetv1.ReasonSuspended, "Deployment studio-server differs", "set spec.suspend to false")
	waitCondition(t, ap, assetv1.ConditionAvailable, metav1.ConditionTrue, assetv1.ReasonRolledOut)
	if c := waitCondition(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionTrue, ""); c.Message != "Every Secret and key is there" {
		t.Errorf("message %q", c.Message)
	}
	setSecret(t, ap, "jwt-secret", "")
	waitSays(t, ap, assetv1.ConditionSecretsResolved, assetv1.ReasonSecretKeyMissing, "jwt-secret", "add the key")
	setSecret(t, ap, "jwt-secret", newKey)
	waitCondition(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionTrue, "")
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = false })
	waitKeys(t, ap, signingKeys{newKey, []string{formerKey}}, before.Generation+2)
	waitReady(t, ap)
}

// A platform that begins suspended makes nothing.
func TestSuspendedFromTheStart(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Suspend = true })
	waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonSuspended)
	if made := children(t, ap); len(made) > 0 {
		t.Errorf("%s was made", describe(made[0]))
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = false })
	waitReady(t, ap)
}

// The API can run as an account that is there already; the operator's own goes when no pod uses it.
func TestServiceAccountOfOthers(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	theirs := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "game-asset-manager", Namespace: ap.Namespace}}
	if err := admin.Create(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.ServiceAccount.Name = theirs.Name })
	waitReady(t, ap)
	server := get(t, ap, "studio-server", &appsv1.Deployment{})
	if name := server.Spec.Template.Spec.ServiceAccountName; name != theirs.Name {
		t.Errorf("pods run as %s", name)
	}
	if got := get(t, ap, theirs.Name, &corev1.ServiceAccount{}); len(got.OwnerReferences)+len(got.Labels) > 0 {
		t.Errorf("the account of others was changed: %+v", got.ObjectMeta)
	}
	get(t, ap, "studio-server", &corev1.ServiceAccount{}) // a rollback would need it
	var sets appsv1.ReplicaSetList
	if err := admin.List(ctx, &sets, inPlatform(ap)...); err != nil {
		t.Fatal(err)
	}
	for _, set := range sets.Items {
		if set.Spec.Template.Spec.ServiceAccountName == "studio-server" {
			if err := admin.Delete(ctx, &set); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantGone(t, ap, "studio-server", &corev1.ServiceAccount{})
}

// scale does what an autoscaler does.
func scale(t *testing.T, ap *assetv1.AssetPlatform, replicas int32) {
	t.Helper()
	server := get(t, ap, "studio-server", &appsv1.Deployment{})
	wanted := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if err := admin.SubResource("scale").Update(ctx, server, client.WithSubResourceBody(wanted), client.FieldOwner("kube-controller-manager")); err != nil {
		t.Fatal(err)
	}
}

// wantReplicas waits until the Deployment asks for so many pods, and the operator names the number or does not.
func wantReplicas(t *testing.T, ap *assetv1.AssetPlatform, replicas int32, named bool) {
	t.Helper()
	eventually(t, func() error {
		server := get(t, ap, "studio-server", &appsv1.Deployment{})
		if *server.Spec.Replicas != replicas || ownsReplicas(server) != named {
			return fmt.Errorf("%d replicas, named by the operator: %t; want %d, %t", *server.Spec.Replicas, ownsReplicas(server), replicas, named)
		}
		return nil
	})
}

func wantGone(t *testing.T, ap *assetv1.AssetPlatform, name string, o client.Object) {
	t.Helper()
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, o); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s is there: %w", describe(o), err)
		}
		return nil
	})
}

// claims are the volume claims of a platform, by name and UID.
func claims(t *testing.T, ap *assetv1.AssetPlatform) []string {
	t.Helper()
	var list corev1.PersistentVolumeClaimList
	if err := admin.List(ctx, &list, inPlatform(ap)...); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, claim := range list.Items {
		names = append(names, claim.Name+" "+string(claim.UID))
	}
	return names
}

func generatedNames(t *testing.T, ap *assetv1.AssetPlatform) []string {
	t.Helper()
	var names []string
	for name, data := range generatedData(t, ap) {
		names = append(names, fmt.Sprint(name, data))
	}
	slices.Sort(names)
	return names
}

// replicas are the numbers that a platform's Deployment has ever asked for, one after the other.
func (h *history) replicas(ap *assetv1.AssetPlatform) []int32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var asked []int32
	for _, d := range h.deployments[types.NamespacedName{Namespace: ap.Namespace, Name: manifests.ServerName(ap)}] {
		asked = append(asked, *d.Spec.Replicas)
	}
	return slices.Compact(asked)
}
