package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// A restore stops the server, runs its Job, and has the database migrated again, for that may be of an older schema now. The AssetRestore's
// own reconciler tells of it; here it is done.

// observeRestore finds the restore that is under way, if there is one, and moves on from one that has ended.
func (r *Reconciler) observeRestore(ctx context.Context, p *pass) error {
	from := waitsForRestore(p.ap)
	if from {
		var err error
		p.facts.Restoring = true // also while its AssetRestore is not there yet
		if p.restoreProblem, err = r.failedRestoreFrom(ctx, p.ap); err != nil {
			return err
		}
	}
	restores, err := r.restoresOf(ctx, p.ap)
	if err != nil {
		return err
	}
	for i := range restores {
		restore := &restores[i]
		if from && foundFull(p.ap, restore) {
			p.ap.Status.Restored, p.facts.Restoring, p.restoreProblem = string(restore.UID), false, nil
			r.Events.Eventf(p.ap, restore, corev1.EventTypeWarning, assetv1.ReasonRestoreSkipped, "Restore",
				"The database is not empty: the platform begins with what is there, and not with the set that spec.restoreFrom names")
			continue
		}
		job, err := r.restoreJob(ctx, p.ap, restore)
		if err != nil {
			return err
		}
		if from && isOutdated(p.ap, restore) && (job == nil || finished(job) != nil) {
			if err := r.Delete(ctx, restore, client.Preconditions{UID: &restore.UID}); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete AssetRestore: %w", err)
			}
			p.restoreProblem = nil
			return r.awaitRestorePods(ctx, p) // its event brings the next pass, which makes another one
		}
		if string(restore.UID) == p.ap.Status.Restored || hasEnded(restore) {
			continue
		}
		outcome := (*batchv1.JobCondition)(nil)
		if job != nil {
			outcome = finished(job)
		}
		if outcome == nil {
			begun, err := r.beginRestore(ctx, p, restore, job != nil)
			if begun || err != nil {
				return err
			}
			continue // it waits for something; another one need not
		}
		if outcome.Type == batchv1.JobComplete {
			p.ap.Status.Restored = string(restore.UID)
			p.facts.Restoring = false
		}
	}
	return r.awaitRestorePods(ctx, p)
}

// waitsForRestore says whether a platform is to begin with a set, and has not yet.
func waitsForRestore(ap *assetv1.AssetPlatform) bool {
	m := ap.Status.Migration
	return ap.Spec.RestoreFrom != nil && ap.Status.Restored == "" && (m == nil || m.Migrated == nil)
}

// isRestoreFrom says whether an AssetRestore is the one that stands for spec.restoreFrom.
func isRestoreFrom(ap *assetv1.AssetPlatform, restore *assetv1.AssetRestore) bool {
	return restore.Name == manifests.RestoreFromName(ap) && metav1.IsControlledBy(restore, ap)
}

// isOutdated says whether an AssetRestore is the one of spec.restoreFrom, which somebody has edited since.
func isOutdated(ap *assetv1.AssetPlatform, restore *assetv1.AssetRestore) bool {
	return isRestoreFrom(ap, restore) && !equality.Semantic.DeepEqual(restore.Spec.RestoreSource, *ap.Spec.RestoreFrom)
}

// foundFull says whether the restore with which a platform is to begin was refused because the database is not empty: a new platform whose
// volumes were kept begins with them.
func foundFull(ap *assetv1.AssetPlatform, restore *assetv1.AssetRestore) bool {
	if !isRestoreFrom(ap, restore) {
		return false
	}
	c := meta.FindStatusCondition(restore.Status.Conditions, assetv1.ConditionStalled)
	return c != nil && c.Status == metav1.ConditionTrue && c.Reason == codeReason(config.CodeTargetNotEmpty)
}

// restoresOf are the platform's AssetRestores, the oldest first.
func (r *Reconciler) restoresOf(ctx context.Context, ap *assetv1.AssetPlatform) ([]assetv1.AssetRestore, error) {
	var list assetv1.AssetRestoreList
	if err := r.List(ctx, &list, client.InNamespace(ap.Namespace)); err != nil {
		return nil, fmt.Errorf("list AssetRestores: %w", err)
	}
	own := slices.DeleteFunc(list.Items, func(restore assetv1.AssetRestore) bool {
		return restore.Spec.Platform != ap.Name || restore.DeletionTimestamp != nil
	})
	slices.SortFunc(own, func(a, b assetv1.AssetRestore) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return own, nil
}

// hasEnded says whether an AssetRestore says that it has, one way or the other.
func hasEnded(restore *assetv1.AssetRestore) bool {
	return meta.IsStatusConditionTrue(restore.Status.Conditions, assetv1.ConditionComplete) || meta.IsStatusConditionTrue(restore.Status.Conditions, assetv1.ConditionStalled)
}

// restoreJob is the Job of an AssetRestore; nil if it is not there.
func (r *Reconciler) restoreJob(ctx context.Context, ap *assetv1.AssetPlatform, restore *assetv1.AssetRestore) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	err := r.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: manifests.RestoreJobName(ap, restore)}, job)
	if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(job, restore) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read restore Job: %w", err)
	}
	return job, nil
}

// beginRestore gathers what the restore needs. While something of that is missing nothing is stopped for it; but once its Job is there,
// nothing serves, whatever becomes of the spec and of Secrets meanwhile.
func (r *Reconciler) beginRestore(ctx context.Context, p *pass, restore *assetv1.AssetRestore, underWay bool) (begun bool, err error) {
	facts, problems, err := r.restoreFacts(ctx, p, restore)
	switch {
	case err != nil:
		return false, err
	case len(problems) == 0:
		p.facts.Restore, p.facts.Restoring = facts, true
		return true, nil
	case underWay:
		p.facts.Restoring = true
		p.refuse(problems[0], r.interval()) // so that what the Job's pods need stays
		return true, nil
	}
	p.restoreProblem = problems[0]
	p.requeueIn(r.interval())
	return false, nil
}

// awaitRestorePods lets nothing serve while a pod restores whose AssetRestore is gone: it may still do so.
func (r *Reconciler) awaitRestorePods(ctx context.Context, p *pass) error {
	var pods corev1.PodList
	selector := client.MatchingLabels{manifests.LabelComponent: string(manifests.ComponentRestore)}
	if err := r.List(ctx, &pods, append(cachedInPlatform(p.ap), selector)...); err != nil {
		return fmt.Errorf("list restore pods: %w", err)
	}
	p.facts.Restoring = p.facts.Restoring || slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
		return pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded && metav1.GetControllerOf(&pod) != nil
	})
	return nil
}

func (r *Reconciler) restoreFacts(ctx context.Context, p *pass, restore *assetv1.AssetRestore) (*manifests.RestoreFacts, []*finding, error) {
	l := credentialLookup{ctx: ctx, reader: &r.secrets, platform: client.ObjectKeyFromObject(p.ap)}
	s := restore.Spec.RestoreSource
	f := &manifests.RestoreFacts{
		Object: restore, Identity: l.key("identitySecretRef", s.IdentitySecretRef), VerifyKey: l.key("verifyKeySecretRef", s.VerifyKeySecretRef),
	}
	var destination assetv1.BackupDestination
	if s.Bucket != nil {
		destination.BackupBucket = *s.Bucket
	} else {
		named := namedDestination(p.ap, s.Destination)
		if named == nil {
			return nil, []*finding{unknownDestination(p.ap, s.Destination)}, nil
		}
		destination = *named
	}
	safety := restore.Spec.Overwrite != "" && !restore.Spec.NoSafetySet
	if safety && !isOwnBucket(p.ap, destination.BackupBucket) {
		return nil, []*finding{{
			reason: assetv1.ReasonInvalidSpec, where: "AssetRestore " + restore.Name,
			problem: "The set of what is overwritten would go among those of another platform, in bucket " + destination.Bucket,
			remedy:  "make an AssetBackup of the platform first, and another AssetRestore with noSafetySet",
		}}, nil
	}
	if b := p.ap.Spec.Backup; b != nil && b.Encryption != nil && (safety || s.Bucket == nil) { // a set that is not signed would be none there
		f.SigningKey = l.key("spec.backup.encryption.signingKeySecretRef", b.Encryption.SigningKeySecretRef)
	}
	f.Bucket, f.Credentials = destination.BackupBucket, l.destination(&destination, "bucket")
	if l.err != nil {
		return nil, nil, l.err
	}
	var problems []*finding
	for _, lack := range l.lacks {
		problems = append(problems, lack.finding(p.ap.Namespace))
	}
	return f, problems, nil
}

// isOwnBucket says whether the platform keeps its own sets there.
func isOwnBucket(ap *assetv1.AssetPlatform, b assetv1.BackupBucket) bool {
	return ap.Spec.Backup != nil && slices.ContainsFunc(ap.Spec.Backup.Destinations, func(d assetv1.BackupDestination) bool {
		return d.Bucket == b.Bucket && d.Prefix == b.Prefix && d.Endpoint == b.Endpoint
	})
}

// restoreSecrets are the names of the Secrets that spec.restoreFrom names.
func restoreSecrets(ap *assetv1.AssetPlatform) (names []string) {
	from := ap.Spec.RestoreFrom
	if from == nil {
		return nil
	}
	for _, ref := range []*assetv1.SecretKeyRef{from.IdentitySecretRef, from.VerifyKeySecretRef} {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	if from.Bucket != nil {
		names = append(names, bucketSecrets(*from.Bucket)...)
	}
	return names
}

// namedDestination is a destination of the platform, the first where none is named; nil if it has none of that name.
func namedDestination(ap *assetv1.AssetPlatform, name string) *assetv1.BackupDestination {
	if ap.Spec.Backup == nil {
		return nil
	}
	for i, d := range ap.Spec.Backup.Destinations {
		if name == "" || d.Name == name {
			return &ap.Spec.Backup.Destinations[i]
		}
	}
	return nil
}

func unknownDestination(ap *assetv1.AssetPlatform, name string) *finding {
	f := &finding{reason: assetv1.ReasonUnknownDestination, where: "AssetPlatform " + ap.Name, problem: fmt.Sprintf("AssetPlatform %s has no destination %s", ap.Name, name)}
	f.remedy = "name one of spec.backup.destinations"
	if name == "" {
		f.problem, f.remedy = fmt.Sprintf("AssetPlatform %s has no backup", ap.Name), "add spec.backup there"
	}
	return f
}

// startRestore makes the AssetRestore that a new platform begins with, and the Job of one that is under way, once nothing serves any more.
func (r *Reconciler) startRestore(ctx context.Context, p *pass) error {
	if waitsForRestore(p.ap) && p.facts.Restore == nil {
		return r.createRestoreFrom(ctx, p)
	}
	if p.facts.Restore == nil || !p.databaseStarted || p.ap.Spec.Hibernate || p.ap.Status.Migration != nil && p.ap.Status.Migration.Phase == assetv1.MigrationRunning {
		return nil
	}
	if quiet, err := r.serverEnded(ctx, p); err != nil || !quiet {
		return err
	}
	job := manifests.RestoreJob(p.ap, p.facts)
	if live, err := r.restoreJob(ctx, p.ap, p.facts.Restore.Object); err != nil || live != nil {
		return err
	}
	err := r.Create(ctx, job, client.FieldOwner(fieldManager))
	if problem, ok := refusalOfObject(job, err); ok {
		p.restoreProblem = problem
		p.requeueIn(r.interval())
		return nil
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create restore Job: %w", err)
	}
	// From now on nobody knows which schema the database has.
	next := nextAttempt(p.ap, p.facts)
	next.Migrated = nil
	p.ap.Status.Migration = next
	return nil
}

func (r *Reconciler) createRestoreFrom(ctx context.Context, p *pass) error {
	if p.restoreProblem != nil {
		return nil // it is there
	}
	owner := metav1.NewControllerRef(p.ap, assetv1.GroupVersion.WithKind("AssetPlatform"))
	restore := &assetv1.AssetRestore{
		ObjectMeta: metav1.ObjectMeta{
			Name: manifests.RestoreFromName(p.ap), Namespace: p.ap.Namespace, Labels: manifests.Labels(p.ap, manifests.ComponentRestore), OwnerReferences: []metav1.OwnerReference{*owner},
		},
		Spec: assetv1.AssetRestoreSpec{Platform: p.ap.Name, RestoreSource: *p.ap.Spec.RestoreFrom},
	}
	err := r.Create(ctx, restore, client.FieldOwner(fieldManager))
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create AssetRestore: %w", err)
	}
	return nil
}

// serverEnded says whether no pod serves any more, and none will.
func (r *Reconciler) serverEnded(ctx context.Context, p *pass) (bool, error) {
	server, err := child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{})
	if err != nil || server == nil {
		return err == nil, err
	}
	pods, err := r.serverPods(ctx, p, server)
	if err != nil {
		return false, err
	}
	running := slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
		return pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
	})
	settled := !p.unsettled[objectKeyOf(server)] && server.Status.ObservedGeneration >= server.Generation
	return settled && ptr.Deref(server.Spec.Replicas, 1) == 0 && server.Status.Replicas == 0 && !running, nil
}

// failedRestoreFrom is why a new platform has not got the set that it is to begin with; nil if nothing is known.
func (r *Reconciler) failedRestoreFrom(ctx context.Context, ap *assetv1.AssetPlatform) (*finding, error) {
	restore := &assetv1.AssetRestore{}
	err := r.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: manifests.RestoreFromName(ap)}, restore)
	if err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	c := meta.FindStatusCondition(restore.Status.Conditions, assetv1.ConditionStalled)
	if c == nil || c.Status != metav1.ConditionTrue {
		return nil, nil
	}
	return &finding{
		reason: c.Reason, where: "AssetRestore " + restore.Name, problem: "The platform could not be made from the set that spec.restoreFrom names (" + c.Message + ")",
		remedy: "mend that and delete the AssetRestore, which is then made again; or correct spec.restoreFrom, or take it out to begin empty",
	}, nil
}

// restoringVerdict keeps a platform from being ready while a restore goes on; nil if none does. No condition tells of it alone.
func restoringVerdict(o *observed) *verdict {
	var v verdict
	switch {
	case o.restoreProblem != nil && o.facts.Restoring:
		v = no(o.restoreProblem)
	case o.facts.Restore != nil:
		v = waiting(assetv1.ReasonRestoring, fmt.Sprintf("AssetRestore %s brings a set back: nothing serves meanwhile", o.facts.Restore.Object.Name))
	case o.facts.Restoring:
		v = waiting(assetv1.ReasonRestoring, "The platform waits for the set that it is to begin with")
	default:
		return nil
	}
	return &v
}

// restoreRecheck is how soon a restore is looked at again that waits for something of which nothing tells.
const restoreRecheck = 10 * time.Second
