package controllers

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// A value that changes in its Secret is a new key as well: in three rolls, and the former key goes when its last token has
// expired. Ready waits until the new key signs; a key that is no list item as it is, is taken all the same.
func TestChangedSigningKeyRollsInSteps(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	const former, key = "a key of forty characters, or near to it", "another key, of forty characters or so !"
	waitReady(t, ap)
	first := serving(t, ap)
	setSecret(t, ap, "jwt-secret", key)
	keysOf := func(name string) signingKeys {
		c := manifests.CopiedCredentials(get(t, ap, name, &corev1.Secret{}), &corev1.Secret{})
		return signingKeys{c.JWTSecret, c.JWTVerifySecrets}
	}
	waitKeys := func(want signingKeys, generation int64) {
		t.Helper()
		eventually(t, func() error {
			d := serving(t, ap)
			got := keysOf(d.Spec.Template.Spec.Containers[0].EnvFrom[1].SecretRef.Name)
			if !got.same(want) {
				return fmt.Errorf("pods have %v, want %v", got, want)
			}
			if d.Generation != generation {
				return fmt.Errorf("generation %d, want %d", d.Generation, generation)
			}
			return nil
		})
	}
	waitKeys(signingKeys{key, []string{former}}, first.Generation+2)
	waitMessage(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionTrue, assetv1.ReasonResolved, "tokens of the former signing key are accepted until ")
	waitReady(t, ap)
	eventually(t, func() error { // as if it had been a while ago
		d := serving(t, ap)
		deploymentCondition(d, appsv1.DeploymentProgressing).LastUpdateTime = metav1.NewTime(time.Now().Add(-formerKeyKept))
		return admin.Status().Update(ctx, d)
	})
	waitKeys(signingKeys{key, nil}, first.Generation+3)
	waitReady(t, ap)
	if c := waitCondition(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionTrue, ""); c.Message != "Every Secret and key is there" {
		t.Errorf("after the rotation: %q", c.Message)
	}
}

// A key that others know is given up at once, if the spec says so.
func TestImmediateRotation(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Auth.Rotation = assetv1.RotationImmediate })
	waitReady(t, ap)
	before := serving(t, ap)
	setSecret(t, ap, "jwt-secret", "another key of forty characters or so !!!")
	eventually(t, func() error {
		if got := serving(t, ap); got.Generation == before.Generation {
			return fmt.Errorf("still of generation %d", got.Generation)
		}
		return nil
	})
	waitReady(t, ap)
	d := serving(t, ap)
	c := manifests.CopiedCredentials(get(t, ap, d.Spec.Template.Spec.Containers[0].EnvFrom[1].SecretRef.Name, &corev1.Secret{}), &corev1.Secret{})
	if d.Generation != before.Generation+1 || c.JWTSecret != "another key of forty characters or so !!!" || len(c.JWTVerifySecrets) > 0 {
		t.Errorf("generation %d after %d, signs with %q, accepts %q", d.Generation, before.Generation, c.JWTSecret, c.JWTVerifySecrets)
	}
}
