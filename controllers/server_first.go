package controllers

import (
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// A change of where pods may run (spec.pod) reaches the server's pods first, of which none ends before another is ready: a priority
// class that does not exist, or a selector that no node has, then stops a rollout and nothing else. The managed parts, whose only pod
// ends before the next one starts, follow when the server has shown that there are such places.

// staysForNow keeps a managed part where it is, in the object that is about to be applied, and says whether it did.
func (r *Reconciler) staysForNow(ctx context.Context, p *pass, object client.Object, wanted []client.Object) (bool, error) {
	set, ok := object.(*appsv1.StatefulSet)
	if !ok || ptr.Deref(set.Spec.Replicas, 1) == 0 {
		return false, nil
	}
	live, err := child(ctx, r, p, set.Name, &appsv1.StatefulSet{})
	if err != nil || live == nil || live.Status.ReadyReplicas == 0 {
		return false, err // nothing to lose
	}
	is, asked := &live.Spec.Template.Spec, &set.Spec.Template.Spec
	if placeOf(is).equal(placeOf(asked)) {
		return false, nil
	}
	if moved, err := r.serverMoved(ctx, p.ap, wanted); err != nil || moved {
		return false, err
	}
	asked.NodeSelector, asked.Tolerations, asked.PriorityClassName = is.NodeSelector, is.Tolerations, is.PriorityClassName
	return true, nil
}

// serverMoved says whether the server's pods run as it is wanted, or none can show it.
func (r *Reconciler) serverMoved(ctx context.Context, ap *assetv1.AssetPlatform, wanted []client.Object) (bool, error) {
	i := slices.IndexFunc(wanted, func(o client.Object) bool { _, ok := o.(*appsv1.Deployment); return ok })
	if i < 0 {
		return true, nil
	}
	c, err := r.applier.compare(ctx, ap, wanted[i])
	if _, found := asFinding(err, ""); found {
		return true, nil
	}
	if err != nil || !c.same {
		return false, err
	}
	server := c.live.(*appsv1.Deployment)
	replicas, have := ptr.Deref(server.Spec.Replicas, 1), server.Status
	rolledOut := have.ObservedGeneration >= server.Generation && have.UpdatedReplicas == have.Replicas && have.AvailableReplicas == have.Replicas
	return replicas == 0 || rolledOut && have.Replicas > 0, nil
}

// place is what spec.pod says of where every pod may run.
type place struct {
	nodeSelector  map[string]string
	tolerations   []corev1.Toleration
	priorityClass string
}

func placeOf(pod *corev1.PodSpec) place {
	return place{pod.NodeSelector, pod.Tolerations, pod.PriorityClassName}
}

func (a place) equal(b place) bool {
	return equality.Semantic.DeepEqual(a.nodeSelector, b.nodeSelector) && equality.Semantic.DeepEqual(a.tolerations, b.tolerations) && a.priorityClass == b.priorityClass
}
