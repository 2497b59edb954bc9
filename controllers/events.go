package controllers

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// announced are the conditions whose changes are worth an event.
var announced = []string{assetv1.ConditionReady, assetv1.ConditionMigrated}

// announce sends an event for a condition that changed its status or reason, and
// none while nothing changes.
func (r *Reconciler) announce(before, after *assetv1.AssetPlatform) {
	for _, condition := range announced {
		was := meta.FindStatusCondition(before.Status.Conditions, condition)
		is := meta.FindStatusCondition(after.Status.Conditions, condition)
		if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason {
			continue
		}
		kind := corev1.EventTypeNormal
		if is.Status == metav1.ConditionFalse && is.Reason != assetv1.ReasonProgressing && was != nil && was.Status == metav1.ConditionTrue {
			kind = corev1.EventTypeWarning
		}
		r.Events.Eventf(after, nil, kind, is.Reason, condition, "%s", is.Message)
	}
}
