package backup

import (
	"slices"
	"time"
)

// Retention says which sets stay. Only verified sets count as kept: of failures it may be as many as it will. One that
// lacks damaged blobs stays for its days all the same, beside those.
type Retention struct {
	All     time.Duration // every set that is younger
	Daily   int           // then one of each day (UTC), for so many days
	Minimum int           // and never fewer than so many, whatever their age
}

// keep are the ids of the sets that stay, which are the oldest first, at a time by the destination's clock.
func (r Retention) keep(sets []Set, now time.Time) map[string]bool {
	kept := map[string]bool{}
	days := map[bool]map[string]bool{true: {}, false: {}} // of verified sets, and of those that lack blobs
	verified := 0
	for _, s := range slices.Backward(sets) {
		age := now.Sub(s.written)
		day := s.SnapshotTime.UTC().Format(time.DateOnly) // also in a copy of the bucket
		whole := s.Verified()
		daily := age < time.Duration(r.Daily)*24*time.Hour && !days[whole][day]
		switch {
		case age < r.All:
			kept[s.ID] = true
		case !whole && !s.lacking():
			continue
		case whole && verified < max(r.Minimum, 1), daily:
			kept[s.ID] = true
		}
		if whole {
			verified++
		}
		if whole || s.lacking() {
			days[whole][day] = true
		}
	}
	return kept
}
