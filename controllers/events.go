package controllers

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// announced are the conditions whose changes are worth an event.
var announced = []string{assetv1.ConditionReady, assetv1.ConditionMigrated, assetv1.ConditionBackupHealthy, assetv1.ConditionRestoreProven}

// underWay are the reasons of a false condition that ask nobody to do anything.
var underWay = []string{
	assetv1.ReasonProgressing, assetv1.ReasonMigrationWaiting, assetv1.ReasonMigrationRunning, assetv1.ReasonWaitingForManaged,
	assetv1.ReasonNoBackup, assetv1.ReasonBackupWaiting, assetv1.ReasonNoDrill, assetv1.ReasonDrillWaiting,
}

// eventLimit is the apiserver's limit of an event's note, in bytes.
const eventLimit = 1024

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
		if is.Status == metav1.ConditionFalse && !slices.Contains(underWay, is.Reason) {
			kind = corev1.EventTypeWarning
		}
		r.Events.Eventf(after, nil, kind, is.Reason, condition, "%s", eventNote(is.Message))
	}
}

// eventNote is a text as long as the apiserver takes it.
func eventNote(text string) string {
	if len(text) <= eventLimit {
		return text
	}
	return strings.ToValidUTF8(text[:eventLimit-len("…")], "") + "…"
}
