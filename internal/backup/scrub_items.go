package backup

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// item is an object that sets need.
type item struct {
	key  string
	sums []objectstore.Sum // what it may be. Sets may differ in that: a blob that was damaged is encrypted anew.
	sets []uint16          // that need it, as indices
}

// needed are the blobs that sets need, behind a key, in the order of their keys, and no more than are held in memory.
func (s *scrubbing) needed(ctx context.Context, after string, wanted func(key string) bool) (items []*item, more bool, err error) {
	for {
		items, more, damaged, err := s.gather(ctx, after, wanted)
		if damaged == nil || err != nil {
			return items, more, err
		}
		s.unread[int(damaged.sets[0])] = true // what it has told of may be wrong: again without it
		s.wrong = map[string]bool{damaged.key: true}
		if err := s.note(ctx, []*item{damaged}); err != nil {
			return nil, false, err
		}
	}
}

// gather is needed, unless it comes upon an inventory that is damaged.
func (s *scrubbing) gather(ctx context.Context, after string, wanted func(key string) bool) (items []*item, more bool, damaged *item, err error) {
	byKey, last := map[string]*item{}, "" // last: keys behind it are for later
	for i, set := range s.sets {
		if s.unread[i] {
			continue
		}
		for c, err := range s.inventory(ctx, set.Manifest) {
			if err != nil {
				damaged, err := s.judgeInventory(ctx, i, err)
				return nil, false, damaged, err
			}
			key := blobKey(c.sum.SHA256, set.Encrypted)
			if key <= after || last != "" && key > last || !wanted(key) {
				continue
			}
			one := byKey[key]
			if one == nil {
				one = &item{key: key}
				byKey[key] = one
			}
			one.sets = append(one.sets, uint16(i))
			if !slices.Contains(one.sums, c.stored) {
				one.sums = append(one.sums, c.stored)
			}
			if len(byKey) >= 2*s.atOnce {
				last, more = s.cut(byKey), true
			}
		}
	}
	items = make([]*item, 0, len(byKey))
	for _, one := range byKey {
		items = append(items, one)
	}
	slices.SortFunc(items, func(a, b *item) int { return strings.Compare(a.key, b.key) })
	return items, more, nil, nil
}

// cut leaves the first half of the items, and tells the last key of it.
func (s *scrubbing) cut(byKey map[string]*item) (last string) {
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys[s.atOnce:] {
		delete(byKey, key)
	}
	return keys[s.atOnce-1]
}

// judgeInventory tells whether it is an inventory that is damaged, where one could not be read, or the way to it.
func (s *scrubbing) judgeInventory(ctx context.Context, set int, failed error) (*item, error) {
	damaged := &item{key: setKey(s.sets[set].ID, inventoryFile), sets: []uint16{uint16(set)}}
	f, _ := s.sets[set].file(inventoryFile)
	if sum, err := f.sum(); err == nil {
		damaged.sums = []objectstore.Sum{sum}
	}
	if right, err := s.isRight(ctx, damaged); err != nil || right {
		return nil, errors.Join(failed, err)
	}
	return damaged, nil
}
