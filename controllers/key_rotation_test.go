package controllers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// rollout is a Deployment of three pods as far as keys go, and the tokens that apps have of them.
type rollout struct {
	now    time.Time
	live   signingKeys   // of the template
	pods   []signingKeys // each accepts requests
	ended  time.Time     // of the last rollout; zero while one is under way
	tokens map[string]time.Time
}

// same says whether two sets of keys make the same pods.
func (k signingKeys) same(other signingKeys) bool {
	return k.sign == other.sign && slices.Equal(k.verify, other.verify)
}

// pass is what the operator does.
func (r *rollout) pass(want signingKeys) *keyRotation {
	since := r.ended
	if slices.ContainsFunc(r.pods, func(k signingKeys) bool { return !k.same(r.live) }) {
		since = time.Time{}
	}
	next, rotation := r.live.next(want, since, r.now)
	if !next.same(r.live) {
		r.live, r.ended = next, time.Time{}
	}
	return rotation
}

// roll replaces one old pod, if there is one.
func (r *rollout) roll() {
	i := slices.IndexFunc(r.pods, func(k signingKeys) bool { return !k.same(r.live) })
	if i >= 0 {
		r.pods[i] = r.live
	}
	if r.ended.IsZero() && !slices.ContainsFunc(r.pods, func(k signingKeys) bool { return !k.same(r.live) }) {
		r.ended = r.now
	}
}

// check lets every pod sign a token, and every pod verify all that have not expired.
func (r *rollout) check() error {
	for _, pod := range r.pods {
		r.tokens[pod.sign] = r.now.Add(config.AccessTokenLifetime)
	}
	for key, expires := range r.tokens {
		for _, pod := range r.pods {
			if r.now.Before(expires) && pod.sign != key && !slices.Contains(pod.verify, key) {
				return fmt.Errorf("a pod that signs with %s and verifies %v refuses a token of %s", pod.sign, pod.verify, key)
			}
		}
	}
	return nil
}

// Whatever keys the spec names, and however often they change in the middle of a change: no pod ever refuses a token that
// another one signed, and in the end they have just the keys that the spec names.
func TestKeyRotationRefusesNoToken(t *testing.T) {
	runs := 2_000
	if os.Getenv("SOAK") != "" {
		runs = 50_000
	}
	for seed := range uint64(runs) {
		random := rand.New(rand.NewPCG(seed, 0))
		key := func() string { return string(rune('a' + random.IntN(4))) }
		keys := func() signingKeys {
			k := signingKeys{sign: key()}
			for range random.IntN(3) {
				if other := key(); !slices.Contains(k.verify, other) {
					k.verify = append(k.verify, other)
				}
			}
			return k
		}
		want := keys()
		r := rollout{now: time.Unix(0, 0), live: want, pods: slices.Repeat([]signingKeys{want}, 3), tokens: map[string]time.Time{}}
		r.ended = r.now
		step := func(what int) {
			switch what {
			case 0:
				want = keys()
			case 1, 2, 3:
				r.roll()
			case 4:
				r.now = r.now.Add(time.Duration(random.IntN(20)) * time.Minute)
			}
			r.pass(want)
			if err := r.check(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if settled := r.live; r.pass(want) == nil && !r.live.same(want) || !r.live.same(settled) {
				t.Fatalf("seed %d: another look makes %v of %v", seed, r.live, settled)
			}
		}
		for range 60 {
			step(random.IntN(6))
		}
		for range 30 { // and nobody edits it any more
			step(1)
			r.now = r.now.Add(3 * time.Minute)
		}
		if !r.live.same(want) || r.pass(want) != nil {
			t.Fatalf("seed %d: ended with %v in place of %v", seed, r.live, want)
		}
	}
}

// waitKeys waits until the server's pods have these keys, in this generation of their Deployment.
func waitKeys(t *testing.T, ap *assetv1.AssetPlatform, want signingKeys, generation int64) {
	t.Helper()
	eventually(t, func() error {
		d := &appsv1.Deployment{}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: "studio-server"}, d); err != nil {
			return err
		}
		got := keysOfCopy(get(t, ap, copyOf(d), &corev1.Secret{}))
		if !got.same(want) {
			return fmt.Errorf("pods have %v, want %v", got, want)
		}
		if d.Generation != generation {
			return fmt.Errorf("generation %d, want %d", d.Generation, generation)
		}
		return nil
	})
}

// copyOf is the copy of the credentials that a server's Deployment names.
func copyOf(d *appsv1.Deployment) string {
	return d.Spec.Template.Spec.Containers[0].EnvFrom[1].SecretRef.Name
}

// A value that changes in its Secret is a new key as well: in three rolls, and the former key goes when its last token has
// expired. Ready waits until the new key signs; a key that is no list item as it is, is taken all the same.
func TestChangedSigningKeyRollsInSteps(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	first := serving(t, ap)
	setSecret(t, ap, "jwt-secret", newKey)
	waitKeys(t, ap, signingKeys{newKey, []string{formerKey}}, first.Generation+2)
	waitMessage(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionTrue, assetv1.ReasonResolved, "tokens of the signing keys before are accepted until 20")
	waitReady(t, ap)

	// Whoever deletes the Deployment in the middle of it logs nobody out either.
	if err := admin.Delete(ctx, serving(t, ap)); err != nil {
		t.Fatal(err)
	}
	waitKeys(t, ap, signingKeys{newKey, []string{formerKey}}, 1)
	waitReady(t, ap)
	again := serving(t, ap)
	eventually(t, func() error { // as if it had been a while ago
		d := serving(t, ap)
		progress := deploymentCondition(d, appsv1.DeploymentProgressing)
		if progress == nil || progress.Reason != rolloutEnded {
			return errors.New("the Deployment's controller has not noticed the end of its rollout yet")
		}
		progress.LastUpdateTime = metav1.NewTime(time.Now().Add(-formerKeyKept))
		return admin.Status().Update(ctx, d)
	})
	waitKeys(t, ap, signingKeys{newKey, nil}, again.Generation+1)
	waitReady(t, ap)
	if c := waitCondition(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionTrue, ""); c.Message != "Every Secret and key is there" {
		t.Errorf("after the rotation: %q", c.Message)
	}
	undo(t, ap, again) // which accepts the former key
	waitKeys(t, ap, signingKeys{newKey, nil}, again.Generation+3)
}

// undo is kubectl rollout undo.
func undo(t *testing.T, ap *assetv1.AssetPlatform, to *appsv1.Deployment) {
	t.Helper()
	d := serving(t, ap)
	if err := retryUpdate(d, func() { d.Spec.Template.Spec.Containers[0].EnvFrom[1].SecretRef.Name = copyOf(to) }); err != nil {
		t.Fatal(err)
	}
}

// A pod that still ends its last requests refuses tokens of the new key, so that none signs with it yet. One that is still there
// a minute after it must have ended is on a node that nobody reaches, and is not waited for.
func TestKeyRotationWaitsForPodsThatEnd(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	first := serving(t, ap)
	last, release := lingeringPod(t, first)
	defer release()
	setSecret(t, ap, "jwt-secret", newKey)
	waitMessage(t, ap, assetv1.ConditionAvailable, metav1.ConditionFalse, assetv1.ReasonRollingOut, "once the old ones have ended")
	waitKeys(t, ap, signingKeys{formerKey, []string{newKey}}, first.Generation+1)
	waitKeys(t, ap, signingKeys{newKey, []string{formerKey}}, first.Generation+2)
	get(t, ap, last.Name, last)
	if went := time.Since(last.DeletionTimestamp.Time); went < time.Minute {
		t.Errorf("pods sign with the new key %s after the end of the last that does not accept it", went)
	}
	waitReady(t, ap)
}

// lingeringPod is a pod of a Deployment that does not go after its end, as if requests were under way, until it is released.
func lingeringPod(t *testing.T, d *appsv1.Deployment) (pod *corev1.Pod, release func()) {
	t.Helper()
	var pods corev1.PodList
	if err := admin.List(ctx, &pods, client.InNamespace(d.Namespace), client.MatchingLabels(d.Spec.Selector.MatchLabels)); err != nil {
		t.Fatal(err)
	}
	pod = &pods.Items[0]
	if err := retryUpdate(pod, func() { pod.Finalizers = []string{"example.com/requests"} }); err != nil {
		t.Fatal(err)
	}
	return pod, func() {
		if err := retryUpdate(pod, func() { pod.Finalizers = nil }); err != nil {
			t.Error(err)
		}
	}
}

// A key that others know is given up at once, if the spec says so.
func TestImmediateRotation(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Auth.Rotation = assetv1.RotationImmediate })
	waitReady(t, ap)
	before := serving(t, ap)
	setSecret(t, ap, "jwt-secret", newKey)
	eventually(t, func() error {
		if got := serving(t, ap); got.Generation == before.Generation {
			return fmt.Errorf("still of generation %d", got.Generation)
		}
		return nil
	})
	waitReady(t, ap)
	waitKeys(t, ap, signingKeys{newKey, nil}, before.Generation+1)

	// kubectl rollout undo does not bring it back.
	undo(t, ap, before)
	waitKeys(t, ap, signingKeys{newKey, nil}, before.Generation+3)
	waitReady(t, ap)
}

// A generated key that somebody has changed with an editor counts without the newline at its end; one that was deleted is made
// anew. Both take over in steps.
func TestChangedGeneratedKey(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	first := serving(t, ap)
	generated := get(t, ap, "studio-auth", &corev1.Secret{})
	former := string(generated.Data[manifests.KeyJWTSecret])
	const edited = "a new key of more than thirty-two bytes"
	if err := retryUpdate(generated, func() { generated.Data[manifests.KeyJWTSecret] = []byte(edited + "\n") }); err != nil {
		t.Fatal(err)
	}
	waitKeys(t, ap, signingKeys{edited, []string{former}}, first.Generation+2)
	waitReady(t, ap)
	if err := admin.Delete(ctx, generated); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return admin.Get(ctx, client.ObjectKeyFromObject(generated), generated) })
	waitKeys(t, ap, signingKeys{string(generated.Data[manifests.KeyJWTSecret]), []string{former, edited}}, first.Generation+4)
	waitReady(t, ap)
	if d := serving(t, ap); d.Generation != first.Generation+4 {
		t.Errorf("generation %d after %d", d.Generation, first.Generation)
	}
}
