package controllers

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// +kubebuilder:rbac:groups=assetplatform.io,resources=assetbackups,verbs=list;watch
// +kubebuilder:rbac:groups=assetplatform.io,resources=assetbackups/status,verbs=patch

// reconcileBackup makes the Job of an AssetBackup, and tells what becomes of it. The status of its platform tells of the set as well.
func (r *Reconciler) reconcileBackup(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	stored := &assetv1.AssetBackup{}
	if err := r.Get(ctx, req.NamespacedName, stored); err != nil || !stored.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if meta.IsStatusConditionTrue(stored.Status.Conditions, assetv1.ConditionComplete) || meta.IsStatusConditionTrue(stored.Status.Conditions, assetv1.ConditionStalled) {
		return ctrl.Result{}, nil // its Job may be gone
	}
	b := stored.DeepCopy()
	o, err := r.makeBackup(because(ctx, "backup"), b)
	if err == nil {
		b.Status.ObservedGeneration = b.Generation
		if o.job != nil {
			b.Status.Job = o.job.Name
		}
		if o.done != nil && o.done.status == metav1.ConditionTrue {
			b.Status.Set, b.Status.SnapshotTime, b.Status.VerifiedTime = o.result.Set, timeOf(o.result.SnapshotTime), timeOf(o.result.VerifiedTime)
			o.done.message = fmt.Sprintf("Set %s of %s is verified", o.result.Set, moment(o.result.SnapshotTime))
		}
		setOneTime(&b.Status.Conditions, b.Generation, o)
		err = r.patchStatus(because(ctx, "status"), stored, b)
	}
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	}
	if o.job == nil {
		return ctrl.Result{RequeueAfter: r.interval()}, err // a platform that comes does not tell
	}
	return ctrl.Result{}, err
}

// makeBackup makes the Job where there is none, just like the one that the destination's CronJob would.
func (r *Reconciler) makeBackup(ctx context.Context, b *assetv1.AssetBackup) (o oneTime, err error) {
	ap := &assetv1.AssetPlatform{}
	err = r.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Spec.Platform}, ap)
	if apierrors.IsNotFound(err) {
		o.problem = &finding{reason: assetv1.ReasonPlatformNotFound, problem: fmt.Sprintf("There is no AssetPlatform %s in namespace %s", b.Spec.Platform, b.Namespace), remedy: "make it, or an AssetBackup of another"}
		return o, nil
	}
	if err != nil {
		return o, err
	}
	destination := namedDestination(ap, b.Spec.Destination)
	if destination == nil {
		o.problem = unknownDestination(ap, b.Spec.Destination)
		return o, nil
	}
	job := &batchv1.Job{}
	name := manifests.AssetBackupJobName(ap, destination.Name, b)
	err = r.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: name}, job)
	if err == nil {
		return r.observeOneTime(ctx, job, manifests.ComponentBackup)
	}
	if !apierrors.IsNotFound(err) {
		return o, fmt.Errorf("read backup Job: %w", err)
	}
	cron := &batchv1.CronJob{}
	err = r.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: manifests.CronJobName(ap, manifests.ComponentBackup, destination.Name)}, cron)
	if apierrors.IsNotFound(err) || err == nil && (!belongsTo(ap, cron) || cron.Spec.Suspend != nil && *cron.Spec.Suspend) {
		o.waits = waitsFor(ap, fmt.Sprintf("has a database and what its backups need: see its condition %s", assetv1.ConditionBackupHealthy))
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("read backup CronJob: %w", err)
	}
	job = manifests.JobOf(cron, name, metav1.NewControllerRef(b, assetv1.GroupVersion.WithKind("AssetBackup")))
	err = r.Create(ctx, job, client.FieldOwner(fieldManager))
	if problem, ok := refusalOfObject(job, err); ok {
		o.problem = problem
		return o, nil
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return o, fmt.Errorf("create backup Job: %w", err)
	}
	o.job = job
	return o, nil
}
