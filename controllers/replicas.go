package controllers

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/assetplatform/assetplatform/internal/manifests"
)

// replicasManager owns the replicas of a Deployment from when the operator lets go of them
// until the autoscaler first changes them.
const replicasManager = "assetplatform-replicas"

// handOverReplicas keeps a Deployment's number of pods while the operator stops to name it: a
// field that is dropped by its only owner goes back to its default, which is 1
// (kubernetes.io/docs/reference/using-api/server-side-apply, transferring ownership). The number
// is the one that the apiserver has now: where the cache is behind, or it changes meanwhile, that is a conflict, and tried again.
func (a *applier) handOverReplicas(ctx context.Context, cached *appsv1.Deployment, intent *unstructured.Unstructured) error {
	if _, wanted, _ := unstructured.NestedFieldNoCopy(intent.Object, "spec", "replicas"); wanted || !ownsReplicas(cached) {
		return nil
	}
	if cached.Spec.Replicas == nil {
		return nil
	}
	handOver := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"replicas": int64(*cached.Spec.Replicas)},
	}}
	handOver.SetNamespace(cached.Namespace)
	handOver.SetName(cached.Name)
	handOver.SetUID(cached.UID)
	handOver.SetResourceVersion(cached.ResourceVersion)
	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(handOver), client.FieldOwner(replicasManager)); err != nil {
		return fmt.Errorf("hand over the replicas of %s: %w", describe(cached), err)
	}
	return nil
}

// ownsReplicas says whether the operator names the number of pods.
func ownsReplicas(d *appsv1.Deployment) bool {
	owned, ok := ownedFields(d)
	var fields struct {
		Spec map[string]any `json:"f:spec"`
	}
	if !ok || json.Unmarshal(owned, &fields) != nil {
		return false
	}
	_, named := fields.Spec["f:replicas"]
	return named
}

// serverReplicas is the number of API pods that the server's Deployment asks for; 0 if it is not there.
func (r *Reconciler) serverReplicas(ctx context.Context, p *pass) (int32, error) {
	d, err := child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{})
	if err != nil || d == nil {
		return 0, err
	}
	return ptr.Deref(d.Spec.Replicas, 1), nil
}
