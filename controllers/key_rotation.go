package controllers

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// formerKeyKept is for how long tokens of a former signing key are accepted after the last pod that signed with it was
// told to end: as long as it may go on, and as long as its last token lives.
const formerKeyKept = manifests.ServerTerminationGrace + config.AccessTokenLifetime + time.Minute

// keptKeys is how many keys are kept that the spec names no longer; more come together only where a key changes every few minutes.
const keptKeys = 8

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
	accepted := k.sign == want.sign || !since.IsZero() && slices.Contains(k.verify, want.sign)
	former := k.verify
	if accepted {
		former = append(slices.Clone(former), k.sign)
	}
	var kept []string // beside what the spec names
	for _, key := range former {
		if key != want.sign && (accepted || key != k.sign) && !slices.Contains(want.verify, key) && !slices.Contains(kept, key) {
			kept = append(kept, key)
		}
	}
	kept = kept[max(0, len(kept)-keptKeys):]
	switch {
	case !accepted:
		verify := slices.DeleteFunc(slices.Clone(want.verify), func(key string) bool { return key == k.sign || key == want.sign })
		return signingKeys{k.sign, slices.Concat(verify, kept, []string{want.sign})}, &keyRotation{accepting: true}
	case len(kept) == 0:
		return want, nil
	case k.sign != want.sign || since.IsZero():
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
	live, since, err := r.servingSecret(ctx, p)
	if err != nil || live == nil {
		return err
	}
	c := &p.facts.Credentials
	next, rotation := keysOfCopy(live).next(signingKeys{c.JWTSecret, c.JWTVerifySecrets}, since, r.now())
	c.JWTSecret, c.JWTVerifySecrets = next.sign, next.verify
	p.rotation = rotation
	if rotation != nil && !rotation.until.IsZero() {
		p.requeueIn(rotation.until.Sub(r.now()))
	}
	return nil
}

// servingSecret is the copy of the credentials from which the next step goes out, nil if there never was one, and since when
// all pods start from it; zero while one does not. It is what the Deployment's template names, unless that is not of our way:
// kubectl rollout undo brings back an old one, whose key may have leaked. Where somebody has deleted the Deployment or the copy,
// it is the one that was wanted last.
func (r *Reconciler) servingSecret(ctx context.Context, p *pass) (secret *corev1.Secret, since time.Time, err error) {
	server, err := child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{})
	if err != nil {
		return nil, time.Time{}, err
	}
	last, err := r.lastWanted(ctx, p)
	if err != nil || server == nil {
		return last, time.Time{}, err
	}
	_, secret, err = r.environmentOf(ctx, p, server.Spec.Template.Spec)
	if err != nil {
		return nil, time.Time{}, err
	}
	if secret == nil || last != nil && !onTheWay(secret, last) {
		return last, time.Time{}, nil
	}
	since, err = r.servesOnly(ctx, p, server, secret)
	if created := secret.CreationTimestamp.Time; server.Status.Replicas == 0 && !since.IsZero() && since.Before(created) {
		since = created // without a pod, a rollout is over before it begins
	}
	return secret, since, err
}

// lastWanted is the copy for the server that the status names, or else the newest; nil if there is none.
func (r *Reconciler) lastWanted(ctx context.Context, p *pass) (*corev1.Secret, error) {
	if m := p.stored.Status.Migration; m != nil && m.Migrated != nil {
		_, secret, err := r.environment(ctx, p, nil, []string{m.Migrated.Secret})
		if err != nil || secret != nil {
			return secret, err
		}
	}
	all, err := r.copies(ctx, p.ap, client.MatchingLabels{manifests.LabelComponent: string(manifests.ComponentServer)})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
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
		if over(pod) || startsFrom(&pod, map[objectKey]bool{objectKeyOf(secret): true}) {
			continue
		}
		if pod.DeletionTimestamp == nil {
			return time.Time{}, nil
		}
		// One on a node that nobody reaches stays like this for ever; a deletion's time is when the pod must have ended.
		if left := pod.DeletionTimestamp.Add(time.Minute).Sub(r.now()); left > 0 {
			p.requeueIn(left)
			return time.Time{}, nil
		}
	}
	return progress.LastUpdateTime.Time, nil
}

func keysOfCopy(secret *corev1.Secret) signingKeys {
	c := manifests.CopiedCredentials(secret, &corev1.Secret{})
	return signingKeys{c.JWTSecret, c.JWTVerifySecrets}
}

// onTheWay says whether the copy that a template names can be a step after the one that was wanted last, whose status may not be
// written yet. What accepts other keys, or signs with another one and is older, somebody has brought back.
func onTheWay(template, last *corev1.Secret) bool {
	is, was := keysOfCopy(template), keysOfCopy(last)
	for _, key := range append(is.verify, is.sign) {
		if key != was.sign && !slices.Contains(was.verify, key) {
			return false
		}
	}
	return is.sign == was.sign || !template.CreationTimestamp.Before(&last.CreationTimestamp)
}
