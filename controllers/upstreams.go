package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/assetplatform/assetplatform/internal/manifests"
)

// upstreamsInUse are what the server's pods depend on, those of before the present spec included: they serve until the new
// ones do, which may be long if a migration fails.
func (r *Reconciler) upstreamsInUse(ctx context.Context, p *pass) ([]manifests.Upstreams, error) {
	var pods corev1.PodList
	server := client.MatchingLabels{manifests.LabelComponent: string(manifests.ComponentServer)}
	if err := r.List(ctx, &pods, append(inPlatform(p.ap), server)...); err != nil {
		return nil, fmt.Errorf("list the server's pods: %w", err)
	}
	var used []manifests.Upstreams
	for _, pod := range pods.Items {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		settings, secret := &corev1.ConfigMap{}, &corev1.Secret{}
		var failed error
		eachReference(pod.Spec, func(kind, name string) {
			switch kind {
			case "ConfigMap":
				settings, failed = child(ctx, r, p, name, settings)
			case "Secret":
				if found, err := child(ctx, r, p, name, &corev1.Secret{}); err != nil {
					failed = err
				} else if found != nil && !isData(found) {
					secret = found
				}
			}
		})
		if failed != nil {
			return nil, failed
		}
		if settings != nil {
			used = append(used, manifests.UpstreamsOf(settings, secret))
		}
	}
	slices.SortFunc(used, func(a, b manifests.Upstreams) int {
		return cmp.Or(cmp.Compare(a.DatabaseURL, b.DatabaseURL), cmp.Compare(a.RedisURL, b.RedisURL), cmp.Compare(a.S3Endpoint, b.S3Endpoint))
	})
	return slices.Compact(used), nil
}
