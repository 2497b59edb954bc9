package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// said is what a migration leaves when it fails.
func said(code config.Code) string {
	return fmt.Sprintf(`{"code":%q,"message":"relation assets is in the way","remedy":"move it away"}`, code)
}

// images gives a test images of its own, so that it can say how they behave.
func images(t *testing.T, behave ...controlplane.Image) []string {
	t.Helper()
	var names []string
	for i, image := range behave {
		name := fmt.Sprintf("example.com/%s:%d", strings.ToLower(t.Name()), i+1)
		plane.Kubelet.SetImage(name, image)
		names = append(names, name)
	}
	return names
}

func oneAttempt(s *assetv1.AssetPlatformSpec) { s.Migrations.BackoffLimit = new(int32(0)) }

func serving(t *testing.T, ap *assetv1.AssetPlatform) *appsv1.Deployment {
	t.Helper()
	return get(t, ap, "studio-server", &appsv1.Deployment{})
}

// A migration that fails for good blocks the rollout; the old pods serve and can be scaled;
// a retry, once the cause is gone, goes on.
func TestFailedMigrationBlocksTheRollout(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{}, controlplane.Image{Exits: true, ExitCode: 1, Message: said(config.CodeMigrationFailed)})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { oneAttempt(s); s.Image = image[0] })
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = image[1] })
	c := waitCondition(t, ap, assetv1.ConditionStalled, metav1.ConditionTrue, assetv1.ReasonMigrationFailed)
	for _, part := range []string{image[1], "relation assets is in the way", "move it away", assetv1.AnnotationRetry} {
		if !strings.Contains(c.Message, part) {
			t.Errorf("message %q does not say %q", c.Message, part)
		}
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(4)) })
	eventually(t, func() error {
		if d := serving(t, ap); d.Spec.Template.Spec.Containers[0].Image != image[0] || d.Status.AvailableReplicas != 4 {
			return fmt.Errorf("%d replicas of %s", d.Status.AvailableReplicas, d.Spec.Template.Spec.Containers[0].Image)
		}
		return nil
	})
	attempt := ap.Status.Migration.Attempt

	plane.Kubelet.SetImage(image[1], controlplane.Image{})
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Annotations = map[string]string{assetv1.AnnotationRetry: "1"} })
	waitReady(t, ap)
	if got := ap.Status.Migration.Attempt; got != attempt+1 {
		t.Errorf("attempt %d after a retry of attempt %d", got, attempt)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Annotations = nil })
	waitReady(t, ap)
	if got := ap.Status.Migration.Attempt; got != attempt+1 {
		t.Errorf("taking the annotation away made attempt %d", got)
	}
}

// Only what an edit alone can help is Stalled; the rest is tried again by itself, later each time.
func TestFailuresThatMendThemselves(t *testing.T) {
	t.Parallel()
	for code, stalled := range map[config.Code]bool{
		config.CodeMigrationFailed: true, config.CodeSchemaTooNew: true, config.CodeConfigInvalid: false, config.CodeDatabaseUnreachable: false,
		config.CodeDatabaseAuth: false, config.CodeDatabaseMissing: false, config.CodeDatabaseForeign: false, config.CodePermissionDenied: false,
		config.CodeMigrationInProgress: false, "": false,
	} {
		failed := metav1.NewTime(time.Unix(1e9, 0))
		ap := &assetv1.AssetPlatform{}
		externalSpec(&ap.Spec)
		f := manifests.Facts{TargetImage: "x", Credentials: manifests.Credentials{DatabaseURL: "postgres://h/d"}}
		ap.Status.Migration = &assetv1.MigrationStatus{
			Target: f.MigrationTarget(), Phase: assetv1.MigrationFailed, Code: string(code), FailedTime: &failed,
			DatabaseSecret: manifests.MigrateSecret(ap, f).Name,
		}
		m := ap.Status.Migration
		if got := failedMigration(ap, m).stalled; got != stalled {
			t.Errorf("%s: stalled %t", code, got)
		}
		for failures, delay := range map[int64]time.Duration{1: 30 * time.Second, 2: time.Minute, 3: 2 * time.Minute, 9: 10 * time.Minute, 1000: 10 * time.Minute} {
			m.Failures = failures
			due, wait := attemptDue(ap, f, failed.Add(delay-time.Second))
			if due || !stalled && wait != time.Second || stalled && wait != 0 {
				t.Errorf("%s, failure %d: due %t, wait %s", code, failures, due, wait)
			}
			if due, _ := attemptDue(ap, f, failed.Add(delay)); due == stalled {
				t.Errorf("%s, failure %d: due %t after %s", code, failures, due, delay)
			}
		}
	}
}

// What is wrong with the database is said of the database as well, and mended there it goes on by itself.
func TestMigrationGoesOnWhenTheDatabaseIsMended(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{Exits: true, ExitCode: 1, Message: said(config.CodeDatabaseUnreachable)})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { oneAttempt(s); s.Image = image[0] })
	waitCondition(t, ap, assetv1.ConditionDatabaseReady, metav1.ConditionFalse, assetv1.ReasonDatabaseDown)
	if meta.IsStatusConditionTrue(ap.Status.Conditions, assetv1.ConditionStalled) {
		t.Error("Stalled, although the database may come back")
	}
	plane.Kubelet.SetImage(image[0], controlplane.Image{})
	waitReady(t, ap) // after firstRetry, by itself
	if ap.Status.Migration.Attempt < 2 {
		t.Errorf("attempt %d", ap.Status.Migration.Attempt)
	}
}

// A corrected password is tried at once, and is no new target.
func TestMigrationIsRetriedWithACorrectedSecret(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{Exits: true, ExitCode: 1, Message: said(config.CodeDatabaseAuth)})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { oneAttempt(s); s.Image = image[0] })
	waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonMigrationFailed)
	target, failed := ap.Status.Migration.Target, ap.Status.Migration.FailedTime
	plane.Kubelet.SetImage(image[0], controlplane.Image{})
	setSecret(t, ap, "database-url", "postgres://backend:corrected@postgres.example.com:5432/game_assets")
	waitReady(t, ap)
	if job := get(t, ap, ap.Status.Migration.Job, &batchv1.Job{}); job.CreationTimestamp.Sub(failed.Time) >= firstRetry {
		t.Errorf("failed at %s, tried again at %s: when it would have been anyway", failed, job.CreationTimestamp)
	}
	if ap.Status.Migration.Target != target {
		t.Error("a password made a new target")
	}
}

// A Secret that is corrected while the attempt's Job still retries is not waited for.
func TestMigrationUnderWayTakesACorrectedSecret(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{Exits: true, ExitCode: 1, Message: said(config.CodeDatabaseAuth)})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Image = image[0]; s.Migrations.BackoffLimit = new(int32(10)) })
	waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonCrashLoop)
	first := ap.Status.Migration.Attempt
	plane.Kubelet.SetImage(image[0], controlplane.Image{})
	setSecret(t, ap, "database-url", "postgres://backend:corrected@db.example.com:5432/game_assets")
	waitReady(t, ap)
	if got := ap.Status.Migration.Attempt; got != first+1 {
		t.Errorf("attempt %d, after %d", got, first)
	}
}

func setSecret(t *testing.T, ap *assetv1.AssetPlatform, key, value string) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"stringData":{%q:%q}}`, key, value))
	if err := admin.Patch(ctx, backendSecrets(ap.Namespace), patch); err != nil {
		t.Fatal(err)
	}
}

// An image that does not exist is named, also before its migration could run; put back, the
// stuck Job goes and the old image serves as before.
func TestImageThatDoesNotExist(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{}, controlplane.Image{PullError: "manifest unknown: not found"})
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Image = image[0] })
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = image[1] })
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonImagePull)
	if !strings.Contains(c.Message, image[1]) || !strings.Contains(c.Message, "set spec.image to a tag that exists") {
		t.Errorf("message %q", c.Message)
	}
	if got := serving(t, ap); got.Status.AvailableReplicas != 3 || got.Spec.Template.Spec.Containers[0].Image != image[0] {
		t.Errorf("the old image does not serve: %+v", got.Status)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = image[0] })
	waitReady(t, ap)
	eventually(t, func() error {
		var jobs batchv1.JobList
		if err := admin.List(ctx, &jobs, client.InNamespace(ap.Namespace)); err != nil {
			return err
		}
		if len(jobs.Items) != 1 || finished(&jobs.Items[0]) == nil {
			return fmt.Errorf("%d Jobs", len(jobs.Items))
		}
		return nil
	})
}

// Another database is migrated before anything serves from it.
func TestDatabaseMovesToAnotherHost(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Image = image[0] })
	waitReady(t, ap)
	before := copyOf(serving(t, ap))
	plane.Kubelet.SetImage(image[0], controlplane.Image{Hold: true})
	setSecret(t, ap, "database-url", "postgres://backend:sesame@elsewhere.example.com:5432/game_assets")
	waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonMigrationRunning)
	if got := copyOf(serving(t, ap)); got != before {
		t.Error("the server was moved to a database that is not migrated")
	}
	plane.Kubelet.SetImage(image[0], controlplane.Image{})
	waitReady(t, ap)
	if got := copyOf(serving(t, ap)); got == before {
		t.Error("the server was not moved")
	}
}

// The outcome outlives its Job; a running one that is deleted by hand is made again.
func TestMigrationJobDeletedByHand(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{Hold: true})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Image = image[0] })
	waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonMigrationRunning)
	eventually(t, func() error { // a Job that goes before the status knows of it is the same attempt's again
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		if phase := ap.Status.Migration.Phase; phase != assetv1.MigrationRunning {
			return fmt.Errorf("phase %s", phase)
		}
		return nil
	})
	first := ap.Status.Migration.Job
	var job batchv1.Job
	get(t, ap, first, &job)
	if err := admin.Delete(ctx, &job, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	plane.Kubelet.SetImage(image[0], controlplane.Image{})
	waitReady(t, ap)
	last := ap.Status.Migration.Job
	if last == first {
		t.Error("the same attempt has two Jobs")
	}
	get(t, ap, last, &job)
	if err := admin.Delete(ctx, &job, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(1)) })
	waitReady(t, ap)
	if err := admin.Get(ctx, client.ObjectKeyFromObject(&job), &job); !apierrors.IsNotFound(err) || ap.Status.Migration.Job != last {
		t.Errorf("it migrated again: %v", err)
	}
}

// A migration that leaves no words of its own: exit code and last line of the log, without passwords.
func TestMigrationWithoutLastWords(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{Exits: true, ExitCode: 7, Message: "starting\npanic: cannot use postgres://backend:sesame@db/x\n"})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { oneAttempt(s); s.Image = image[0] })
	c := waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonMigrationFailed)
	if !strings.Contains(c.Message, "exit code 7") || !strings.Contains(c.Message, "panic: cannot use postgres://…@db/x") || strings.Contains(c.Message, "sesame") {
		t.Errorf("message %q", c.Message)
	}
}

// A status that is lost is found again, without another migration.
func TestStatusIsFoundAgain(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Image = "example.com/wiped:1" })
	waitReady(t, ap)
	var before batchv1.JobList
	if err := admin.List(ctx, &before, client.InNamespace(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	if err := admin.Status().Patch(ctx, ap, client.RawPatch(types.MergePatchType, []byte(`{"status":null}`))); err != nil {
		t.Fatal(err)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Annotations = map[string]string{"example.com/touch": "1"} })
	waitReady(t, ap)
	var after batchv1.JobList
	if err := admin.List(ctx, &after, client.InNamespace(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	if len(after.Items) != 1 || after.Items[0].UID != before.Items[0].UID {
		t.Errorf("%d Jobs after, %d before", len(after.Items), len(before.Items))
	}
}
