// Package jobs does the work that nobody waits for, by River on PostgreSQL: one file
// per kind. Kinds and arguments live in the store, so that whoever writes a row can ask
// for its job in the same transaction. It must not know of HTTP.
package jobs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// Options are what the workers work with.
type Options struct {
	Store          *store.Store
	Bucket         *objectstore.Bucket
	Log            *slog.Logger
	TrashRetention time.Duration // how long the trash is kept
	AuditRetention time.Duration // how long events of the audit are
}

const (
	// pollInterval is how often a queue is looked at. There is no LISTEN: behind a
	// transaction pooler it would not work.
	pollInterval = 2 * time.Second
	// rescueAfter is when a job that still seems to run is taken for one whose process died. No job takes that long.
	rescueAfter = 12 * time.Minute
	// startRetry is the pause between attempts to start while the database is away.
	startRetry = 2 * time.Second
	// stopTimeout is how long jobs may go on after the process was told to stop.
	stopTimeout = 10 * time.Second
)

// Run works off jobs from the time that ready is closed (the schema is there and fits;
// the bucket refuses what jobs ask of it until it is known to be this platform's)
// until ctx ends and the jobs under way are done or cut off; River works a job that was
// cut off again elsewhere.
func Run(ctx context.Context, o Options, ready <-chan struct{}) error {
	workers := river.NewWorkers()
	river.AddWorker(workers, &purgeWorker{o: o})
	river.AddWorker(workers, &indexWorker{o: o})
	river.AddWorker(workers, &mediaWorker{o: o, readTime: readTime})
	client, err := river.NewClient(riverpgxv5.New(o.Store.Pool()), &river.Config{
		Logger:               o.Log,
		Workers:              workers,
		PollOnly:             true,
		FetchPollInterval:    pollInterval,
		RescueStuckJobsAfter: rescueAfter,
		Queues: map[string]river.QueueConfig{
			store.QueuePurge: {MaxWorkers: 1}, store.QueueIndex: {MaxWorkers: 1}, store.QueueMedia: {MaxWorkers: 1},
		},
		PeriodicJobs: []*river.PeriodicJob{periodicPurge(), periodicIndex()},
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-ready:
	}
	// The client outlives ctx, so that stop can be gentle.
	for err := client.Start(context.WithoutCancel(ctx)); err != nil; err = client.Start(context.WithoutCancel(ctx)) {
		o.Log.Warn("the job workers cannot start yet", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(startRetry):
		}
	}
	<-ctx.Done()
	return stop(ctx, client)
}

func stop(ctx context.Context, client *river.Client[pgx.Tx]) error {
	gentle, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := client.Stop(gentle); err == nil {
		return nil
	}
	hard, cancelHard := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancelHard()
	return errors.Join(client.StopAndCancel(hard))
}
