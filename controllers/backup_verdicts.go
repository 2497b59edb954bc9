package controllers

import (
	"fmt"
	"strings"
	"time"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// backupVerdict speaks of what is kept: the newest run of each kind, in each destination, and what stands in their way.
func backupVerdict(ap *assetv1.AssetPlatform, o *observed) *verdict {
	b, s := ap.Spec.Backup, ap.Status.Backup
	if b == nil {
		v := waiting(assetv1.ReasonNoBackup, "Nothing is backed up: name a bucket in spec.backup.destinations")
		return &v
	}
	findings := append(append([]*finding{}, o.backup.problems...), o.backup.pods...)
	var lacking []string
	for _, d := range s.Destinations {
		for _, run := range []struct {
			*assetv1.BackupRun
			what string
		}{{d.LastBackup, "backup to"}, {d.LastScrub, "scrub of"}, {d.LastPrune, "removal of old sets in"}} {
			if run.BackupRun != nil && !run.Succeeded {
				findings = append(findings, failedRun(run.BackupRun, fmt.Sprintf("The last %s %s failed", run.what, d.Name)))
			}
		}
		if d.LastSet == "" {
			lacking = append(lacking, d.Name)
		}
	}
	var v verdict
	switch {
	case len(findings) > 0:
		v = no(findings[0])
	case len(o.backup.late) > 0:
		v = no(&finding{
			reason: assetv1.ReasonSetLate, where: "AssetPlatform " + ap.Name, problem: "The schedule should have made two sets in " + listed(o.backup.late, "and") + " that are not there",
			remedy: "see what became of the Jobs of component backup",
		})
	case len(lacking) > 0:
		v = waiting(assetv1.ReasonBackupWaiting, "No verified set yet in "+listed(lacking, "and")+": "+bringsFirst(ap, o))
	default:
		v = yes(assetv1.ReasonBackupVerified, fmt.Sprintf("Set %s of %s is verified; the oldest moment that can be brought back is %s", s.LastSet, moment(s.LastSetTime.Time), moment(s.OldestRecoverableTime.Time)))
		for _, d := range s.Destinations {
			if d.LastPrune != nil && d.LastPrune.Message != "" {
				v.message += fmt.Sprintf("; nothing was removed in %s: %s", d.Name, d.LastPrune.Message)
			}
		}
	}
	return &v
}

// bringsFirst says what brings the first set.
func bringsFirst(ap *assetv1.AssetPlatform, o *observed) string {
	switch {
	case ap.Spec.Hibernate:
		return "none is made while the platform hibernates"
	case !o.facts.Backup.Migrated:
		return "the schedule makes one once the database is migrated"
	}
	return "the schedule makes one, or, at once, a new value of the annotation " + assetv1.AnnotationBackupNow
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// failedRun is what a run said that failed.
func failedRun(run *assetv1.BackupRun, problem string) *finding {
	f := &finding{reason: codeReason(config.Code(run.Code)), where: "Job " + run.Job, problem: problem, remedy: strings.TrimSuffix(run.Remedy, ".")}
	if said := strings.TrimSuffix(run.Message, "."); said != "" {
		f.problem += " (" + said + ")"
	}
	if f.remedy == "" {
		f.remedy = "read the log of its pods"
	}
	return f
}

// codeReason is a code as conditions have their reasons: PG_DUMP_TOO_OLD is PgDumpTooOld.
func codeReason(code config.Code) string {
	if code == "" || code == config.CodeOK {
		code = config.CodeBackupFailed
	}
	var reason strings.Builder
	for word := range strings.SplitSeq(string(code), "_") {
		if word != "" {
			reason.WriteString(word[:1] + strings.ToLower(word[1:]))
		}
	}
	return reason.String()
}

// rpoVerdict compares the newest verified set with the objective; nil where there is none.
func rpoVerdict(ap *assetv1.AssetPlatform, o *observed) *verdict {
	b, s := ap.Spec.Backup, ap.Status.Backup
	if b == nil || b.Objectives.RPO == nil {
		return nil
	}
	rpo := b.Objectives.RPO.Duration
	var longest time.Duration // of the newest runs
	for _, d := range s.Destinations {
		if d.LastBackup != nil && d.LastBackup.Succeeded {
			longest = max(longest, d.LastBackup.Duration.Duration)
		}
	}
	f := &finding{where: "AssetPlatform " + ap.Name}
	switch {
	case o.backup.pause > 0 && o.backup.pause >= rpo:
		f.reason, f.problem = assetv1.ReasonScheduleTooRare, fmt.Sprintf("Sets are %s apart, and at most %s of work may be lost", short(o.backup.pause), short(rpo))
		f.remedy = "leave spec.backup.schedule out, so that it follows from spec.backup.objectives.rpo, or make it more frequent"
	case s.LastSetTime == nil && len(o.backup.late) > 0:
		f.reason, f.problem, f.remedy = assetv1.ReasonSetLate, "No verified set is known, and the schedule should have made two", "see what BackupHealthy says"
	case s.LastSetTime == nil:
		v := waiting(assetv1.ReasonBackupWaiting, "No verified set is known yet")
		return &v
	case o.backup.tooOld:
		f.reason, f.problem = assetv1.ReasonTooOld, fmt.Sprintf("The newest verified set is of %s, more than %s ago", moment(s.LastSetTime.Time), short(rpo))
		f.remedy = "see what BackupHealthy says"
	case o.backup.pause+longest > rpo:
		f.reason, f.problem = assetv1.ReasonDumpTooSlow, fmt.Sprintf("Sets are %s apart and take %s, and at most %s of work may be lost", short(o.backup.pause), short(longest), short(rpo))
		f.remedy = "make spec.backup.schedule more frequent; a database too large for that needs its provider's point-in-time recovery"
	default:
		v := yes(assetv1.ReasonWithinObjective, fmt.Sprintf("The newest verified set is of %s, and may be as old as %s", moment(s.LastSetTime.Time), short(rpo)))
		return &v
	}
	v := no(f)
	return &v
}

// short is a duration without the units that are zero: 1h, not 1h0m0s.
func short(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// drillVerdict says whether it is proven that the sets can be restored.
func drillVerdict(ap *assetv1.AssetPlatform, o *observed) *verdict {
	b, s := ap.Spec.Backup, ap.Status.Backup
	if b == nil {
		return nil
	}
	if b.Drill == nil {
		v := waiting(assetv1.ReasonNoDrill, "Nothing proves that the sets can be restored: set spec.backup.drill")
		return &v
	}
	if len(o.backup.drills) > 0 {
		v := no(o.backup.drills[0])
		return &v
	}
	rto := b.Objectives.RTO
	var undrilled []string
	for _, d := range s.Destinations {
		var v verdict
		switch {
		case d.LastDrill == nil:
			undrilled = append(undrilled, d.Name)
			continue
		case !d.LastDrill.Succeeded:
			v = no(failedRun(d.LastDrill, "The last drill of "+d.Name+" failed"))
		case rto != nil && d.LastDrill.Duration.Duration > rto.Duration:
			v = no(&finding{
				reason: assetv1.ReasonRestoreTooSlow, where: "Job " + d.LastDrill.Job,
				problem: fmt.Sprintf("By the last drill of %s a restore takes %s, and it may take %s", d.Name, short(d.LastDrill.Duration.Duration), short(rto.Duration)),
				remedy:  "give the drill's pods faster disks and more CPU, or raise spec.backup.objectives.rto",
			})
		default:
			continue
		}
		return &v
	}
	var v verdict
	switch {
	case len(o.backup.overdue) > 0:
		v = no(&finding{
			reason: assetv1.ReasonDrillOverdue, where: "AssetPlatform " + ap.Name, problem: "The schedule should have made two drills of " + listed(o.backup.overdue, "and") + " that did not succeed",
			remedy: "see what became of the Jobs of component drill",
		})
	case len(undrilled) > 0:
		v = waiting(assetv1.ReasonDrillWaiting, "No drill of "+listed(undrilled, "and")+" has run yet")
	default:
		v = yes(assetv1.ReasonProven, fmt.Sprintf("A set was restored and served at %s: a restore takes %s", moment(s.LastProvenTime.Time), s.RestoreDuration.Duration))
	}
	return &v
}
