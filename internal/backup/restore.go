package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// RestoreOptions say what to restore, and where.
type RestoreOptions struct {
	Destination Destination
	Set         string    // id; empty: the newest verified set
	Before      time.Time // the newest verified set whose snapshot is not younger; zero: any
	Identities  []age.Identity

	DatabaseURL string // past a transaction pooler
	Bucket      *objectstore.Bucket
	// Name is that of the platform that is restored into, and Overwrite must be the same where its database is not empty.
	Name, Overwrite string
	// ID is that of this restore: run again, once it is done, it is done. Empty: each run is a restore of its own.
	ID string
	// AllowMissing restores a set that lacks contents, of which the bucket had lost the bytes when it was made.
	AllowMissing bool
	// RereadObjects: what the bucket has in the right size is read, and replaced where it is something else.
	RereadObjects bool
	// Safety makes a set of what is overwritten; nil: none is made.
	Safety func(ctx context.Context) (Set, error)

	Workers int
	Log     *slog.Logger
	Report  func(Progress)

	programs programs
	step     func(name string)
	sample   int64 // objects; 0: sampledObjects
	// How often a target that may be in use is looked at, and for how long; 0: every ten seconds, and a minute.
	recheck, lastWords time.Duration
}

// Restored is what Restore did.
type Restored struct {
	Set          string    `json:"set"`
	SnapshotTime time.Time `json:"snapshotTime"`
	SafetySet    string    `json:"safetySet,omitempty"` // of what was overwritten
	Copied       int64     `json:"copied"`              // objects that the bucket lacked, or had damaged
	Rows         int64     `json:"rows"`
	Missing      []string  `json:"missing,omitempty"` // contents that the set does not have
}

// choose is the set that is named, or the newest verified one, which is of a target, where there is one, and not of a copy of it. ErrNoSet.
func (d Destination) choose(ctx context.Context, id string, before time.Time, of *store.Target) (Set, error) {
	if id != "" {
		return d.set(ctx, id)
	}
	l, err := d.List(ctx)
	if err != nil {
		return Set{}, err
	}
	for _, s := range slices.Backward(l.Sets) {
		if s.Verified() && !s.Safety && (before.IsZero() || !s.SnapshotTime.After(before)) && !isOfCopy(s, of) {
			return s, nil
		}
	}
	for id, why := range l.Bad {
		return Set{}, fmt.Errorf("%w: there is no verified set, and set %s cannot be read (%s): check BACKUP_VERIFY_KEY", ErrNoSet, id, why)
	}
	if before.IsZero() {
		return Set{}, fmt.Errorf("%w: the destination has no verified set", ErrNoSet)
	}
	return Set{}, fmt.Errorf("%w: the destination has no verified set of before %s", ErrNoSet, before.Format(time.RFC3339))
}

// isOfCopy tells whether a set was made of a copy of a database, while that went on itself. of may be nil.
func isOfCopy(s Set, of *store.Target) bool {
	return of != nil && s.Platform.ID == of.PlatformID && s.Platform.Instance != uuid.Nil && of.Instance.ID != uuid.Nil &&
		s.Platform.Instance != of.Instance.ID && s.SnapshotTime.After(of.Instance.Since)
}

// Restore brings a set back: the bytes first, then, in one transaction, the database. It can be run again after it was interrupted, and
// then goes on; what the target had is gone only with that transaction.
func Restore(ctx context.Context, o RestoreOptions) (done Restored, err error) {
	r := &restoration{RestoreOptions: o}
	r.sample = cmp.Or(o.sample, sampledObjects)
	if r.step == nil {
		r.step = func(string) {}
	}
	if r.Report == nil {
		r.Report = func(Progress) {}
	}
	target, err := store.OpenTarget(ctx, o.DatabaseURL)
	if err != nil {
		return done, err
	}
	defer target.Close()
	already := target.SetOf(o.ID)
	if already != "" && o.Set != "" && o.Set != already {
		return done, &store.Problem{
			Code: config.CodeConfigInvalid, Message: fmt.Sprintf("restore %s was of set %s, and is done", o.ID, already), Remedy: "give the restore of " + o.Set + " an id of its own",
		}
	}
	if r.set, err = o.Destination.choose(ctx, cmp.Or(already, o.Set), o.Before, target); err != nil {
		return done, err
	}
	done = Restored{Set: r.set.ID, SnapshotTime: r.set.SnapshotTime, Missing: r.set.Blobs.Missing}
	for _, n := range r.set.Database.Rows {
		done.Rows += n
	}
	if already != "" {
		return done, nil
	}
	if err := errors.Join(r.needIdentity(), r.needContents()); err != nil {
		return done, err
	}
	r.target = target
	err = r.replace(ctx, &done)
	return done, err
}

// replace puts what the set has in the place of what is there.
func (r *restoration) replace(ctx context.Context, done *Restored) (err error) {
	if done.SafetySet, err = r.admit(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.giveBucketBack(context.WithoutCancel(ctx)))
		}
	}()
	if err := r.takeBucket(ctx); err != nil {
		return err
	}
	release, err := r.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if done.Copied, err = r.restoreBlobs(ctx); err != nil {
		return err
	}
	r.step("database")
	err = r.restoreDatabase(ctx, store.RestoreCheck(r.set.Database.SchemaRange, r.set.Database.Rows)+store.RestoreEpilogue(r.set.ID, r.ID))
	switch {
	case err == nil:
		r.step("restored")
	case errors.Is(err, errUnreadable) && isWrong(err):
		r.tell(context.WithoutCancel(ctx), r.dumpKey())
	}
	return err
}

// restoration is one run of Restore.
type restoration struct {
	RestoreOptions
	set    Set
	target *store.Target
	handed bool // the bucket may be marked as the set's platform's, and was not before
	copied atomic.Int64
	// Of the objects that the bucket has.
	sampled atomic.Int64 // bytes
	rotten  atomic.Bool  // one of them is wrong
}

// needIdentity refuses an encrypted set without one.
func (r *restoration) needIdentity() error {
	if r.set.Encrypted && len(r.Identities) == 0 {
		return &store.Problem{Code: config.CodeConfigInvalid, Message: fmt.Sprintf("set %s is encrypted", r.set.ID), Remedy: "set BACKUP_IDENTITY to the identity of one of its recipients"}
	}
	return nil
}

// needContents refuses a set that does not bring everything back, unless that is known.
func (r *restoration) needContents() error {
	missing := r.set.Blobs.Missing
	if len(missing) == 0 || r.AllowMissing {
		return nil
	}
	return &store.Problem{
		Code: config.CodeSetDamaged, Message: fmt.Sprintf("set %s lacks the bytes of %d contents, such as %s", r.set.ID, len(missing), missing[0]),
		Remedy: "restore another set, or, to have all the rest of this one, allow it: --allow-missing, or allowMissing of an AssetRestore",
	}
}

// admit refuses to overwrite what is there unless asked to, and keeps a copy of it.
func (r *restoration) admit(ctx context.Context) (safetySet string, err error) {
	if !r.target.Empty() && (r.Overwrite == "" || r.Overwrite != r.Name) {
		return "", &store.Problem{
			Code:    config.CodeTargetNotEmpty,
			Message: fmt.Sprintf("the database of %s is not empty (%s)", r.Name, r.target.Contents()),
			Remedy:  fmt.Sprintf("restore into a new platform, or say that it is to be overwritten: %s", r.Name),
		}
	}
	if err := r.awaitServers(ctx); err != nil || r.target.Empty() || r.Safety == nil {
		return "", err
	}
	r.step("safety set")
	set, err := r.Safety(ctx)
	if err != nil {
		return "", fmt.Errorf("nothing was overwritten, for what is there could not be kept first: %w", err)
	}
	r.Log.Info("what is overwritten was kept", "set", set.ID)
	return set.ID, nil
}

const (
	// lastWords is how long a server that is told to stop may go on.
	lastWords = time.Minute
	// stopServers is the remedy where one goes on for longer.
	stopServers = "stop the platform's servers, and run it again: what is uploaded meanwhile would be lost"
)

// awaitServers waits until no server uses the database, for what one acknowledges meanwhile is in no set.
func (r *restoration) awaitServers(ctx context.Context) error {
	for began := time.Now(); ; {
		serving, err := r.target.Serving(ctx)
		if !serving || err != nil {
			return err
		}
		if time.Since(began) > cmp.Or(r.lastWords, lastWords) {
			return &store.Problem{Code: config.CodeTargetInUse, Message: store.Served, Remedy: stopServers}
		}
		r.step("target in use")
		if err := r.pause(ctx); err != nil {
			return err
		}
	}
}

// pause lets time pass until something is looked at again.
func (r *restoration) pause(ctx context.Context) error {
	select {
	case <-time.After(cmp.Or(r.recheck, 10*time.Second)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// longestWait is longer than a bucket that nobody uses any more looks used.
const longestWait = 7 * time.Minute

// takeBucket makes the bucket that of the set's platform. It may be the target's, whose place that takes, or nobody's; or that platform's
// already, if nobody serves from it: of two databases with one bucket each would delete what the other needs. That shows within minutes.
func (r *restoration) takeBucket(ctx context.Context) error {
	if was := r.target.PlatformID; was != uuid.Nil && was != r.set.Platform.ID {
		if err := r.target.NoteBucketOf(ctx, r.set.Platform.ID); err != nil {
			return err
		}
	}
	var seen time.Time
	for began := time.Now(); ; {
		handed, err := r.Bucket.HandOver(ctx, objectstore.Owner{Platform: r.target.PlatformID, Instance: r.target.Instance.ID}, r.set.Platform.ID, r.target.BucketOf)
		r.handed = r.handed || handed || r.target.BucketOf != uuid.Nil
		var used *objectstore.InUse
		if !errors.As(err, &used) {
			return err
		}
		switch {
		case seen.IsZero():
			r.Log.Warn("it is waited to see whether that platform still serves: five minutes at most", "reason", err.Error())
		case used.At.After(seen), time.Since(began) > longestWait: // which its service does not tell
			return &store.Problem{
				Code: config.CodeBucketInUse, Message: err.Error() + ", and serves from another database than the one to restore into", Remedy: "name a bucket or prefix of its own, or end that platform first",
			}
		}
		seen = used.At
		r.step("bucket in use")
		if err := r.pause(ctx); err != nil {
			return err
		}
	}
}

// giveBucketBack makes the bucket that of the platform again which it was before, if that is still what the database is.
func (r *restoration) giveBucketBack(ctx context.Context) error {
	was := r.target.PlatformID
	if !r.handed || was == uuid.Nil || was == r.set.Platform.ID {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	now, err := store.OpenTarget(ctx, r.DatabaseURL)
	if err != nil || now.PlatformID != was {
		return nil //nolint:nilerr // who runs the restore again goes on with it
	}
	defer now.Close()
	if _, err := r.Bucket.HandOver(ctx, objectstore.Owner{Platform: r.set.Platform.ID, Instance: now.Instance.ID}, was, uuid.Nil); err != nil {
		return fmt.Errorf("the bucket is still marked as that of the set's platform: %w", err)
	}
	return now.NoteBucketOf(ctx, uuid.Nil)
}

// hold keeps what the bucket has, for of that nothing is copied.
func (r *restoration) hold(ctx context.Context) (release func(), err error) {
	if !r.target.Leases() {
		return func() {}, nil
	}
	return holdObjects(ctx, r.DatabaseURL, "restore of "+r.set.ID)
}
