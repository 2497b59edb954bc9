package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/assetplatform/assetplatform/internal/manifests"
)

// upstreamsInUse are what the server's pods depend on, those of before the present spec included: they serve until the new
// ones do, which may be long if a migration fails.
func (r *Reconciler) upstreamsInUse(ctx context.Context, p *pass) ([]manifests.Upstreams, error) {
	server, err := child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{})
	if err != nil {
		return nil, err
	}
	pods, err := r.serverPods(ctx, p, server)
	if err != nil {
		return nil, err
	}
	var used []manifests.Upstreams
	add := func(settings *corev1.ConfigMap, secret *corev1.Secret, err error) error {
		if err == nil && settings != nil && secret != nil {
			used = append(used, manifests.UpstreamsOf(settings, secret))
		}
		return err
	}
	if m := p.stored.Status.Migration; m != nil && m.Migrated != nil { // what is held starts anew from it
		if err := add(r.environment(ctx, p, []string{m.Migrated.ConfigMap}, []string{m.Migrated.Secret})); err != nil {
			return nil, err
		}
	}
	for _, pod := range pods {
		if over(pod) {
			continue
		}
		p.facts.PlainPods = p.facts.PlainPods || isReady(pod) && !manifests.EndsTLS(pod)
		if err := add(r.environmentOf(ctx, p, pod.Spec)); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(used, func(a, b manifests.Upstreams) int {
		return cmp.Or(cmp.Compare(a.DatabaseURL, b.DatabaseURL), cmp.Compare(a.RedisURL, b.RedisURL), cmp.Compare(a.S3Endpoint, b.S3Endpoint), cmp.Compare(fmt.Sprint(a.Identity), fmt.Sprint(b.Identity)))
	})
	return slices.Compact(used), nil
}

// over says whether nothing of a pod runs any more.
func over(pod corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// environmentOf are the settings and the Secret of ours that a pod of the server takes its variables from; nil if it has none.
func (r *Reconciler) environmentOf(ctx context.Context, p *pass, pod corev1.PodSpec) (*corev1.ConfigMap, *corev1.Secret, error) {
	var configMaps, secrets []string
	for _, c := range pod.Containers {
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil {
				configMaps = append(configMaps, from.ConfigMapRef.Name)
			}
			if from.SecretRef != nil {
				secrets = append(secrets, from.SecretRef.Name)
			}
		}
	}
	return r.environment(ctx, p, configMaps, secrets)
}

// environment reads the settings and the Secret of ours among those of these names: a webhook may have given a pod others.
func (r *Reconciler) environment(ctx context.Context, p *pass, configMaps, secrets []string) (settings *corev1.ConfigMap, secret *corev1.Secret, err error) {
	for _, name := range configMaps {
		found, err := child(ctx, r, p, name, &corev1.ConfigMap{})
		if err != nil {
			return nil, nil, err
		}
		if found != nil && ptr.Deref(found.Immutable, false) {
			settings = found
		}
	}
	for _, name := range secrets {
		found, err := child(ctx, r, p, name, &corev1.Secret{})
		if err != nil {
			return nil, nil, err
		}
		if found != nil && !isData(found) {
			secret = found
		}
	}
	return settings, secret, nil
}

// serverPods are the pods that the server's Deployment made: anybody may give a pod our labels.
func (r *Reconciler) serverPods(ctx context.Context, p *pass, server *appsv1.Deployment) ([]corev1.Pod, error) {
	if server == nil {
		return nil, nil
	}
	var sets appsv1.ReplicaSetList
	if err := r.List(ctx, &sets, cachedInPlatform(p.ap)...); err != nil {
		return nil, fmt.Errorf("list ReplicaSets: %w", err)
	}
	makers := map[types.UID]bool{}
	for _, set := range sets.Items {
		makers[set.UID] = metav1.IsControlledBy(&set, server)
	}
	return r.podsOf(ctx, p, makers)
}

// podsOf are the platform's pods that these objects made.
func (r *Reconciler) podsOf(ctx context.Context, p *pass, makers map[types.UID]bool) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := r.List(ctx, &pods, cachedInPlatform(p.ap)...); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	return slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool {
		maker := metav1.GetControllerOf(&pod)
		return maker == nil || !makers[maker.UID]
	}), nil
}
