package manifests

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the image has none

	"github.com/robfig/cron/v3"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// BackupSchedule is when sets are made: as the spec says, or so often that its objective is met with half the time to spare, for a set
// takes time too and the next may fail.
func BackupSchedule(ap *assetv1.AssetPlatform) string {
	b := ap.Spec.Backup
	if b.Schedule != "" || b.Objectives.RPO == nil {
		return cmp.Or(b.Schedule, "0 2 * * *")
	}
	half := int(b.Objectives.RPO.Duration / 2 / time.Minute)
	for _, minutes := range []int{30, 20, 15, 12, 10, 6, 5} {
		if half < 60 && minutes <= half {
			return fmt.Sprintf("*/%d * * * *", minutes)
		}
	}
	for _, hours := range []int{12, 8, 6, 4, 3, 2} {
		if half < 24*60 && hours*60 <= half {
			return fmt.Sprintf("0 */%d * * *", hours)
		}
	}
	if half >= 24*60 {
		return "0 2 * * *"
	}
	return "0 * * * *"
}

// DrillSchedule is when the newest set is restored for trial.
func DrillSchedule(ap *assetv1.AssetPlatform) string {
	return cmp.Or(ap.Spec.Backup.Drill.Schedule, "0 4 * * 0")
}

// ScrubSchedule is when what is kept is read again, and then pruned.
func ScrubSchedule(ap *assetv1.AssetPlatform) string {
	return cmp.Or(ap.Spec.Backup.Scrub.Schedule, "0 5 * * *")
}

// TimeZone is that of all schedules.
func TimeZone(ap *assetv1.AssetPlatform) string { return cmp.Or(ap.Spec.Backup.TimeZone, "Etc/UTC") }

// LongestPause is the longest time between two runs of a schedule, as Kubernetes' CronJob controller reads it; an error says what is wrong
// with the schedule or the time zone.
func LongestPause(schedule, zone string) (time.Duration, error) {
	if strings.Contains(schedule, "TZ=") {
		return 0, fmt.Errorf("%q names a time zone, which has a field of its own", schedule)
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return 0, fmt.Errorf("there is no time zone %q", zone)
	}
	runs, err := cron.ParseStandard(schedule)
	if err != nil {
		return 0, fmt.Errorf("%q is no schedule (%w)", schedule, err)
	}
	var longest time.Duration
	last := runs.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, location))
	end := last.AddDate(0, 0, 8)
	for n := 0; n < 13 || n < 3000 && last.Before(end); n++ {
		next := runs.Next(last)
		if next.IsZero() {
			return 0, fmt.Errorf("%q never comes", schedule)
		}
		longest, last = max(longest, next.Sub(last)), next
	}
	if last.IsZero() {
		return 0, fmt.Errorf("%q never comes", schedule)
	}
	return longest, nil
}
