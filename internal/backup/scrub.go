package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

const (
	scrubFolder = "scrub/"
	// leastScrubbed is how much a scrub reads at least, bytes.
	leastScrubbed = 1 << 30
	// sectionBytes is about how much is read before what was found, and how far it has come, is noted.
	sectionBytes = 256 << 20
	// itemsAtOnce is about how many objects that sets need are held in memory.
	itemsAtOnce = 20_000
	// mostDamage is how many damaged keys a note of a scrub names. Of a set with more only a verification tells that it is whole.
	mostDamage = 1000
	// mostNamed is how many keys the result names.
	mostNamed = 100
)

// ScrubOptions say how much to read.
type ScrubOptions struct {
	Runs    int  // in so many runs everything is read once
	All     bool // read everything in this one
	Workers int  // objects that are read at a time
	Tool    string
	Log     *slog.Logger
	Report  func(Progress)

	// Tests have smaller ones than the constants.
	least, section int64
	atOnce         int
	step           func(name string)
}

// Scrubbed is what Scrub did.
type Scrubbed struct {
	Blobs    int64     `json:"blobs"` // that were read
	Files    int64     `json:"files"` // of sets
	Bytes    int64     `json:"bytes"`
	Began    time.Time `json:"began"`            // when the scrub was at the beginning of everything
	Complete bool      `json:"complete"`         // everything was read since then
	Damaged  int64     `json:"damaged"`          // objects that are not what they should be
	Keys     []string  `json:"keys,omitempty"`   // of those, at most a hundred
	Sets     []string  `json:"sets,omitempty"`   // ids of those that need them
	Mended   []string  `json:"mended,omitempty"` // ids of sets that were damaged, and are whole again
	Share    int64     `json:"share"`            // how much was to be read, bytes
	Total    int64     `json:"total"`            // how much there is, bytes
}

// position is what a file of scrubFolder holds: how far a scrub has come. Objects are read in the order of their keys.
type position struct {
	Began time.Time `json:"began"`
	After string    `json:"after"` // the last key that was read; empty: the next run begins anew
	Sets  int       `json:"sets"`  // how many there were
}

// scrubbing is one run of Scrub.
type scrubbing struct {
	Destination
	ScrubOptions
	done     Scrubbed
	sets     []Set
	unread   map[int]bool // sets whose inventories are damaged
	reported damage
	told     map[string]bool // keys that are in the result
	position position

	mu    sync.Mutex // of what the workers of a section change
	wrong map[string]bool
}

// Scrub reads on where the last run has ended, and finds what is not what sets need: a share of all blobs and files, or all of them. It
// needs no identity. Sets that need what is damaged count as verified no more, until that is replaced and found right. ErrDamaged; ErrNoSet where
// there were sets, and are none.
func (d Destination) Scrub(ctx context.Context, o ScrubOptions) (Scrubbed, error) {
	s := &scrubbing{Destination: d, ScrubOptions: o, unread: map[int]bool{}, told: map[string]bool{}}
	s.defaults()
	if err := s.begin(ctx); err != nil {
		return s.done, err
	}
	if err := s.readDamaged(ctx); err != nil {
		return s.done, err
	}
	if err := s.readOn(ctx); err != nil {
		return s.done, err
	}
	slices.Sort(s.done.Sets)
	if s.done.Damaged > 0 {
		return s.done, fmt.Errorf("%w: %d objects, which %d sets need, are not what they should be, such as %s", ErrDamaged, s.done.Damaged, len(s.done.Sets), s.done.Keys[0])
	}
	return s.done, nil
}

func (s *scrubbing) defaults() {
	if s.Workers == 0 {
		s.Workers = defaultWorkers
	}
	if s.Report == nil {
		s.Report = func(Progress) {}
	}
	if s.step == nil {
		s.step = func(string) {}
	}
	if s.least == 0 {
		s.least, s.section, s.atOnce = leastScrubbed, sectionBytes, itemsAtOnce
	}
}

// begin looks at what there is, and how far the last run has come.
func (s *scrubbing) begin(ctx context.Context) error {
	l, err := s.List(ctx)
	if err != nil {
		return err
	}
	if len(l.Sets)+len(l.Bad) == 0 {
		if err := s.hadNone(ctx); err != nil {
			return err
		}
	}
	if s.sets = l.Sets; len(s.sets) > math.MaxUint16 {
		return fmt.Errorf("%d sets are too many", len(s.sets))
	}
	for id, why := range l.Bad { // its manifest says for itself that it is damaged
		s.Log.Error("a set cannot be read", "set", id, "reason", why)
		s.tell(setKey(id, manifestFile), id)
	}
	if s.reported, err = s.damaged(ctx); err != nil {
		return err
	}
	for o, err := range s.Archive.List(ctx, blobsFolder, "") {
		if err != nil {
			return err
		}
		s.done.Total += o.Size
	}
	for _, set := range s.sets {
		for _, f := range set.Files {
			s.done.Total += f.Size
		}
	}
	if s.done.Share = max(s.done.Total/int64(max(s.Runs, 1)), s.least); s.All || s.done.Share > s.done.Total {
		s.done.Share = s.done.Total
	}
	newest := ""
	for o, err := range s.documents(ctx, scrubFolder) {
		if err != nil {
			return err
		}
		newest = o.Key
	}
	if newest != "" && !s.All {
		if err := s.readJSON(ctx, newest, &s.position); err != nil {
			return err
		}
	}
	if s.position.After == "" {
		s.position.Began = time.Now().UTC()
	}
	s.done.Began = s.position.Began
	return nil
}

// tell puts what is damaged, and a set that needs it, into the result.
func (s *scrubbing) tell(key, id string) {
	if !slices.Contains(s.done.Sets, id) {
		s.done.Sets = append(s.done.Sets, id)
	}
	if s.told[key] {
		return
	}
	s.told[key] = true
	if s.done.Damaged++; len(s.done.Keys) < mostNamed {
		s.done.Keys = append(s.done.Keys, key)
	}
}

// readDamaged reads what was found damaged before, wherever it is: it may have been replaced. Files of sets nobody replaces.
func (s *scrubbing) readDamaged(ctx context.Context) error {
	known := map[string]bool{}
	for i, set := range s.sets {
		for _, key := range set.Damage {
			if known[key] = true; strings.HasPrefix(key, setsFolder) {
				s.tell(key, set.ID)
				s.unread[i] = s.unread[i] || key == setKey(set.ID, inventoryFile)
			}
		}
	}
	if len(known) == 0 {
		return nil
	}
	items, _, err := s.needed(ctx, "", func(key string) bool { return known[key] })
	if err != nil {
		return err
	}
	return s.read(ctx, items)
}

// readOn reads this run's share.
func (s *scrubbing) readOn(ctx context.Context) error {
	for begin := s.done.Bytes; ; {
		items, more, err := s.next(ctx)
		if err != nil {
			return err
		}
		for len(items) > 0 {
			if s.done.Bytes-begin >= s.done.Share && !s.All {
				return nil
			}
			n := s.sectionOf(items)
			if err := s.read(ctx, items[:n]); err != nil {
				return err
			}
			s.position.After = items[n-1].key
			if items = items[n:]; len(items) == 0 && !more {
				break
			}
			if err := s.keepPosition(ctx); err != nil {
				return err
			}
		}
		if !more {
			s.position.After, s.done.Complete = "", true
			return s.keepPosition(ctx)
		}
	}
}

// sectionOf is how many of the items, at least one, are read before what was found is noted.
func (s *scrubbing) sectionOf(items []*item) (n int) {
	for size := int64(0); n < len(items) && (n == 0 || size < s.section); n++ {
		size += items[n].sums[0].Size
	}
	return n
}

// next are items behind the position, in the order of their keys; more: there are further ones.
func (s *scrubbing) next(ctx context.Context) (items []*item, more bool, err error) {
	if after := s.position.After; after < setsFolder {
		if items, more, err = s.needed(ctx, after, func(string) bool { return true }); err != nil || more {
			return items, more, err
		}
	}
	for i, set := range s.sets {
		files := slices.Clone(set.Files)
		slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
		for _, f := range files {
			sum, err := f.sum()
			if err != nil {
				return nil, false, err
			}
			if key := setKey(set.ID, f.Name); key > s.position.After && !slices.Contains(set.Damage, key) {
				items = append(items, &item{key, []objectstore.Sum{sum}, []uint16{uint16(i)}})
			}
		}
	}
	return items, false, nil
}

// isRight reads an object; what is not there is not right.
func (s *scrubbing) isRight(ctx context.Context, one *item) (bool, error) {
	for range 2 { // it may have been the way
		sum, err := s.Archive.Sum(ctx, one.key)
		switch {
		case err == nil && (slices.Contains(one.sums, sum) || slices.Contains(s.reported.replaced[one.key], sum)):
			return true, nil
		case err != nil && !errors.Is(err, objectstore.ErrNotFound):
			return false, err
		}
	}
	return false, nil
}

// read reads a section, and notes what it found.
func (s *scrubbing) read(ctx context.Context, items []*item) error {
	s.wrong = map[string]bool{}
	all, within := errgroup.WithContext(ctx)
	all.SetLimit(s.Workers)
	for _, one := range items {
		if within.Err() != nil {
			break
		}
		all.Go(func() error {
			right, err := s.isRight(within, one)
			if err == nil {
				s.count(one, right)
			}
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	s.step("read")
	return s.note(ctx, items)
}

func (s *scrubbing) count(one *item, right bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !right {
		s.wrong[one.key] = true
	}
	if strings.HasPrefix(one.key, setsFolder) {
		s.done.Files++
	} else {
		s.done.Blobs++
	}
	s.done.Bytes += one.sums[0].Size
	s.Report(Progress{Step: "scrub", Done: s.done.Bytes, Total: s.done.Share, Unit: "bytes"})
}
