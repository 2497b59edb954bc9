package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// Backups are made by CronJobs, whose pods say in their last words what came of it. That is kept in the status: Jobs are forgotten.

// backUpNow makes a set in each destination that can have one, once for each value of the annotation.
func (r *Reconciler) backUpNow(ctx context.Context, p *pass) error {
	asked := p.ap.Annotations[assetv1.AnnotationBackupNow]
	if p.ap.Spec.Backup == nil || asked == "" || p.ap.Status.Backup != nil && p.ap.Status.Backup.Now == asked || !p.facts.Backup.Migrated || p.ap.Spec.Hibernate {
		return nil
	}
	crons, settled, err := r.backupCrons(ctx, p)
	if err != nil || !settled {
		return err
	}
	refused := false
	for _, cron := range crons {
		name := manifests.BackupNowName(p.ap, cron.Labels[manifests.LabelDestination], asked)
		job := manifests.JobOf(cron, name, metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob")))
		if err := r.Create(ctx, job, client.FieldOwner(fieldManager)); err != nil && !apierrors.IsAlreadyExists(err) {
			problem, ok := refusalOfObject(job, err)
			if !ok {
				return fmt.Errorf("create backup Job: %w", err)
			}
			p.backupProblems = append(p.backupProblems, problem)
			refused = true
		}
	}
	if refused {
		p.requeueIn(r.interval())
	}
	if refused || len(crons) == 0 {
		return nil
	}
	if p.ap.Status.Backup == nil {
		p.ap.Status.Backup = &assetv1.BackupStatus{}
	}
	p.ap.Status.Backup.Now = asked
	return nil
}

// backupCrons are the CronJobs that make sets, of the destinations that can have one; settled is false while another one is to come.
func (r *Reconciler) backupCrons(ctx context.Context, p *pass) (crons []*batchv1.CronJob, settled bool, err error) {
	for _, d := range p.ap.Spec.Backup.Destinations {
		cron, err := child(ctx, r, p, manifests.CronJobName(p.ap, manifests.ComponentBackup, d.Name), &batchv1.CronJob{})
		if err != nil {
			return nil, false, err
		}
		_, known := p.facts.Backup.Destinations[d.Name]
		if cron == nil && (!known || slices.Contains(p.facts.Backup.LeftOut, manifests.ComponentBackup)) {
			continue // BackupHealthy says why
		}
		if cron == nil || p.unsettled[objectKeyOf(cron)] {
			return nil, false, nil // its own event comes
		}
		crons = append(crons, cron)
	}
	return crons, true, nil
}

// backupState is what the conditions of backups are made from, beside the status.
type backupState struct {
	problems []*finding    // with the spec, or what it names
	drills   []*finding    // with what it says of drills
	pods     []*finding    // what keeps pods from working
	pause    time.Duration // the longest between two sets
	tooOld   bool          // the newest verified set, for the objective
	late     []string      // destinations that should have had another set by now
	overdue  []string      // those whose drill should have succeeded once more
	lost     []string      // news of destinations that have nothing of what they had
}

// observeBackups brings status.backup up to what Jobs have said.
func (r *Reconciler) observeBackups(ctx context.Context, p *pass) (s backupState, err error) {
	b := p.ap.Spec.Backup
	if b == nil {
		p.ap.Status.Backup = nil
		return s, nil
	}
	s.problems, s.drills = p.backupProblems, p.drillProblems
	if p.ap.Status.Backup == nil {
		p.ap.Status.Backup = &assetv1.BackupStatus{}
	}
	status := p.ap.Status.Backup
	status.Destinations = keptDestinations(b, status.Destinations)
	jobs, err := r.backupJobs(ctx, p)
	if err != nil {
		return s, err
	}
	for i := range status.Destinations {
		d := &status.Destinations[i]
		for _, job := range jobs {
			if job.Labels[manifests.LabelDestination] != d.Name {
				continue
			}
			if finished(&job) != nil {
				err = r.recordRun(ctx, d, &job, &s)
			} else {
				err = r.diagnoseRun(ctx, &job, &s)
			}
			if err != nil {
				return s, err
			}
		}
	}
	summarize(status)
	return s, r.observeDates(ctx, p, &s)
}

// observeDates says what should have been there by now.
func (r *Reconciler) observeDates(ctx context.Context, p *pass, s *backupState) (err error) {
	b, status := p.ap.Spec.Backup, p.ap.Status.Backup
	s.pause, _ = manifests.LongestPause(manifests.BackupSchedule(p.ap), manifests.TimeZone(p.ap)) // its problem is known
	allowed := 2 * s.pause
	if rpo := b.Objectives.RPO; rpo != nil {
		allowed = rpo.Duration
	}
	if status.LastSetTime != nil && allowed > 0 && !p.ap.Spec.Hibernate {
		status.DueTime = timeOf(status.LastSetTime.Add(allowed))
		s.tooOld = b.Objectives.RPO != nil && r.past(p, status.DueTime.Time)
	}
	drills := time.Duration(0)
	if b.Drill != nil {
		drills, _ = manifests.LongestPause(manifests.DrillSchedule(p.ap), manifests.TimeZone(p.ap)) // as well
	}
	for _, d := range status.Destinations {
		if s.late, err = r.addLate(ctx, p, s.late, manifests.ComponentBackup, d.Name, d.LastSetTime, s.pause); err != nil {
			return err
		}
		var proven *metav1.Time
		if d.LastProven != nil {
			proven = &d.LastProven.Time
		}
		if s.overdue, err = r.addLate(ctx, p, s.overdue, manifests.ComponentDrill, d.Name, proven, drills); err != nil {
			return err
		}
	}
	return nil
}

// addLate adds a destination of which nothing has come since the last, if there is one, although two times of its CronJob are over. A platform
// that has just come to serve, such as one that has slept, has time from then on. pause is 0 where nothing is to come.
func (r *Reconciler) addLate(ctx context.Context, p *pass, late []string, component manifests.Component, destination string, last *metav1.Time, pause time.Duration) ([]string, error) {
	if pause == 0 {
		return late, nil
	}
	cron, err := child(ctx, r, p, manifests.CronJobName(p.ap, component, destination), &batchv1.CronJob{})
	if err != nil || cron == nil || ptr.Deref(cron.Spec.Suspend, false) {
		return late, err
	}
	since := cron.CreationTimestamp.Time
	if last != nil && last.After(since) {
		since = last.Time
	}
	if c := meta.FindStatusCondition(p.ap.Status.Conditions, assetv1.ConditionAvailable); c != nil && c.LastTransitionTime.After(since) {
		since = c.LastTransitionTime.Time
	}
	if r.past(p, since.Add(2*pause)) {
		late = append(late, destination)
	}
	return late, nil
}

// past says whether a time is over; if it is not, another pass comes then.
func (r *Reconciler) past(p *pass, t time.Time) bool {
	left := t.Sub(r.now())
	if left <= 0 {
		return true
	}
	p.requeueIn(left + time.Second)
	return false
}

// keptDestinations are those of the spec, in its order, with what is known of them.
func keptDestinations(b *assetv1.BackupSpec, known []assetv1.DestinationStatus) (list []assetv1.DestinationStatus) {
	for _, d := range b.Destinations {
		place := strings.TrimSuffix(fmt.Sprintf("%s/%s/%s", d.Endpoint, d.Bucket, d.Prefix), "/")
		i := slices.IndexFunc(known, func(k assetv1.DestinationStatus) bool { return k.Name == d.Name && k.Place == place })
		if i < 0 {
			list = append(list, assetv1.DestinationStatus{Name: d.Name, Place: place})
		} else {
			list = append(list, known[i])
		}
	}
	return list
}

// backupJobs are the Jobs that make, scrub and drill sets, those that ended first the first.
func (r *Reconciler) backupJobs(ctx context.Context, p *pass) ([]batchv1.Job, error) {
	var jobs batchv1.JobList
	if err := r.List(ctx, &jobs, append(cachedInPlatform(p.ap), client.HasLabels{manifests.LabelDestination})...); err != nil {
		return nil, fmt.Errorf("list backup Jobs: %w", err)
	}
	own := manifests.BackupObjects(p.ap)
	jobs.Items = slices.DeleteFunc(jobs.Items, func(job batchv1.Job) bool {
		owner := metav1.GetControllerOf(&job)
		return owner == nil || owner.Kind == "CronJob" && !slices.Contains(own, owner.Name)
	})
	ended := func(job batchv1.Job) time.Time {
		if c := finished(&job); c != nil {
			return c.LastTransitionTime.Time
		}
		return r.now()
	}
	slices.SortFunc(jobs.Items, func(a, b batchv1.Job) int { return cmp.Or(ended(a).Compare(ended(b)), cmp.Compare(a.Name, b.Name)) })
	return jobs.Items, nil
}

// runs are the containers of a component's pods, and where what they say is kept.
func runs(c manifests.Component, d *assetv1.DestinationStatus) map[string]**assetv1.BackupRun {
	switch c {
	case manifests.ComponentBackup:
		return map[string]**assetv1.BackupRun{string(c): &d.LastBackup}
	case manifests.ComponentScrub:
		return map[string]**assetv1.BackupRun{string(c): &d.LastScrub, manifests.ContainerPrune: &d.LastPrune}
	case manifests.ComponentDrill:
		return map[string]**assetv1.BackupRun{string(c): &d.LastDrill}
	}
	return nil
}

// recordRun keeps what the pods of a Job that ended have said, once.
func (r *Reconciler) recordRun(ctx context.Context, d *assetv1.DestinationStatus, job *batchv1.Job, s *backupState) error {
	outcome := finished(job)
	last := runs(componentOf(job), d)[string(componentOf(job))]
	if last == nil || *last != nil && cmp.Or(outcome.LastTransitionTime.Compare((*last).Time.Time), cmp.Compare(job.Name, (*last).Job)) <= 0 {
		return nil // it is known, or was before what is known
	}
	// Past the cache, once for each Job: it may show the Job's end before its pods' last words.
	pods, err := jobPods(ctx, r.APIReader, job)
	if err != nil {
		return err
	}
	for container, at := range runs(componentOf(job), d) {
		said, ok := containerWords(pods, container)
		if !ok && at != last {
			continue // one before it failed
		}
		run := &assetv1.BackupRun{Job: job.Name, Time: outcome.LastTransitionTime, Succeeded: ok && said.Code == config.CodeOK}
		if job.Status.StartTime != nil {
			run.Duration = metav1.Duration{Duration: outcome.LastTransitionTime.Sub(job.Status.StartTime.Time)}
		}
		if !ok {
			said = silentEnd(pods, outcome)
			run.Succeeded = outcome.Type == batchv1.JobComplete
		}
		if !run.Succeeded {
			run.Code, run.Message, run.Remedy = string(said.Code), own(said.Message), own(said.Remedy)
		}
		var result config.BackupResult
		if ok && json.Unmarshal(said.Result, &result) == nil {
			if lost := recordResult(d, container, run, result); lost != "" {
				s.lost = append(s.lost, lost)
			}
		}
		*at = run
	}
	return nil
}

// silentEnd is what is known of a Job that ended without last words.
func silentEnd(pods []corev1.Pod, outcome *batchv1.JobCondition) config.Termination {
	if found := diagnose(pods); len(found) > 0 {
		return config.Termination{Message: found[0].problem, Remedy: found[0].remedy}
	}
	return config.Termination{Message: "its Job ended with " + outcome.Reason}
}

// containerWords are what a container of the newest pod in which it ended has said.
func containerWords(pods []corev1.Pod, container string) (config.Termination, bool) {
	for _, pod := range pods {
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if t := c.State.Terminated; t != nil && c.Name == container {
				if said, ok := config.ReadTermination(t.Message); ok {
					return said, true
				}
			}
		}
	}
	return config.Termination{}, false
}

// recordResult keeps what a run tells of the sets. lost says that the destination has nothing of what is known to have been there.
func recordResult(d *assetv1.DestinationStatus, container string, run *assetv1.BackupRun, result config.BackupResult) (lost string) {
	// A run that began before the last backup had ended may not have seen what that made.
	sawLast := d.LastBackup == nil || !run.Time.Add(-run.Duration.Duration).Before(d.LastBackup.Time.Time)
	switch container {
	case string(manifests.ComponentBackup):
		if !run.Succeeded || result.VerifiedTime.IsZero() {
			return ""
		}
		if d.LastSet != "" && sawLast && result.Previous != nil && *result.Previous == "" {
			lost = historyLost(d, "had no verified set before it made set "+result.Set)
			d.OldestRecoverableTime = nil
		}
		d.LastSet, d.LastSetTime, d.LastVerifiedTime = result.Set, timeOf(result.SnapshotTime), timeOf(result.VerifiedTime)
		if d.OldestRecoverableTime == nil {
			d.OldestRecoverableTime = d.LastSetTime
		}
	case string(manifests.ComponentScrub):
		if slices.Contains(result.DamagedSets, d.LastSet) { // an older one may be whole, but that is not known here
			d.LastSet, d.LastSetTime, d.LastVerifiedTime = "", nil, nil
		}
	case manifests.ContainerPrune:
		run.Message = cmp.Or(run.Message, own(result.Held))
		if run.Succeeded && (sawLast || !result.OldestTime.IsZero()) {
			lost = recordOldest(d, result)
		}
	case string(manifests.ComponentDrill):
		if result.Seconds > 0 {
			run.Duration = metav1.Duration{Duration: time.Duration(result.Seconds * float64(time.Second)).Round(100 * time.Millisecond)}
		}
		if run.Succeeded {
			d.LastProven = run
		}
	}
	return lost
}

// recordOldest keeps what a prune says is there; where that is no verified set, nothing can be brought back.
func recordOldest(d *assetv1.DestinationStatus, result config.BackupResult) (lost string) {
	if !result.OldestTime.IsZero() {
		d.OldestRecoverableTime = timeOf(result.OldestTime)
		return ""
	}
	if d.LastSet != "" && result.Sets == 0 {
		lost = historyLost(d, "has no set")
	}
	d.OldestRecoverableTime, d.LastSet, d.LastSetTime, d.LastVerifiedTime = nil, "", nil, nil
	return lost
}

// historyLost says that a destination does not have what it had, which is worth more than the conditions, which the next set mends.
func historyLost(d *assetv1.DestinationStatus, now string) string {
	return fmt.Sprintf("Destination %s (%s) had set %s of %s, and %s: somebody has removed what was there, or its credentials or keys lead elsewhere now; "+
		"see who may write there, and remove the delete markers where the bucket keeps old versions", d.Name, d.Place, d.LastSet, moment(d.LastSetTime.Time), now)
}

// timeOf is a time as the API keeps it, in whole seconds.
func timeOf(t time.Time) *metav1.Time { return ptr.To(metav1.NewTime(t.Truncate(time.Second))) }

// diagnoseRun says what keeps a Job from working.
func (r *Reconciler) diagnoseRun(ctx context.Context, job *batchv1.Job, s *backupState) error {
	pods, err := jobPods(ctx, r, job)
	s.pods = append(s.pods, diagnose(pods)...)
	return err
}

// summarize tells of all destinations: the newest and the oldest moment that can be brought back, wherever it is kept.
func summarize(s *assetv1.BackupStatus) {
	*s = assetv1.BackupStatus{Destinations: s.Destinations, Now: s.Now}
	for _, d := range s.Destinations {
		if d.LastSetTime != nil && (s.LastSetTime == nil || s.LastSetTime.Before(d.LastSetTime)) {
			s.LastSet, s.LastSetTime, s.LastVerifiedTime = d.LastSet, d.LastSetTime, d.LastVerifiedTime
		}
		if oldest := d.OldestRecoverableTime; oldest != nil && (s.OldestRecoverableTime == nil || oldest.Before(s.OldestRecoverableTime)) {
			s.OldestRecoverableTime = oldest
		}
		if proven := d.LastProven; proven != nil && (s.LastProvenTime == nil || s.LastProvenTime.Before(&proven.Time)) {
			s.LastProvenTime, s.RestoreDuration = &proven.Time, &proven.Duration
		}
	}
}
