package store

import (
	"sync"
	"time"
)

const (
	quickCount  = 20 * time.Millisecond // names that take no longer are counted each time
	longestKept = 10 * time.Second
	// maxKept bounds the counts that a recent has.
	maxKept = 1000
)

// recent keeps what was counted of a large library for a moment, so that nobody makes the database count all the time.
type recent[Key comparable, Value any] struct {
	mu sync.Mutex
	of map[Key]counted[Value]
}

type counted[Value any] struct {
	value Value
	until time.Time
}

// get returns what was counted for the key a moment ago, or counts. worth says for how long that is kept, from what it took; 0: not at all.
func (r *recent[Key, Value]) get(key Key, worth func(Value, time.Duration) time.Duration, count func() (Value, error)) (Value, error) {
	r.mu.Lock()
	kept, ok := r.of[key]
	r.mu.Unlock()
	began := time.Now()
	if ok && began.Before(kept.until) {
		return kept.value, nil
	}
	value, err := count()
	if err != nil {
		return value, err
	}
	now := time.Now()
	if keep := worth(value, now.Sub(began)); keep > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.makeRoom(now)
		r.of[key] = counted[Value]{value, now.Add(keep)}
	}
	return value, nil
}

func (r *recent[Key, Value]) makeRoom(now time.Time) {
	if len(r.of) >= maxKept {
		for key, kept := range r.of {
			if kept.until.Before(now) {
				delete(r.of, key)
			}
		}
	}
	if r.of == nil || len(r.of) >= maxKept {
		r.of = map[Key]counted[Value]{}
	}
}

// keepNames keeps names the longer the longer it took to count them.
func keepNames(_ []NameCount, took time.Duration) time.Duration {
	if took <= quickCount {
		return 0
	}
	return min(20*took, longestKept)
}
