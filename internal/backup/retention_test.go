package backup

import (
	"fmt"
	"testing"
	"time"
)

// Failed attempts count for nothing, and nothing goes while they go on.
func TestF05Retention(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	var all []Set
	for hours := 24 * 60; hours > 0; hours -= 6 {
		s := Set{Manifest: Manifest{ID: fmt.Sprint(hours), SnapshotTime: now.Add(-time.Duration(hours) * time.Hour)}, written: now.Add(-time.Duration(hours) * time.Hour), VerifiedTime: now}
		if hours < 24*40 && hours%12 == 0 {
			s.VerifiedTime = time.Time{}
		}
		all = append(all, s)
	}
	guide := Retention{All: 48 * time.Hour, Daily: 30, Minimum: 3}
	kept := guide.keep(all, now)
	days, young := map[string]int{}, 0
	for _, s := range all {
		switch age := now.Sub(s.written); {
		case age < guide.All:
			young++
			if !kept[s.ID] {
				t.Errorf("a set of %s is gone", age)
			}
		case kept[s.ID]:
			days[s.written.Format(time.DateOnly)]++
			if !s.Verified() || age > 30*24*time.Hour {
				t.Errorf("a set of %s stays, verified: %v", age, s.Verified())
			}
		}
	}
	if len(kept)-young != len(days) || len(days) < 28 {
		t.Errorf("%d days, %d sets", len(days), len(kept)-young)
	}
	for name, r := range map[string]Retention{"nothing": {}, "minimum": {Minimum: 7}} {
		kept := r.keep(all, now.Add(10*365*24*time.Hour))
		verified := 0
		for _, s := range all {
			if kept[s.ID] && s.Verified() {
				verified++
			}
		}
		if verified != max(r.Minimum, 1) || len(kept) != verified {
			t.Errorf("%s: %d stay, %d of them verified", name, len(kept), verified)
		}
	}
}

func TestF05NothingGoesWhileBackupsFail(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	_, d := archive(t)
	prune := PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1}
	p.backUp(d)
	p.backUp(d)
	failing := p.options(d)
	failing.programs = fakePgDump(t, "exit 1")
	if _, err := Create(t.Context(), failing); err == nil {
		t.Fatal("no error")
	}
	pruned, err := d.Prune(t.Context(), prune)
	if err != nil || len(pruned.Removed) > 0 || pruned.Held == "" {
		t.Errorf("%+v, %v", pruned, err)
	}
	last := p.backUp(d)
	pruned, err = d.Prune(t.Context(), prune)
	if err != nil || len(pruned.Removed) != 2 || pruned.Kept != 1 || pruned.Held != "" {
		t.Errorf("%+v, %v", pruned, err)
	}
	if l, err := d.List(t.Context()); err != nil || len(l.Sets) != 1 || l.Sets[0].ID != last.ID || len(l.Unfinished) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}
