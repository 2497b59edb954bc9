package controllers

import (
	"context"
	"encoding/json"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// An AssetBackup and an AssetRestore each stand for one Job, and tell what becomes of it by the same conditions.

// oneTime is what the conditions of such an object are made from.
type oneTime struct {
	job     *batchv1.Job // nil: not there yet
	waits   string       // for what, while there is no Job
	problem *finding     // what keeps it from going on
	done    *verdict     // it has ended, well or not
	result  config.BackupResult
}

// observeOneTime finds out what became of a Job.
func (r *Reconciler) observeOneTime(ctx context.Context, job *batchv1.Job, component manifests.Component) (o oneTime, err error) {
	o.job = job
	outcome := finished(job)
	if outcome == nil {
		pods, err := jobPods(ctx, r, job)
		if found := diagnose(pods); len(found) > 0 {
			o.problem = found[0]
		}
		return o, err
	}
	pods, err := jobPods(ctx, r.APIReader, job) // past the cache, which may show the Job's end before its pods' last words
	if err != nil {
		return o, err
	}
	said, ok := containerWords(pods, string(component))
	if ok {
		_ = json.Unmarshal(said.Result, &o.result) // an image of another version may say less
	}
	var v verdict
	if outcome.Type == batchv1.JobComplete {
		v = yes(assetv1.ReasonReady, said.Message)
	} else {
		if !ok {
			said = silentEnd(pods, outcome)
		}
		v = no(failedRun(&assetv1.BackupRun{Job: job.Name, Code: string(said.Code), Message: own(said.Message), Remedy: own(said.Remedy)}, "The "+string(component)+" failed"))
	}
	o.done = &v
	return o, nil
}

// waitsFor says why there is no Job yet: the platform is to come to something first.
func waitsFor(ap *assetv1.AssetPlatform, what string) string {
	switch {
	case ap.Spec.Suspend:
		what = "is looked after again: set its spec.suspend to false"
	case ap.Spec.Hibernate:
		what = "wakes: set its spec.hibernate to false"
	}
	return fmt.Sprintf("Waiting until AssetPlatform %s %s", ap.Name, what)
}

// setOneTime writes the conditions.
func setOneTime(conditions *[]metav1.Condition, generation int64, o oneTime) {
	set := func(condition string, v verdict) {
		meta.SetStatusCondition(conditions, metav1.Condition{Type: condition, Status: v.status, Reason: v.reason, Message: v.message, ObservedGeneration: generation})
	}
	under := waiting(assetv1.ReasonProgressing, o.waits)
	switch {
	case o.done != nil:
		under = *o.done
	case o.problem != nil:
		under = no(o.problem)
	case o.job != nil:
		under.message = fmt.Sprintf("Job %s works", o.job.Name)
	}
	set(assetv1.ConditionComplete, under)
	reconciling, stalled := verdict{status: metav1.ConditionTrue, reason: under.reason, message: under.message}, waiting(assetv1.ReasonNotStalled, "Nothing waits for another one")
	if o.done != nil {
		reconciling = waiting(assetv1.ReasonSettled, "Nothing is under way")
		if under.status != metav1.ConditionTrue {
			stalled = verdict{status: metav1.ConditionTrue, reason: under.reason, message: under.message}
		}
	}
	set(assetv1.ConditionReconciling, reconciling)
	set(assetv1.ConditionStalled, stalled)
}

// patchStatus writes the status of an object if it says anything new.
func (r *Reconciler) patchStatus(ctx context.Context, before, after client.Object) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(ctx, after, patch, client.FieldOwner(fieldManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}
