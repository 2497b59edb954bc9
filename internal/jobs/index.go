package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	indexInterval = time.Minute // for as long a rollout's old pods may write what is not searchable yet
	indexTimeout  = 10 * time.Minute
	indexBatch    = 500 // assets of one transaction
)

func periodicIndex() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(indexInterval),
		func() (river.JobArgs, *river.InsertOpts) { return store.IndexArgs{}, nil },
		&river.PeriodicJobOpts{RunOnStart: true})
}

// indexWorker makes up for what an older image has not done for the assets that it wrote: makes them searchable, and asks for their
// media jobs. It may run any number of times.
type indexWorker struct {
	river.WorkerDefaults[store.IndexArgs]
	o Options
}

// Timeout bounds one run; the next one goes on where it ended.
func (w *indexWorker) Timeout(*river.Job[store.IndexArgs]) time.Duration { return indexTimeout }

// Work goes on until all are searchable.
func (w *indexWorker) Work(ctx context.Context, _ *river.Job[store.IndexArgs]) error {
	asked, err := w.o.Store.AskForMedia(ctx, indexBatch)
	if asked > 0 {
		w.o.Log.Info("asked for what was not read yet", "files", asked)
	}
	return errors.Join(err, w.index(ctx))
}

func (w *indexWorker) index(ctx context.Context) error {
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
