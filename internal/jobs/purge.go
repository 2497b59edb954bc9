package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	purgeInterval = 15 * time.Minute
	purgeTimeout  = 10 * time.Minute
	purgeBatch    = 100 // assets of the trash that are listed at a time
	auditBatch    = 10_000
)

func periodicPurge() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(purgeInterval),
		func() (river.JobArgs, *river.InsertOpts) { return store.PurgeArgs{}, nil },
		&river.PeriodicJobOpts{RunOnStart: true})
}

// purgeWorker deletes for good what is past its time. It is safe to run at any time and
// any number of times: it deletes only objects whose keys the store names.
type purgeWorker struct {
	river.WorkerDefaults[store.PurgeArgs]
	o Options
}

// Timeout bounds one run; the next one goes on where it ended.
func (w *purgeWorker) Timeout(*river.Job[store.PurgeArgs]) time.Duration { return purgeTimeout }

// Work purges the trash and uploads first, since that makes objects to collect.
func (w *purgeWorker) Work(ctx context.Context, _ *river.Job[store.PurgeArgs]) error {
	trash, trashErr := w.purgeTrash(ctx)
	uploadErr := w.o.Store.DeleteExpiredUploads(ctx)
	objects, objectErr := w.collectObjects(ctx)
	if trash > 0 || objects > 0 {
		w.o.Log.Info("purged", "assets", trash, "objects", objects)
	}
	return errors.Join(trashErr, uploadErr, objectErr, w.o.Store.DeleteEndedSessions(ctx), w.o.Store.DeleteOldAnswers(ctx), w.purgeAudit(ctx))
}

func (w *purgeWorker) purgeAudit(ctx context.Context) error {
	before := time.Now().Add(-w.o.AuditRetention)
	for {
		if n, err := w.o.Store.PurgeAudit(ctx, before, auditBatch); err != nil || n < auditBatch {
			return err
		}
	}
}

func (w *purgeWorker) purgeTrash(ctx context.Context) (purged int, err error) {
	before := time.Now().Add(-w.o.TrashRetention)
	for {
		n, err := w.o.Store.PurgeTrash(ctx, before, purgeBatch)
		purged += n
		// After a failure, too, there may be more: it is over with a batch of nothing else.
		if n == 0 || err == nil && n < purgeBatch || errors.Is(err, store.ErrUnavailable) {
			return purged, err
		}
	}
}

// collectObjects deletes the objects that nothing refers to. One that cannot be deleted
// does not keep it from the others.
func (w *purgeWorker) collectObjects(ctx context.Context) (collected int, err error) {
	for after := ""; ; {
		key, failed := w.o.Store.CollectObject(ctx, after, w.o.Bucket.Discard)
		switch {
		case failed != nil && (key == "" || errors.Is(failed, store.ErrUnavailable)):
			return collected, errors.Join(err, failed)
		case failed != nil:
			err = errors.Join(err, failed)
		case key == "":
			return collected, err
		default:
			collected++
		}
		after = key
	}
}
