package backup

import (
	"slices"
	"time"
)

// Retention says which sets stay. Only verified sets count as kept: of failures it may be as many as it will. Those that lack damaged blobs, and
// those of what restores have overwritten, stay for their days beside them, and take nobody's place.
type Retention struct {
	All     time.Duration // every set that is younger
	Daily   int           // then one of each day (UTC), for so many days
	Minimum int           // and never fewer than so many, whatever their age
}

// keep are the ids of the sets that stay, which are the oldest first, at a time by the destination's clock.
func (r Retention) keep(sets []Set, now time.Time) map[string]bool {
	kept := map[string]bool{}
	const regular, safety, lacking = 0, 1, 2
	var days [3]map[string]bool
	for kind := range days {
		days[kind] = map[string]bool{}
	}
	verified := 0
	for _, s := range slices.Backward(sets) {
		age := now.Sub(s.written)
		day := s.SnapshotTime.UTC().Format(time.DateOnly) // also in a copy of the bucket
		kind := regular
		switch {
		case s.lacking():
			kind = lacking
		case !s.Verified():
			if age < r.All {
				kept[s.ID] = true
			}
			continue
		case s.Safety:
			kind = safety
		}
		daily := age < time.Duration(r.Daily)*24*time.Hour && !days[kind][day]
		least := kind == regular && verified < max(r.Minimum, 1)
		if age < r.All || daily || least {
			kept[s.ID] = true
		}
		days[kind][day] = true
		if kind == regular {
			verified++
		}
	}
	return kept
}
