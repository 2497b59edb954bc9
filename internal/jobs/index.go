package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	indexInterval = time.Minute // for as long a rollout's old pods may write what is not searchable yet
	indexTimeout  = 30 * time.Minute
	indexBatch    = 500 // assets of one transaction
)

func periodicIndex() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(indexInterval),
		func() (river.JobArgs, *river.InsertOpts) { return store.IndexArgs{}, nil },
		&river.PeriodicJobOpts{RunOnStart: true})
}

// indexWorker makes assets searchable that an older image has written. It may run any number of times.
type indexWorker struct {
	river.WorkerDefaults[store.IndexArgs]
	o Options
}

// Timeout bounds one run; the next one goes on where it ended.
func (w *indexWorker) Timeout(*river.Job[store.IndexArgs]) time.Duration { return indexTimeout }

// Work goes on until all are searchable.
func (w *indexWorker) Work(ctx context.Context, _ *river.Job[store.IndexArgs]) error {
	for all := 0; ; {
		found, err := w.o.Store.IndexAssets(ctx, indexBatch)
		if all += found; err != nil || found < indexBatch {
			if all > 0 {
				w.o.Log.Info("made searchable", "assets", all)
			}
			return err
		}
	}
}
