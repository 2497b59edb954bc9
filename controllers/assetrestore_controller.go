package controllers

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// +kubebuilder:rbac:groups=assetplatform.io,resources=assetrestores,verbs=list;watch;create;delete
// +kubebuilder:rbac:groups=assetplatform.io,resources=assetrestores/status,verbs=patch

// reconcileRestore tells what becomes of an AssetRestore. What it asks for is done by its platform's reconciliation.
func (r *Reconciler) reconcileRestore(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	stored := &assetv1.AssetRestore{}
	if err := r.Get(ctx, req.NamespacedName, stored); err != nil || !stored.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if hasEnded(stored) {
		return ctrl.Result{}, nil // its Job may be gone
	}
	restore := stored.DeepCopy()
	o, err := r.observeRestoreObject(because(ctx, "restore"), restore)
	if err == nil {
		s := &restore.Status
		s.ObservedGeneration = restore.Generation
		if o.job != nil {
			s.Job = o.job.Name
		}
		if s.SafetySet = o.result.SafetySet; o.done != nil && o.done.status == metav1.ConditionTrue && o.result.Set != "" {
			s.Set, s.SnapshotTime = o.result.Set, timeOf(o.result.SnapshotTime)
		}
		setOneTime(&s.Conditions, restore.Generation, o)
		err = r.patchStatus(because(ctx, "status"), stored, restore)
	}
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	}
	if o.done == nil {
		return ctrl.Result{RequeueAfter: restoreRecheck}, err // what it waits for does not tell
	}
	return ctrl.Result{}, err
}

func (r *Reconciler) observeRestoreObject(ctx context.Context, restore *assetv1.AssetRestore) (o oneTime, err error) {
	ap := &assetv1.AssetPlatform{}
	err = r.Get(ctx, client.ObjectKey{Namespace: restore.Namespace, Name: restore.Spec.Platform}, ap)
	if apierrors.IsNotFound(err) {
		o.problem = &finding{reason: assetv1.ReasonPlatformNotFound, problem: fmt.Sprintf("There is no AssetPlatform %s in namespace %s", restore.Spec.Platform, restore.Namespace), remedy: "make it; it need not have any data"}
		return o, nil
	}
	if err != nil {
		return o, err
	}
	job, err := r.restoreJob(ctx, ap, restore)
	if err != nil {
		return o, err
	}
	if job == nil && ap.Status.Restored == string(restore.UID) { // somebody has deleted it meanwhile
		done := yes(assetv1.ReasonRestored, "A set is restored")
		o.done = &done
		return o, nil
	}
	if job == nil {
		o.waits = waitsFor(ap, "has its database, and no API pods any more")
		_, problems, err := r.restoreFacts(ctx, &pass{ap: ap}, restore)
		if len(problems) > 0 {
			o.problem = problems[0]
		}
		return o, err
	}
	if o, err = r.observeOneTime(ctx, job, manifests.ComponentRestore); err != nil || o.done == nil || o.done.status != metav1.ConditionTrue {
		return o, err
	}
	if ap.Status.Restored != string(restore.UID) { // the platform is to see the Job's end first: then it migrates, and serves
		o.done = nil
		return o, nil
	}
	done := yes(assetv1.ReasonRestored, fmt.Sprintf("Set %s of %s is restored", o.result.Set, moment(o.result.SnapshotTime)))
	if o.result.SafetySet != "" {
		done.message += "; what was there before is in set " + o.result.SafetySet
	}
	o.done = &done
	return o, nil
}
