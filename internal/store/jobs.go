package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Queues. A new kind of job gets a new queue: a pod of an older image that took it
// would burn an attempt.
const (
	QueuePurge = "purge"
	QueueIndex = "index"
	QueueMedia = "media"
)

// PurgeArgs asks to delete for good what is past its time: expired trash, bytes that
// nothing refers to, ended sessions.
type PurgeArgs struct{}

// Kind names the job in the database.
func (PurgeArgs) Kind() string { return "purge" }

// InsertOpts lets at most one purge wait or run.
func (PurgeArgs) InsertOpts() river.InsertOpts { return onlyOne(QueuePurge) }

// IndexArgs asks to make assets searchable that are not yet: those that an image has written which did not know how.
type IndexArgs struct{}

// Kind names the job in the database.
func (IndexArgs) Kind() string { return "index" }

// InsertOpts lets at most one wait or run.
func (IndexArgs) InsertOpts() river.InsertOpts { return onlyOne(QueueIndex) }

// MediaArgs asks to read what bytes are: metadata, and thumbnails of a picture.
type MediaArgs struct {
	UserID uuid.UUID `json:"userId"`
	SHA256 string    `json:"sha256"` // in hexadecimal
}

// Kind names the job in the database.
func (MediaArgs) Kind() string { return "media" }

// InsertOpts lets at most one for the same bytes wait or run.
func (MediaArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueMedia, MaxAttempts: mediaAttempts, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: undone}}
}

// mediaAttempts bounds how often bytes are read. The last time they are not, but it is noted that nothing is known of them: reading
// them may be what killed the processes before.
const mediaAttempts = 4

// undone are the states of a job that waits or runs.
var undone = []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
	rivertype.JobStateRunning, rivertype.JobStateScheduled,
}

// onlyOne are the options of a job of which at most one waits or runs.
func onlyOne(queue string) river.InsertOpts {
	return river.InsertOpts{Queue: queue, MaxAttempts: 3, UniqueOpts: river.UniqueOpts{ByQueue: true, ByState: undone}}
}

// QueueStats is the state of one queue of jobs.
type QueueStats struct {
	Queue, State string // State is available, running, retryable or scheduled
	Jobs         int64
	OldestAge    time.Duration // since the oldest of them was due
}

// QueueStats describes the jobs that are not yet done.
func (s *Store) QueueStats(ctx context.Context) ([]QueueStats, error) {
	const sql = `
select queue, state::text, count(*), greatest(extract(epoch from now() - min(scheduled_at)), 0)::float8
from river_job where state in ('available', 'running', 'retryable', 'scheduled')
group by queue, state`
	rows, err := s.pool.Query(ctx, sql)
	if err != nil {
		return nil, fail("read queue", err)
	}
	defer rows.Close()
	var stats []QueueStats
	for rows.Next() {
		var q QueueStats
		var age float64
		if err := rows.Scan(&q.Queue, &q.State, &q.Jobs, &age); err != nil {
			return nil, fail("read queue", err)
		}
		q.OldestAge = time.Duration(age * float64(time.Second))
		stats = append(stats, q)
	}
	return stats, fail("read queue", rows.Err())
}
