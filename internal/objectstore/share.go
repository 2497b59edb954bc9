package objectstore

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
)

// userSlots is how many of the uploadSlots one user may hold: a buffer is held from the
// first byte on, however slowly the others come.
const userSlots = uploadSlots / 4

// PutFor is Put for an upload of a user, who may hold userSlots buffers at a time; further
// uploads of the same user wait.
func (b *Bucket) PutFor(ctx context.Context, user uuid.UUID, key string, body io.Reader) error {
	done, err := b.shares.take(ctx, user)
	if err != nil {
		return err
	}
	defer done()
	return b.Put(ctx, key, body)
}

// shares has the slots of the users that upload at this moment.
type shares struct {
	mu    sync.Mutex
	users map[uuid.UUID]*share
}

type share struct {
	slots   chan struct{}
	uploads int // that hold a slot or wait for one
}

// take waits for a slot of the user's, up to slotWait. done gives it back.
func (s *shares) take(ctx context.Context, user uuid.UUID) (done func(), err error) {
	s.mu.Lock()
	own := s.users[user]
	if own == nil {
		own = &share{slots: make(chan struct{}, userSlots)}
		s.users[user] = own
	}
	own.uploads++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if own.uploads--; own.uploads == 0 {
			delete(s.users, user)
		}
	}
	if err := acquire(ctx, own.slots); err != nil {
		leave()
		return nil, err
	}
	return func() { <-own.slots; leave() }, nil
}

// acquire puts itself into slots, as soon as there is room.
func acquire(ctx context.Context, slots chan<- struct{}) error {
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	select {
	case slots <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}
