package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// note leaves what items have turned out to be: blobs that are wrong for the next set, which replaces them, and with each set what it lacks.
func (s *scrubbing) note(ctx context.Context, items []*item) error {
	changed := map[uint16][]*item{}
	for _, one := range items {
		for _, i := range one.sets {
			if s.wrong[one.key] || slices.Contains(s.sets[i].Damage, one.key) {
				changed[i] = append(changed[i], one)
			}
		}
	}
	var unreported []string
	for _, i := range slices.Sorted(maps.Keys(changed)) {
		set, err := s.set(ctx, s.sets[i].ID)
		if errors.Is(err, ErrNoSet) { // it was removed meanwhile
			delete(changed, i)
			continue
		}
		if err != nil {
			return err
		}
		s.sets[i] = set
		for _, one := range changed[i] {
			if !s.wrong[one.key] {
				continue
			}
			if strings.HasPrefix(one.key, blobsFolder) && !s.told[one.key] && len(s.reported.reports[one.key]) == 0 {
				unreported = append(unreported, one.key)
			}
			s.tell(one.key, set.ID)
			s.Log.Error("damaged", "key", one.key, "set", set.ID)
		}
	}
	if len(unreported) > 0 {
		if err := s.report(ctx, damageReport{Damaged: unreported}); err != nil {
			return err
		}
	}
	s.step("reported")
	for i, found := range changed {
		if err := s.noteSet(ctx, i, found); err != nil {
			return err
		}
	}
	return nil
}

// noteSet leaves with a set what it lacks, if that is news.
func (s *scrubbing) noteSet(ctx context.Context, i uint16, found []*item) error {
	set := &s.sets[i]
	was := set.Damage
	for _, one := range found {
		switch wrong, noted := s.wrong[one.key], slices.Contains(set.Damage, one.key); {
		case wrong && !noted && len(set.Damage) < mostDamage:
			set.Damage = append(slices.Clone(set.Damage), one.key)
		case !wrong && len(was) < mostDamage:
			set.Damage = slices.DeleteFunc(slices.Clone(set.Damage), func(key string) bool { return key == one.key })
		}
	}
	if slices.Sort(set.Damage); slices.Equal(set.Damage, was) {
		return nil
	}
	if len(set.Damage) == 0 && !set.read.IsZero() {
		s.done.Mended = append(s.done.Mended, set.ID)
	}
	return s.Destination.note(ctx, set.ID, verification{Time: set.read, Damage: set.Damage, Manifest: set.sha256, Tool: s.Tool}, nil)
}

// keepPosition leaves how far the scrub has come. Prune removes what earlier ones have left.
func (s *scrubbing) keepPosition(ctx context.Context) error {
	s.step("position")
	s.position.Sets = len(s.sets)
	return s.leave(ctx, scrubFolder, s.position)
}

// hadNone fails if scrubs or drills of before have found sets where none is any more.
func (s *scrubbing) hadNone(ctx context.Context) error {
	for o, err := range s.documents(ctx, scrubFolder) {
		var p position
		if err == nil {
			err = s.readJSON(ctx, o.Key, &p)
		}
		if err != nil {
			return err
		}
		if p.Sets > 0 || p.After != "" {
			return fmt.Errorf("%w: the destination had sets, and has none: see %s", ErrNoSet, o.Key)
		}
	}
	for o, err := range s.documents(ctx, drillsFolder) {
		var r DrillRecord
		if err == nil {
			err = s.readJSON(ctx, o.Key, &r)
		}
		if err != nil {
			return err
		}
		if r.Set != "" {
			return fmt.Errorf("%w: the destination had sets, and has none: see %s", ErrNoSet, o.Key)
		}
	}
	return nil
}
