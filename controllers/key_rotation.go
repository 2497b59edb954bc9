package controllers

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// formerKeyKept is for how long tokens of a former signing key are accepted after the last pod that signed with it was
// told to end: as long as it may go on, and as long as its last token lives.
const formerKeyKept = manifests.ServerTerminationGrace + config.AccessTokenLifetime + time.Minute

// rolloutEnded is the reason of a Deployment's condition Progressing when its rollout is over; it keeps the time of that
// (kubernetes.io/docs/concepts/workloads/controllers/deployment, complete deployment).
const rolloutEnded = "NewReplicaSetAvailable"

// signingKeys are the key that pods sign access tokens with, and those beside it whose tokens they accept.
type signingKeys struct {
	sign   string
	verify []string
}

// keyRotation is the change from one signing key to another while it is under way.
type keyRotation struct {
	// accepting says that not every pod accepts the new key yet, so that none signs with it.
	accepting bool
	// until is when the former key is given up; zero until every pod signs with the new one.
	until time.Time
}

// next are the keys for pods that have the keys k now, on the way to those that are wanted, so that no pod ever refuses a
// token that another one has signed: all accept the new key, then all sign with it, and accept the former until its
// last token has expired. since is when the last pod with other keys than k went; zero while there is one. Until that
// keeps k, or changes only what is not part of the way.
func (k signingKeys) next(want signingKeys, since, now time.Time) (signingKeys, *keyRotation) {
	var kept []string // beside what the spec names
	for _, key := range k.verify {
		if key != want.sign && !slices.Contains(want.verify, key) {
			kept = append(kept, key)
		}
	}
	switch {
	case k.sign != want.sign && (since.IsZero() || !slices.Contains(k.verify, want.sign)):
		verify := slices.DeleteFunc(slices.Clone(want.verify), func(key string) bool { return key == k.sign || key == want.sign })
		return signingKeys{k.sign, slices.Concat(verify, kept, []string{want.sign})}, &keyRotation{accepting: true}
	case k.sign != want.sign:
		if !slices.Contains(want.verify, k.sign) {
			kept = append(kept, k.sign)
		}
		return signingKeys{want.sign, slices.Concat(want.verify, kept)}, &keyRotation{}
	case len(kept) == 0:
		return want, nil
	case since.IsZero():
		return signingKeys{want.sign, slices.Concat(want.verify, kept)}, &keyRotation{}
	}
	if until := since.Add(formerKeyKept); now.Before(until) {
		return signingKeys{want.sign, slices.Concat(want.verify, kept)}, &keyRotation{until: until}
	}
	return want, nil
}

// rotateKeys puts in place of the keys that the spec wants those of the next step towards them.
func (r *Reconciler) rotateKeys(ctx context.Context, p *pass) error {
	if len(p.secretsProblems) > 0 || p.ap.Spec.Auth.Rotation == assetv1.RotationImmediate {
		return nil
	}
	server, err := child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{})
	if err != nil || server == nil {
		return err
	}
	_, live, err := r.environmentOf(ctx, p, server.Spec.Template.Spec)
	if err != nil || live == nil {
		return err
	}
	since, err := r.servesOnly(ctx, p, server, live)
	if err != nil {
		return err
	}
	c := &p.facts.Credentials
	has := manifests.CopiedCredentials(live, &corev1.Secret{})
	next, rotation := signingKeys{has.JWTSecret, has.JWTVerifySecrets}.next(signingKeys{c.JWTSecret, c.JWTVerifySecrets}, since, r.now())
	c.JWTSecret, c.JWTVerifySecrets = next.sign, next.verify
	p.rotation = rotation
	if rotation != nil && !rotation.until.IsZero() {
		p.requeueIn(rotation.until.Sub(r.now()))
	}
	return nil
}

// servesOnly is when the Deployment's rollout ended, after which all its pods start from this Secret; zero while one does
// not, be it that it only ends its last requests.
func (r *Reconciler) servesOnly(ctx context.Context, p *pass, server *appsv1.Deployment, secret *corev1.Secret) (time.Time, error) {
	progress := deploymentCondition(server, appsv1.DeploymentProgressing)
	if server.Status.ObservedGeneration < server.Generation || server.Status.UpdatedReplicas != server.Status.Replicas ||
		progress == nil || progress.Reason != rolloutEnded {
		return time.Time{}, nil
	}
	pods, err := r.serverPods(ctx, p, server)
	if err != nil {
		return time.Time{}, err
	}
	for _, pod := range pods {
		if !over(pod) && !startsFrom(&pod, map[objectKey]bool{objectKeyOf(secret): true}) {
			return time.Time{}, nil
		}
	}
	return progress.LastUpdateTime.Time, nil
}
