package controllers

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

var (
	setTime   = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	firstSet  = "01KJMH8Y1A00000000000000A1"
	secondSet = "01KJMH8Y1A00000000000000B2"
)

// says are a pod's last words.
func says(t *testing.T, code config.Code, message, remedy string, result config.BackupResult) string {
	t.Helper()
	encoded, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(config.Termination{Code: code, Message: message, Remedy: remedy, Result: encoded})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// madeSet are the last words of a backup that has made a set.
func madeSet(t *testing.T, id string, snapshot time.Time) controlplane.Image {
	return controlplane.Image{Exits: true, Message: says(t, config.CodeOK, "verified", "", config.BackupResult{Set: id, SnapshotTime: snapshot, VerifiedTime: snapshot.Add(time.Minute)})}
}

func failed(t *testing.T, code config.Code, message, remedy string) controlplane.Image {
	return controlplane.Image{Exits: true, ExitCode: config.ExitFinal, Message: says(t, code, message, remedy, config.BackupResult{})}
}

// backedUpPlatform is a platform with backups to one destination, whose pods run images of the test's own; image names that of a component.
func backedUpPlatform(t *testing.T, edit func(*assetv1.BackupSpec)) (ap *assetv1.AssetPlatform, image func(c string, i controlplane.Image)) {
	t.Helper()
	name := func(c string) string { return c + ":" + strings.ToLower(t.Name()) }
	image = func(c string, i controlplane.Image) { plane.Kubelet.SetImage(name(c), i) }
	ap = newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Backup = &assetv1.BackupSpec{
			Image: name("backup"),
			Destinations: []assetv1.BackupDestination{{Name: "primary", BackupBucket: assetv1.BackupBucket{
				Bucket: "backups", CredentialsSecretRef: &assetv1.S3CredentialsRef{Name: "backend-secrets"},
			}}},
			Drill: &assetv1.BackupDrill{Image: name("drill")},
		}
		if edit != nil {
			edit(s.Backup)
		}
	})
	return ap, image
}

// backUpNow asks for a set by annotation.
func backUpNow(t *testing.T, ap *assetv1.AssetPlatform, value string) {
	t.Helper()
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		metav1.SetMetaDataAnnotation(&ap.ObjectMeta, assetv1.AnnotationBackupNow, value)
	})
}

// runNow runs a CronJob as an admin would, with kubectl.
func runNow(t *testing.T, ap *assetv1.AssetPlatform, component, job string) {
	t.Helper()
	if _, err := plane.Kubectl("-n", ap.Namespace, "create", "job", "--from=cronjob/studio-"+component+"-primary", job); err != nil {
		t.Fatal(err)
	}
}

// A platform without backups says so, one with them says what it waits for, then which set can be brought back. A failure is told with its
// own reason and remedy, and hurts neither Ready nor what is known of the sets; the next success ends it.
func TestBackup(t *testing.T) {
	t.Parallel()
	ap, image := backedUpPlatform(t, nil)
	image("backup", madeSet(t, firstSet, setTime))
	waitReady(t, ap)
	if c := waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonBackupWaiting); !strings.Contains(c.Message, assetv1.AnnotationBackupNow) {
		t.Error(c.Message)
	}
	eventually(t, func() error { // it waits for the schema
		if cron := get(t, ap, "studio-backup-primary", &batchv1.CronJob{}); *cron.Spec.Suspend || cron.Spec.Schedule != "0 2 * * *" {
			return fmt.Errorf("%+v", cron.Spec)
		}
		return nil
	})

	backUpNow(t, ap, "1")
	c := waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, assetv1.ReasonBackupVerified)
	if s := ap.Status.Backup; !strings.Contains(c.Message, firstSet) || s.LastSet != firstSet || !s.LastSetTime.Equal(&metav1.Time{Time: setTime}) || !s.OldestRecoverableTime.Equal(s.LastSetTime) || s.Now != "1" {
		t.Errorf("%s; %+v", c.Message, s)
	}

	image("backup", failed(t, config.CodePgDumpTooOld, "pg_dump 15 is older than the server", "set backup.image"))
	backUpNow(t, ap, "2")
	c = waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, "PgDumpTooOld")
	if !strings.Contains(c.Message, "pg_dump 15 is older than the server): set backup.image") || ap.Status.Backup.LastSet != firstSet {
		t.Errorf("%s; %+v", c.Message, ap.Status.Backup)
	}
	waitReady(t, ap)
	if len(ap.Status.Problems) == 0 {
		t.Error("the status has no problem")
	}

	image("backup", madeSet(t, secondSet, setTime.Add(time.Hour)))
	backUpNow(t, ap, "3")
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, assetv1.ReasonBackupVerified)
	if s := ap.Status.Backup; s.LastSet != secondSet || !s.OldestRecoverableTime.Equal(&metav1.Time{Time: setTime}) {
		t.Errorf("%+v", s)
	}
	backUpNow(t, ap, "3") // nothing new
	jobs := func() int {
		var list batchv1.JobList
		if err := admin.List(ctx, &list, client.InNamespace(ap.Namespace), client.MatchingLabels{manifests.LabelComponent: "backup"}); err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	if n := jobs(); n != 3 {
		t.Errorf("%d Jobs", n)
	}

	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Backup = nil })
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonNoBackup)
	eventually(t, func() error {
		for _, o := range []client.Object{&batchv1.CronJob{}, &networkingv1.NetworkPolicy{}} {
			name := "studio-backup"
			if _, ok := o.(*batchv1.CronJob); ok {
				name = "studio-backup-primary"
			}
			if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, o); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s is there: %v", name, err)
			}
		}
		return nil
	})
	if ap.Status.Backup != nil || meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionRestoreProven) != nil {
		t.Errorf("%+v", ap.Status)
	}
}

// What a scrub finds is told, and a damaged set does not count; what is past its time is removed all the same, unless the scrub fails. The
// drill proves, or says why not.
func TestScrubAndDrill(t *testing.T) {
	t.Parallel()
	ap, image := backedUpPlatform(t, func(b *assetv1.BackupSpec) {
		b.Objectives.RTO = &metav1.Duration{Duration: time.Hour}
	})
	image("backup", madeSet(t, firstSet, setTime))
	waitReady(t, ap)
	waitCondition(t, ap, assetv1.ConditionRestoreProven, metav1.ConditionFalse, assetv1.ReasonDrillWaiting)
	backUpNow(t, ap, "1")
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, "")

	oldest := setTime.Add(-time.Hour)
	image("backup", controlplane.Image{
		Exits: true, InitMessage: says(t, config.CodeOK, "all is well", "", config.BackupResult{}),
		Message: says(t, config.CodeOK, "2 sets stay", "", config.BackupResult{Sets: 2, OldestTime: oldest}),
	})
	runNow(t, ap, "scrub", "scrub-1")
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		d := ap.Status.Backup.Destinations[0]
		if d.LastScrub == nil || d.LastPrune == nil || !d.LastScrub.Succeeded || !d.LastPrune.Succeeded || !d.OldestRecoverableTime.Equal(&metav1.Time{Time: oldest}) {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	image("backup", controlplane.Image{
		Exits: true, InitMessage: says(t, config.CodeSetDamaged, "1 blob is damaged", "make a set", config.BackupResult{Damaged: 1, DamagedSets: []string{firstSet}}),
		Message: says(t, config.CodeOK, "2 sets stay", "", config.BackupResult{Sets: 2, OldestTime: oldest}),
	})
	runNow(t, ap, "scrub", "scrub-2")
	c := waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonSetDamaged)
	if d := ap.Status.Backup.Destinations[0]; !strings.Contains(c.Message, "1 blob is damaged): make a set") || d.LastSet != "" || d.LastPrune.Job != "scrub-2" || !d.LastPrune.Succeeded {
		t.Errorf("%s; %+v", c.Message, d)
	}
	image("backup", controlplane.Image{Exits: true, InitFails: true, ExitCode: config.ExitFinal, InitMessage: says(t, config.CodeConfigInvalid, "there is no such bucket", "name another", config.BackupResult{})})
	runNow(t, ap, "scrub", "scrub-3")
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, "ConfigInvalid")
	if d := ap.Status.Backup.Destinations[0]; d.LastPrune.Job != "scrub-2" || d.LastScrub.Job != "scrub-3" {
		t.Errorf("%+v", d)
	}

	drilled := func(seconds float64) controlplane.Image {
		return controlplane.Image{Exits: true, Message: says(t, config.CodeOK, "restored", "", config.BackupResult{Set: firstSet, Seconds: seconds})}
	}
	image("drill", drilled(12.34))
	runNow(t, ap, "drill", "drill-1")
	waitCondition(t, ap, assetv1.ConditionRestoreProven, metav1.ConditionTrue, assetv1.ReasonProven)
	if got := ap.Status.Backup.RestoreDuration.Duration; got != 12300*time.Millisecond {
		t.Errorf("it took %s", got)
	}
	proven := ap.Status.Backup.LastProvenTime
	image("drill", failed(t, "DRILL_ROWS", "assets has 3 rows of 4", "restore another set"))
	runNow(t, ap, "drill", "drill-2")
	waitCondition(t, ap, assetv1.ConditionRestoreProven, metav1.ConditionFalse, "DrillRows")
	if !ap.Status.Backup.LastProvenTime.Equal(proven) {
		t.Errorf("proven at %s, was %s", ap.Status.Backup.LastProvenTime, proven)
	}
	image("drill", drilled(3601))
	runNow(t, ap, "drill", "drill-3")
	waitCondition(t, ap, assetv1.ConditionRestoreProven, metav1.ConditionFalse, assetv1.ReasonRestoreTooSlow)
	waitReady(t, ap)
}

// What is wrong with the spec of backups, or what it names, is told by BackupHealthy and keeps nothing else from running; the CronJob that
// was there stays, with what its Jobs have to say.
func TestBackupSettings(t *testing.T) {
	t.Parallel()
	ap, _ := backedUpPlatform(t, func(b *assetv1.BackupSpec) {
		b.Destinations[0].CredentialsSecretRef = &assetv1.S3CredentialsRef{Name: "backup-keys"}
		b.Drill = nil
	})
	waitReady(t, ap)
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonSecretNotFound)
	waitCondition(t, ap, assetv1.ConditionRestoreProven, metav1.ConditionFalse, assetv1.ReasonNoDrill)
	keys := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "backup-keys", Namespace: ap.Namespace}, StringData: map[string]string{"s3-access-key": "a", "s3-secret-key": "b"}}
	if err := admin.Create(ctx, keys); err != nil {
		t.Fatal(err)
	}
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonBackupWaiting)
	cron := get(t, ap, "studio-backup-primary", &batchv1.CronJob{})
	if err := admin.Delete(ctx, keys); err != nil {
		t.Fatal(err)
	}
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonSecretNotFound)
	waitReady(t, ap)
	if now := get(t, ap, "studio-backup-primary", &batchv1.CronJob{}); now.UID != cron.UID || now.Generation != cron.Generation {
		t.Error("the CronJob was made anew")
	}

	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Backup.Schedule = "61 2 * * *" })
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Backup.Destinations[0].CredentialsSecretRef = &assetv1.S3CredentialsRef{Name: "backend-secrets"}
	})
	c := waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonInvalidSchedule)
	if !strings.Contains(c.Message, "spec.backup.schedule") {
		t.Error(c.Message)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Backup.Schedule = "*/40 * * * *"
		ap.Spec.Backup.Objectives.RPO = &metav1.Duration{Duration: 30 * time.Minute}
	})
	waitCondition(t, ap, assetv1.ConditionWithinRPO, metav1.ConditionFalse, assetv1.ReasonScheduleTooRare)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Backup.Schedule = "" })
	waitCondition(t, ap, assetv1.ConditionWithinRPO, metav1.ConditionFalse, assetv1.ReasonBackupWaiting)
	eventually(t, func() error {
		if now := get(t, ap, "studio-backup-primary", &batchv1.CronJob{}); now.Spec.Schedule != "*/15 * * * *" {
			return fmt.Errorf("%s", now.Spec.Schedule)
		}
		return nil
	})
	waitReady(t, ap)

	for after, want := range map[time.Duration]int{29 * time.Minute: 0, 31 * time.Minute: 1} { // of two quarters of an hour
		r := &Reconciler{Client: admin, Now: func() time.Time { return time.Now().Add(after) }}
		var s backupState
		if err := r.observeDates(ctx, &pass{ap: ap}, &s); err != nil || len(s.late) != want {
			t.Errorf("after %s: %v, %v", after, s.late, err)
		}
	}
}

// What is wrong with the drill leaves out the drill alone, and what is wrong with a destination that destination: the others have their sets.
func TestBackupBesideWhatIsWrong(t *testing.T) {
	t.Parallel()
	missing := &assetv1.S3CredentialsRef{Name: "nowhere"}
	ap, image := backedUpPlatform(t, func(b *assetv1.BackupSpec) {
		b.Drill.IdentitySecretRef = &assetv1.SecretKeyRef{Name: "identity", Key: "key"}
		b.Destinations = append(b.Destinations, // both name the same
			assetv1.BackupDestination{Name: "far", BackupBucket: assetv1.BackupBucket{Bucket: "far", CredentialsSecretRef: missing}},
			assetv1.BackupDestination{Name: "farther", BackupBucket: assetv1.BackupBucket{Bucket: "farther", CredentialsSecretRef: missing}},
		)
	})
	image("backup", madeSet(t, firstSet, setTime))
	waitReady(t, ap)
	if c := waitCondition(t, ap, assetv1.ConditionRestoreProven, metav1.ConditionFalse, assetv1.ReasonSecretNotFound); !strings.Contains(c.Message, "Secret identity, named by spec.backup.drill.identitySecretRef") {
		t.Error(c.Message)
	}
	backUpNow(t, ap, "1")
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		if s := ap.Status.Backup; s == nil || s.LastSet != firstSet || s.Now != "1" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if c := waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonSecretNotFound); !strings.Contains(c.Message, "destinations[1]") || !strings.Contains(c.Message, "destinations[2]") {
		t.Error(c.Message)
	}
	for _, name := range []string{"studio-drill-primary", "studio-backup-far", "studio-backup-farther"} {
		if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, &batchv1.CronJob{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}

	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Backup.Destinations = ap.Spec.Backup.Destinations[:1]
		ap.Spec.Backup.Drill.IdentitySecretRef = nil
	})
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, "")

	// A URL with which the API serves may be one that PostgreSQL's programs do not read as it does.
	useURL := func(url string) {
		t.Helper()
		secret := get(t, ap, "backend-secrets", &corev1.Secret{})
		secret.Data["database-url"] = []byte(url)
		if err := admin.Update(ctx, secret); err != nil {
			t.Fatal(err)
		}
	}
	useURL("postgres://postgres.example.com:5432/game_assets?user=backend&password=sesame")
	c := waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonSecretInvalid)
	if !strings.Contains(c.Message, "backed up to primary: the value of key database-url in Secret backend-secrets has the parameter user") || strings.Contains(c.Message, "sesame") {
		t.Error(c.Message)
	}
	waitReady(t, ap)
	useURL("postgres://backend:sesame@postgres.example.com:5432/game_assets")
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, "")
	waitCondition(t, ap, assetv1.ConditionRestoreProven, metav1.ConditionFalse, assetv1.ReasonDrillWaiting)
	drill := get(t, ap, "studio-drill-primary", &batchv1.CronJob{})
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Backup.Drill.Schedule, ap.Spec.Backup.Schedule = "61 4 * * 0", "0 3 * * *"
	})
	if c = waitCondition(t, ap, assetv1.ConditionRestoreProven, metav1.ConditionFalse, assetv1.ReasonInvalidSchedule); !strings.Contains(c.Message, "spec.backup.drill.schedule") {
		t.Error(c.Message)
	}
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, "")
	eventually(t, func() error {
		if cron := get(t, ap, "studio-backup-primary", &batchv1.CronJob{}); cron.Spec.Schedule != "0 3 * * *" {
			return fmt.Errorf("%s", cron.Spec.Schedule)
		}
		return nil
	})
	if now := get(t, ap, "studio-drill-primary", &batchv1.CronJob{}); now.UID != drill.UID || now.Generation != drill.Generation {
		t.Error("the drill's CronJob was changed")
	}
}

// A destination that has nothing of what it had is told of by an event, whoever finds out first; its times are gone with the sets. A run that
// began before the last set was there, or is of an older image, tells nothing of what was there before.
func TestHistoryLost(t *testing.T) {
	t.Parallel()
	ap, image := backedUpPlatform(t, nil)
	made := func(id, previous string) controlplane.Image {
		return controlplane.Image{Exits: true, Message: says(t, config.CodeOK, "verified", "", config.BackupResult{Set: id, SnapshotTime: setTime, VerifiedTime: setTime, Previous: &previous})}
	}
	events := func() (notes []string) {
		for _, e := range platformEvents(t, ap) {
			if e.Reason == assetv1.ReasonHistoryLost {
				notes = append(notes, e.Note)
			}
		}
		return notes
	}
	lost := func(n int, words string) {
		t.Helper()
		eventually(t, func() error {
			if notes := events(); len(notes) != n || !strings.Contains(strings.Join(notes, "\n"), words) {
				return fmt.Errorf("%d events: %q", len(notes), notes)
			}
			return nil
		})
	}
	image("backup", made(firstSet, ""))
	waitReady(t, ap)
	backUpNow(t, ap, "1")
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, "")
	image("backup", made(secondSet, firstSet))
	backUpNow(t, ap, "2")
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil || ap.Status.Backup.LastSet != secondSet {
			return fmt.Errorf("%+v, %w", ap.Status.Backup, err)
		}
		return nil
	})
	lost(0, "")

	image("backup", controlplane.Image{
		Exits: true, InitMessage: says(t, config.CodeOK, "all is well", "", config.BackupResult{}), Message: says(t, config.CodeOK, "0 sets stay", "", config.BackupResult{}),
	})
	runNow(t, ap, "scrub", "scrub-1")
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, assetv1.ReasonBackupWaiting)
	lost(1, "had set "+secondSet+" of 2026-03-01T02:00:00Z, and has no set")
	if s := ap.Status.Backup; s.LastSet != "" || s.LastSetTime != nil || s.OldestRecoverableTime != nil {
		t.Errorf("%+v", s)
	}

	third, fourth := "01KJMH8Y1A00000000000000C3", "01KJMH8Y1A00000000000000D4"
	image("backup", made(third, ""))
	backUpNow(t, ap, "3")
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, "")
	image("backup", made(fourth, ""))
	backUpNow(t, ap, "4")
	lost(2, "had set "+third+" of 2026-03-01T02:00:00Z, and had no verified set before it made set "+fourth)

	d := ap.Status.Backup.Destinations[0]
	early := &assetv1.BackupRun{Job: "early", Time: metav1.NewTime(d.LastBackup.Time.Add(time.Minute)), Duration: metav1.Duration{Duration: time.Hour}, Succeeded: true}
	none := ""
	if said := recordResult(d.DeepCopy(), "backup", early, config.BackupResult{Set: firstSet, SnapshotTime: setTime, VerifiedTime: setTime, Previous: &none}); said != "" {
		t.Errorf("a backup that began before: %s", said)
	}
	if after := d.DeepCopy(); recordResult(after, "prune", early, config.BackupResult{}) != "" || after.LastSet != d.LastSet {
		t.Errorf("a prune that began before: %+v", after)
	}
	late := early.DeepCopy()
	late.Duration.Duration = time.Second
	if said := recordResult(d.DeepCopy(), "backup", late, config.BackupResult{Set: firstSet, SnapshotTime: setTime, VerifiedTime: setTime}); said != "" {
		t.Errorf("an older image: %s", said)
	}
}
