package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// leaseRenewal is how often a lease is renewed; without that for a quarter of an hour it is over.
const leaseRenewal = time.Minute

// HoldObjects keeps all objects to which rows refer now, or later, in the bucket until release is called, or ctx ends. holder tells people who
// does so.
func (s *Store) HoldObjects(ctx context.Context, holder string) (release func(), err error) {
	id := uuid.New()
	renew := func(ctx context.Context) error {
		return s.queries.RenewBackupLease(ctx, sqlc.RenewBackupLeaseParams{ID: id, Holder: holder})
	}
	err = renew(ctx)
	if err == nil {
		err = s.inTx(ctx, func(q *sqlc.Queries) error { return q.AwaitObjectWriters(ctx) })
	}
	if err != nil {
		return nil, fail("hold objects", err)
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(leaseRenewal)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				_ = renew(ctx) // a few may fail
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		stop()
		<-ended
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.queries.EndBackupLease(last, id) // else it ends by itself
	}, nil
}
