package controllers

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// What is known of backups decides the three conditions, each with its reason and what to do.
func TestBackupVerdicts(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: setTime.Add(d)} }
	duration := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	ran := func(took time.Duration) *assetv1.BackupRun {
		return &assetv1.BackupRun{Job: "run", Time: *at(0), Duration: *duration(took), Succeeded: true}
	}
	// well is a platform with two destinations of which nothing is wrong.
	well := func() (*assetv1.AssetPlatform, *observed) {
		ap := &assetv1.AssetPlatform{Spec: assetv1.AssetPlatformSpec{Backup: &assetv1.BackupSpec{
			Destinations: []assetv1.BackupDestination{{Name: "near"}, {Name: "far"}},
			Objectives:   assetv1.BackupObjectives{RPO: duration(time.Hour), RTO: duration(time.Minute)}, Drill: &assetv1.BackupDrill{},
		}}}
		ap.Status.Backup = &assetv1.BackupStatus{Destinations: []assetv1.DestinationStatus{
			{Name: "near", LastSet: firstSet, LastSetTime: at(0), LastVerifiedTime: at(time.Minute), OldestRecoverableTime: at(-time.Hour), LastBackup: ran(time.Minute), LastDrill: ran(12 * time.Second), LastProven: ran(12 * time.Second)},
			{Name: "far", LastSet: secondSet, LastSetTime: at(time.Hour), LastVerifiedTime: at(time.Hour), OldestRecoverableTime: at(0), LastBackup: ran(time.Minute), LastDrill: ran(12 * time.Second)},
		}}
		summarize(ap.Status.Backup)
		return ap, &observed{backup: backupState{pause: 30 * time.Minute}}
	}
	for name, test := range map[string]struct {
		edit                func(*assetv1.AssetPlatform, *observed)
		healthy, rpo, drill string // reasons; empty: no such condition
		says                []string
	}{
		"all is well": {
			func(*assetv1.AssetPlatform, *observed) {}, assetv1.ReasonBackupVerified, assetv1.ReasonWithinObjective, assetv1.ReasonProven,
			[]string{"Set " + secondSet + " of 2026-03-01T03:00:00Z is verified; the oldest moment that can be brought back is 2026-03-01T01:00:00Z", "may be as old as 1h", ": a restore takes 12s"},
		},
		"no backup": {func(ap *assetv1.AssetPlatform, _ *observed) { ap.Spec.Backup = nil }, assetv1.ReasonNoBackup, "", "", []string{"spec.backup.destinations"}},
		"no drill":  {func(ap *assetv1.AssetPlatform, _ *observed) { ap.Spec.Backup.Drill = nil }, assetv1.ReasonBackupVerified, assetv1.ReasonWithinObjective, assetv1.ReasonNoDrill, []string{"spec.backup.drill"}},
		"no rpo":    {func(ap *assetv1.AssetPlatform, _ *observed) { ap.Spec.Backup.Objectives.RPO = nil }, assetv1.ReasonBackupVerified, "", assetv1.ReasonProven, nil},
		"nothing yet": {func(ap *assetv1.AssetPlatform, _ *observed) {
			ap.Status.Backup = &assetv1.BackupStatus{Destinations: []assetv1.DestinationStatus{{Name: "near"}, {Name: "far"}}}
		}, assetv1.ReasonBackupWaiting, assetv1.ReasonBackupWaiting, assetv1.ReasonDrillWaiting, []string{"near and far: the schedule makes one once the database is migrated"}},
		"nothing yet, and it hibernates": {func(ap *assetv1.AssetPlatform, _ *observed) {
			ap.Spec.Hibernate, ap.Status.Backup = true, &assetv1.BackupStatus{Destinations: []assetv1.DestinationStatus{{Name: "near"}, {Name: "far"}}}
		}, assetv1.ReasonBackupWaiting, assetv1.ReasonBackupWaiting, assetv1.ReasonDrillWaiting, []string{"none is made while the platform hibernates"}},
		"nothing although two sets should be there": {func(ap *assetv1.AssetPlatform, o *observed) {
			ap.Status.Backup = &assetv1.BackupStatus{Destinations: []assetv1.DestinationStatus{{Name: "near"}, {Name: "far"}}}
			o.backup.late, o.backup.overdue = []string{"far"}, []string{"far"}
		}, assetv1.ReasonSetLate, assetv1.ReasonSetLate, assetv1.ReasonDrillOverdue, []string{"two sets in far", "Jobs of component backup", "drills of far"}},
		"one destination has no set": {
			func(ap *assetv1.AssetPlatform, _ *observed) { ap.Status.Backup.Destinations[1].LastSet = "" }, assetv1.ReasonBackupWaiting, assetv1.ReasonWithinObjective, assetv1.ReasonProven, []string{"in far"},
		},
		"one destination fails": {
			func(ap *assetv1.AssetPlatform, _ *observed) {
				ap.Status.Backup.Destinations[1].LastBackup = &assetv1.BackupRun{Job: "run", Code: string(config.CodeDestinationUnavailable), Message: "it does not answer.", Remedy: "check it."}
			}, "DestinationUnavailable", assetv1.ReasonWithinObjective, assetv1.ReasonProven, []string{"The last backup to far failed (it does not answer): check it"},
		},
		"a prune fails without a word": {
			func(ap *assetv1.AssetPlatform, _ *observed) {
				ap.Status.Backup.Destinations[0].LastPrune = &assetv1.BackupRun{Job: "run"}
			}, "BackupFailed", assetv1.ReasonWithinObjective, assetv1.ReasonProven, []string{"removal of old sets in near failed: read the log"},
		},
		"a prune holds back": {
			func(ap *assetv1.AssetPlatform, _ *observed) {
				run := ran(time.Second)
				run.Message = "allow the collection 3/40"
				ap.Status.Backup.Destinations[1].LastPrune = run
			}, assetv1.ReasonBackupVerified, assetv1.ReasonWithinObjective, assetv1.ReasonProven, []string{"nothing was removed in far: allow the collection 3/40"},
		},
		"too old": {
			func(_ *assetv1.AssetPlatform, o *observed) { o.backup.tooOld = true }, assetv1.ReasonBackupVerified, assetv1.ReasonTooOld, assetv1.ReasonProven, []string{"is of 2026-03-01T03:00:00Z, more than 1h ago"},
		},
		"too rare": {
			func(_ *assetv1.AssetPlatform, o *observed) { o.backup.pause = 24 * time.Hour }, assetv1.ReasonBackupVerified, assetv1.ReasonScheduleTooRare, assetv1.ReasonProven, []string{"Sets are 24h apart, and at most 1h of work may be lost: leave spec.backup.schedule out"},
		},
		"too slow": {
			func(ap *assetv1.AssetPlatform, _ *observed) {
				ap.Status.Backup.Destinations[1].LastBackup = ran(31 * time.Minute)
			}, assetv1.ReasonBackupVerified, assetv1.ReasonDumpTooSlow, assetv1.ReasonProven, []string{"30m apart and take 31m", "point-in-time recovery"},
		},
		"the drill is overdue": {
			func(_ *assetv1.AssetPlatform, o *observed) { o.backup.overdue = []string{"near"} }, assetv1.ReasonBackupVerified, assetv1.ReasonWithinObjective, assetv1.ReasonDrillOverdue, []string{"two drills of near"},
		},
		"the drill is slow": {
			func(ap *assetv1.AssetPlatform, _ *observed) {
				ap.Status.Backup.Destinations[0].LastDrill = ran(61 * time.Second)
			}, assetv1.ReasonBackupVerified, assetv1.ReasonWithinObjective, assetv1.ReasonRestoreTooSlow, []string{"a restore takes 1m1s, and it may take 1m"},
		},
		"the drill of one destination fails": {
			func(ap *assetv1.AssetPlatform, _ *observed) {
				ap.Status.Backup.Destinations[1].LastDrill = &assetv1.BackupRun{Job: "run", Code: string(config.CodeDrillRows), Message: "rows are missing", Remedy: "restore another set"}
			}, assetv1.ReasonBackupVerified, assetv1.ReasonWithinObjective, "DrillRows", []string{"The last drill of far failed (rows are missing): restore another set"},
		},
		"the spec is wrong": {
			func(_ *assetv1.AssetPlatform, o *observed) {
				o.backup.problems = []*finding{{reason: assetv1.ReasonSecretNotFound, problem: "no Secret", remedy: "create it"}}
			}, assetv1.ReasonSecretNotFound, assetv1.ReasonWithinObjective, assetv1.ReasonProven, []string{"no Secret: create it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ap, o := well()
			test.edit(ap, o)
			var said []string
			for want, v := range map[string]*verdict{"BackupHealthy " + test.healthy: backupVerdict(ap, o), "WithinRPO " + test.rpo: rpoVerdict(ap, o), "RestoreProven " + test.drill: drillVerdict(ap, o)} {
				condition, reason, _ := strings.Cut(want, " ")
				if v == nil {
					v = &verdict{}
				}
				said = append(said, v.message)
				if v.reason != reason {
					t.Errorf("%s: %s (%s), want %s", condition, v.reason, v.message, reason)
				}
			}
			for _, words := range test.says {
				if all := strings.Join(said, "\n"); !strings.Contains(all, words) {
					t.Errorf("nobody says %q:\n%s", words, all)
				}
			}
		})
	}
}
