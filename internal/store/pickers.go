package store

import (
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	quickCount  = 20 * time.Millisecond // what takes no longer is counted each time
	longestKept = 10 * time.Second
)

// recent keeps what was counted of a large library for a moment, which is the longer the longer it took: so nobody makes the database
// count all the time.
type recent struct {
	mu sync.Mutex
	of map[uuid.UUID]counted
}

type counted struct {
	names []NameCount
	until time.Time
}

// get returns what was counted for the user a moment ago, or counts.
func (r *recent) get(user uuid.UUID, count func() ([]NameCount, error)) ([]NameCount, error) {
	r.mu.Lock()
	kept, ok := r.of[user]
	r.mu.Unlock()
	began := time.Now()
	if ok && began.Before(kept.until) {
		return kept.names, nil
	}
	names, err := count()
	now := time.Now()
	if took := now.Sub(began); err == nil && took > quickCount {
		r.mu.Lock()
		defer r.mu.Unlock()
		for of, kept := range r.of {
			if kept.until.Before(now) {
				delete(r.of, of)
			}
		}
		if r.of == nil {
			r.of = map[uuid.UUID]counted{}
		}
		r.of[user] = counted{names, now.Add(min(20*took, longestKept))}
	}
	return names, err
}
