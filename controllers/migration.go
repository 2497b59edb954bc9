package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// The migration gate: image V never serves unless migrate(V) succeeded against the
// database that it would serve from.
//
// Each attempt has a number, reserved in the status before its Job is made, so that
// a restart between the two finds the same attempt. An attempt has one Job; a Job
// of an older attempt is ended, and seen to be gone, before the next is made. The
// outcome is kept in the status: deleting the Job later changes nothing.

const (
	firstRetry = 30 * time.Second // after a failure that may mend itself; doubled each time
	lastRetry  = 10 * time.Minute

	// unwatchedJobRecheck is how often a running Job is looked at that the cache does not show.
	unwatchedJobRecheck = 5 * time.Second
)

// observeMigration brings status.migration up to what the attempt's Job says, begins
// a new attempt where one is due, and decides which image may serve.
func (r *Reconciler) observeMigration(ctx context.Context, p *pass) error {
	if manifests.ManagedDatabase(p.ap) != nil && p.facts.DatabaseVolume == "" {
		return nil // there is nothing to migrate before its volume is claimed
	}
	m := p.ap.Status.Migration
	if m != nil && m.Target == p.facts.MigrationTarget() && m.Phase == assetv1.MigrationRunning {
		if err := r.observeJob(ctx, p); err != nil {
			return err
		}
		m = p.ap.Status.Migration
	}
	due, wait := attemptDue(p.ap, p.facts, r.now())
	if due || correctedMeanwhile(p) {
		m = nextAttempt(p.ap, p.facts)
		p.ap.Status.Migration = m
	} else if wait > 0 {
		p.requeueIn(wait)
	}
	p.facts.Attempt = m.Attempt
	p.facts.ServingImage = servingImage(m, p.facts)
	if p.facts.ServingImage != "" {
		m.Migrated = manifests.Serving(p.ap, p.facts)
	} else if m.Migrated != nil && m.Migrated.ConfigMap != "" {
		p.facts.Held = m.Migrated
	}
	return nil
}

// servingImage is the image that may serve after these attempts; empty if none may.
func servingImage(m *assetv1.MigrationStatus, f manifests.Facts) string {
	switch {
	case m == nil:
		return ""
	case m.Target == f.MigrationTarget() && m.Phase == assetv1.MigrationSucceeded:
		return f.TargetImage
	case m.Migrated != nil && m.Migrated.Database == f.DatabaseID():
		return m.Migrated.Image
	}
	return ""
}

// attemptDue says whether a new attempt is due now, or how long until it is.
func attemptDue(ap *assetv1.AssetPlatform, f manifests.Facts, now time.Time) (due bool, wait time.Duration) {
	m := ap.Status.Migration
	if m == nil || m.Target != f.MigrationTarget() {
		return true, 0
	}
	if m.Phase != assetv1.MigrationFailed && m.Phase != assetv1.MigrationSucceeded {
		return false, 0
	}
	if retry := ap.Annotations[assetv1.AnnotationRetry]; retry != "" && retry != m.Retry {
		return true, 0
	}
	if m.Phase == assetv1.MigrationSucceeded {
		return false, 0
	}
	if m.DatabaseSecret != manifests.MigrateSecret(ap, f).Name {
		return true, 0 // the URL's password or options were changed
	}
	if !mendsItself(config.Code(m.Code)) || m.FailedTime == nil {
		return false, 0
	}
	wait = m.FailedTime.Add(retryDelay(m.Failures)).Sub(now)
	return wait <= 0, max(wait, 0)
}

// correctedMeanwhile says whether the running attempt has failed pods and reads a Secret
// that was changed since: its next pods would only fail again, a minute apart.
func correctedMeanwhile(p *pass) bool {
	m := p.ap.Status.Migration
	return m != nil && m.Phase == assetv1.MigrationRunning && m.DatabaseSecret != manifests.MigrateSecret(p.ap, p.facts).Name &&
		slices.ContainsFunc(p.migrationPods, func(pod corev1.Pod) bool { return pod.Status.Phase == corev1.PodFailed })
}

// mendsItself says whether a failure may pass without an edit of the platform: what is
// wrong with a database can be mended there, a migration that fails on it cannot.
func mendsItself(code config.Code) bool {
	return code != config.CodeMigrationFailed && code != config.CodeSchemaTooNew
}

func retryDelay(failures int64) time.Duration {
	delay := firstRetry
	for ; failures > 1 && delay < lastRetry; failures-- {
		delay *= 2
	}
	return min(delay, lastRetry)
}

func nextAttempt(ap *assetv1.AssetPlatform, f manifests.Facts) *assetv1.MigrationStatus {
	next := &assetv1.MigrationStatus{
		Image: f.TargetImage, Target: f.MigrationTarget(), Attempt: 1, Phase: assetv1.MigrationPending,
		Retry: ap.Annotations[assetv1.AnnotationRetry], DatabaseSecret: manifests.MigrateSecret(ap, f).Name,
	}
	if last := ap.Status.Migration; last != nil {
		next.Attempt = last.Attempt + 1
		next.Migrated = last.Migrated
		if last.Target == next.Target {
			next.Failures = last.Failures
		}
	}
	next.Job = manifests.MigrateJobName(ap, next.Target, next.Attempt)
	return next
}

// observeJob moves a running attempt on to its outcome.
func (r *Reconciler) observeJob(ctx context.Context, p *pass) error {
	m := p.ap.Status.Migration
	job := &batchv1.Job{}
	name := client.ObjectKey{Namespace: p.ap.Namespace, Name: m.Job}
	err := r.Get(ctx, name, job)
	if apierrors.IsNotFound(err) { // deleted, not in the cache yet, or without our label
		p.requeueIn(unwatchedJobRecheck)
		err = r.APIReader.Get(ctx, name, job)
	}
	switch {
	case apierrors.IsNotFound(err), err == nil && !metav1.IsControlledBy(job, p.ap):
		p.ap.Status.Migration = nextAttempt(p.ap, p.facts)
		return nil
	case err != nil:
		return fmt.Errorf("read migration Job: %w", err)
	}
	outcome := finished(job)
	if outcome == nil {
		p.migrationPods, err = jobPods(ctx, r, job)
		if err == nil && len(p.migrationPods) == 0 {
			p.migrationRefusal, err = r.refusalOf(ctx, p, job)
			return err
		}
		// Kept: a Job that comes to its deadline takes its pods along, and with them what was wrong.
		if found := diagnose(p.migrationPods); len(found) > 0 {
			m.Message, m.Remedy = found[0].problem, found[0].remedy
		} else if slices.ContainsFunc(p.migrationPods, func(pod corev1.Pod) bool { return pod.DeletionTimestamp == nil }) {
			m.Message, m.Remedy = "", ""
		}
		return err
	}
	// Past the cache, once per attempt: it may show the Job's end before its pods' last words.
	pods, err := jobPods(ctx, r.APIReader, job)
	if err != nil {
		return err
	}
	if outcome.Type == batchv1.JobComplete {
		m.Phase, m.Code, m.Message, m.Remedy, m.FailedTime, m.Failures = assetv1.MigrationSucceeded, "", "", "", nil, 0
		m.Migrated = &assetv1.MigratedStatus{Image: m.Image, Database: p.facts.DatabaseID()}
		recordSchema(&p.ap.Status, pods)
		return nil
	}
	m.Phase, m.FailedTime = assetv1.MigrationFailed, &outcome.LastTransitionTime
	m.Failures++
	said := lastWords(pods, m, outcome)
	m.Code, m.Message, m.Remedy = string(said.Code), own(said.Message), own(said.Remedy)
	// When to try again is decided in the next pass.
	p.requeueIn(time.Millisecond)
	return nil
}

// finished is the condition that ended a Job, nil while it runs.
func finished(job *batchv1.Job) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// jobPods are the Job's pods, the newest first.
func jobPods(ctx context.Context, from client.Reader, job *batchv1.Job) ([]corev1.Pod, error) {
	var pods corev1.PodList
	if err := from.List(ctx, &pods, client.InNamespace(job.Namespace), client.MatchingLabels{batchv1.ControllerUidLabel: string(job.UID)}); err != nil {
		return nil, fmt.Errorf("list pods of migration Job: %w", err)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods.Items, nil
}

// lastWords is what the newest pod that ended said, or else what can be seen of it, or else
// what was seen while it was there, or else what its Job says.
func lastWords(pods []corev1.Pod, m *assetv1.MigrationStatus, outcome *batchv1.JobCondition) config.Termination {
	for _, pod := range pods {
		if said, ok := termination(&pod); ok {
			return said
		}
	}
	end := silentEnd(pods, outcome)
	switch {
	case end.Remedy != "": // it is known what went wrong
	case m.Message != "":
		end.Message, end.Remedy = m.Message+"; "+end.Message, m.Remedy
	case outcome.Reason == batchv1.JobReasonDeadlineExceeded:
		end.Remedy = "if the migration only takes long, raise spec.migrations.timeout"
	default:
		end.Remedy = "read the log of its pods"
	}
	return end
}

func termination(pod *corev1.Pod) (config.Termination, bool) {
	for _, c := range pod.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil {
			return config.ReadTermination(t.Message)
		}
	}
	return config.Termination{}, false
}

func recordSchema(status *assetv1.AssetPlatformStatus, pods []corev1.Pod) {
	for _, pod := range pods {
		said, ok := termination(&pod)
		var schema config.SchemaRange
		if ok && said.Code == config.CodeOK && json.Unmarshal(said.Result, &schema) == nil {
			status.Schema = assetv1.SchemaStatus{Current: schema.Schema, CompatibleFrom: schema.CompatibleFrom}
			return
		}
	}
}

// startMigration makes the Job of an attempt that is reserved in the stored status.
func (r *Reconciler) startMigration(ctx context.Context, p *pass) error {
	m := p.ap.Status.Migration
	if m == nil || m.Phase != assetv1.MigrationPending || !p.databaseStarted || p.facts.NothingServes(p.ap) {
		return nil
	}
	reserved, err := r.attemptReserved(ctx, p)
	if err != nil || !reserved {
		p.requeueIn(time.Millisecond) // the status is written at the end of this pass; the next one finds it
		return err
	}
	// The cache may not show a Job that was made a moment ago: two at once must never be.
	jobs, err := r.migrationJobs(ctx, r.APIReader, p, inPlatform(p.ap))
	if err != nil {
		return err
	}
	for _, job := range jobs {
		switch {
		case job.Name == m.Job && job.DeletionTimestamp == nil:
			m.Phase = assetv1.MigrationRunning
			p.requeueIn(time.Millisecond)
			return nil
		case job.Name == m.Job || finished(&job) == nil:
			p.requeueIn(time.Second)
			return r.endJob(ctx, &job)
		}
	}
	job := manifests.MigrateJob(p.ap, p.facts)
	err = r.Create(ctx, job, client.FieldOwner(fieldManager))
	if apierrors.IsAlreadyExists(err) {
		p.refuse(&finding{
			reason: assetv1.ReasonNameConflict, where: describe(job),
			problem: describe(job) + " exists and is not this platform's", remedy: "delete it",
		}, time.Second)
		return nil
	}
	if problem, ok := refusalOfObject(job, err); ok {
		p.refuse(problem, r.interval())
		return nil
	}
	if err != nil {
		return fmt.Errorf("create migration Job: %w", err)
	}
	m.Phase = assetv1.MigrationRunning
	return nil
}

// migrationJobs are the platform's migration Jobs, the newest first.
func (r *Reconciler) migrationJobs(ctx context.Context, from client.Reader, p *pass, within []client.ListOption) ([]batchv1.Job, error) {
	var jobs batchv1.JobList
	selector := client.MatchingLabels{manifests.LabelComponent: string(manifests.ComponentMigrate)}
	if err := from.List(ctx, &jobs, append(within, selector)...); err != nil {
		return nil, fmt.Errorf("list migration Jobs: %w", err)
	}
	own := slices.DeleteFunc(jobs.Items, func(job batchv1.Job) bool { return !metav1.IsControlledBy(&job, p.ap) })
	slices.SortFunc(own, func(a, b batchv1.Job) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return own, nil
}

// attemptReserved says whether the stored object is the one that this pass works on,
// with the attempt in its status. The cached one may be older.
func (r *Reconciler) attemptReserved(ctx context.Context, p *pass) (bool, error) {
	reserved := func(m *assetv1.MigrationStatus) bool {
		return m != nil && m.Job == p.ap.Status.Migration.Job && m.Phase == assetv1.MigrationPending
	}
	if !reserved(p.stored.Status.Migration) {
		return false, nil // by this very pass
	}
	stored := &assetv1.AssetPlatform{}
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(p.ap), stored); err != nil {
		return false, fmt.Errorf("read the reserved attempt: %w", err)
	}
	return stored.UID == p.ap.UID && stored.Generation == p.ap.Generation && reserved(stored.Status.Migration), nil
}

// endJob deletes a Job in the foreground: it is there until its pods are gone.
func (r *Reconciler) endJob(ctx context.Context, job *batchv1.Job) error {
	if job.DeletionTimestamp != nil {
		return nil
	}
	err := r.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationForeground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("end superseded migration Job: %w", err)
	}
	return nil
}

// forgetOldJobs deletes the Jobs of earlier attempts: all once a newer one succeeded,
// before that all but the last, whose log somebody may be reading.
func (r *Reconciler) forgetOldJobs(ctx context.Context, p *pass) error {
	m := p.ap.Status.Migration
	if m == nil {
		return nil // a managed database has no volume yet
	}
	jobs, err := r.migrationJobs(ctx, r, p, cachedInPlatform(p.ap))
	if err != nil {
		return err
	}
	kept := 0
	for _, job := range jobs {
		if job.Name == m.Job || finished(&job) == nil && m.Phase != assetv1.MigrationSucceeded {
			continue
		}
		if kept++; m.Phase != assetv1.MigrationSucceeded && kept == 1 {
			continue
		}
		if err := r.endJob(ctx, &job); err != nil {
			return err
		}
	}
	return nil
}
