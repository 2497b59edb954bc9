package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

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
	recheck  time.Duration // how often a bucket that may be in use is looked at; 0: every ten seconds
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

// Choose is the set that options mean. ErrNoSet.
func (d Destination) choose(ctx context.Context, id string, before time.Time) (Set, error) {
	if id != "" {
		return d.set(ctx, id)
	}
	l, err := d.List(ctx)
	if err != nil {
		return Set{}, err
	}
	for _, s := range slices.Backward(l.Sets) {
		if s.Verified() && !s.Safety && (before.IsZero() || !s.SnapshotTime.After(before)) {
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

// Restore brings a set back: the bytes first, then, in one transaction, the database. It can be run again after it was interrupted, and
// then goes on; what the target had is gone only with that transaction.
func Restore(ctx context.Context, o RestoreOptions) (done Restored, err error) {
	r := &restoration{RestoreOptions: o}
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
	// What was chosen once is what the restore goes on with, whatever sets have come since.
	if r.set, err = o.Destination.choose(ctx, cmp.Or(target.SetOf(o.ID), o.Set), o.Before); err != nil {
		return done, err
	}
	done = Restored{Set: r.set.ID, SnapshotTime: r.set.SnapshotTime, Missing: r.set.Blobs.Missing}
	if target.Restored(o.ID) {
		return done, nil
	}
	if err := errors.Join(r.needIdentity(), r.needContents()); err != nil {
		return done, err
	}
	if r.target = target; !target.Restoring(r.set.ID) {
		if err := r.replace(ctx, &done); err != nil {
			return done, err
		}
	}
	for _, n := range r.set.Database.Rows {
		done.Rows += n
	}
	err = target.Finish(ctx)
	r.step("done")
	return done, err
}

// replace puts what the set has in the place of what is there.
func (r *restoration) replace(ctx context.Context, done *Restored) (err error) {
	if done.SafetySet, err = r.admit(ctx); err != nil {
		return err
	}
	release, err := r.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if done.Copied, err = r.restoreBlobs(ctx); err == nil {
		r.step("database")
		err = r.restoreDatabase(ctx, store.RestoreCheck(r.set.Database.SchemaRange, r.set.Database.Rows)+store.RestoreEpilogue(r.set.ID, r.ID))
	}
	if err != nil {
		return errors.Join(err, r.giveBucketBack(context.WithoutCancel(ctx)))
	}
	r.step("restored")
	return nil
}

// restoration is one run of Restore.
type restoration struct {
	RestoreOptions
	set    Set
	target *store.Target
	copied atomic.Int64
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
	if r.target.Empty() {
		return "", r.takeBucket(ctx)
	}
	if r.Overwrite != r.Name {
		return "", &store.Problem{
			Code:    config.CodeTargetNotEmpty,
			Message: fmt.Sprintf("the database of %s is not empty (%s)", r.Name, r.target.Contents()),
			Remedy:  fmt.Sprintf("restore into a new platform, or say that it is to be overwritten: %s", r.Name),
		}
	}
	if r.Safety == nil {
		return "", r.takeBucket(ctx)
	}
	r.step("safety set")
	set, err := r.Safety(ctx)
	if err != nil {
		return "", fmt.Errorf("nothing was overwritten, for what is there could not be kept first: %w", err)
	}
	r.Log.Info("what is overwritten was kept", "set", set.ID)
	return set.ID, r.takeBucket(ctx)
}

// longestWait is longer than a bucket that nobody uses any more looks used.
const longestWait = 7 * time.Minute

// takeBucket makes the bucket that of the set's platform. It may be the target's, whose place that takes, or nobody's; or that platform's
// already, if nobody serves from it: of two databases with one bucket each would delete what the other needs. That shows within minutes.
func (r *restoration) takeBucket(ctx context.Context) error {
	var seen time.Time
	for began := time.Now(); ; {
		err := r.Bucket.HandOver(ctx, objectstore.Owner{Platform: r.target.PlatformID, Instance: r.target.Instance}, r.set.Platform.ID)
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
		select {
		case <-time.After(cmp.Or(r.recheck, 10*time.Second)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// giveBucketBack makes the bucket that of the platform again which it was before, if that is still what the database is.
func (r *restoration) giveBucketBack(ctx context.Context) error {
	was := r.target.PlatformID
	if was == uuid.Nil || was == r.set.Platform.ID {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	now, err := store.OpenTarget(ctx, r.DatabaseURL)
	if err != nil || now.PlatformID != was {
		return nil //nolint:nilerr // who runs the restore again goes on with it
	}
	defer now.Close()
	return r.Bucket.HandOver(ctx, objectstore.Owner{Platform: r.set.Platform.ID, Instance: now.Instance}, was)
}

// hold keeps what the bucket has, for of that nothing is copied.
func (r *restoration) hold(ctx context.Context) (release func(), err error) {
	if !r.target.Leases() {
		return func() {}, nil
	}
	return holdObjects(ctx, r.DatabaseURL, "restore of "+r.set.ID)
}

// restoreBlobs brings the objects that the bucket lacks.
func (r *restoration) restoreBlobs(ctx context.Context) (copied int64, err error) {
	r.step("blobs")
	workers := r.Workers
	if workers == 0 {
		workers = defaultWorkers
	}
	type item struct {
		content
		key string
	}
	all, failed := errgroup.WithContext(ctx)
	work := make(chan item, workers)
	var looked atomic.Int64
	all.Go(func() error {
		defer close(work)
		for c, err := range r.Destination.inventory(failed, r.set.Manifest) {
			if err != nil {
				return err
			}
			for _, key := range c.keys {
				select {
				case work <- item{c, key}:
				case <-failed.Done():
					return failed.Err()
				}
			}
		}
		return nil
	})
	for range workers {
		all.Go(func() error {
			for i := range work {
				// What others meet with does not end it: a copy that is given up is made by the service all the same, and nobody would look at it.
				if err := r.restoreBlob(ctx, i.content, i.key); err != nil {
					return err
				}
				r.Report(Progress{Step: "blobs", Done: looked.Add(1), Total: r.set.Blobs.Objects, Unit: "objects"})
			}
			return nil
		})
	}
	err = all.Wait()
	return r.copied.Load(), err
}

// restoreBlob brings one object, unless the bucket has it.
func (r *restoration) restoreBlob(ctx context.Context, c content, key string) error {
	r.step("blob")
	if there, err := r.isThere(ctx, key, c.sum); there || err != nil {
		return err
	}
	source := blobKey(c.sum.SHA256, r.set.Encrypted)
	err := r.bringBlob(ctx, source, key, c)
	switch {
	case err == nil:
		r.copied.Add(1)
	case isWrong(err):
		err = fmt.Errorf("%w: %s: %w", ErrDamaged, source, err)
		r.tell(context.WithoutCancel(ctx), source)
	}
	return err
}

// bringBlob has the service copy a blob, or brings it through this process.
func (r *restoration) bringBlob(ctx context.Context, source, key string, c content) (err error) {
	if !r.set.Encrypted {
		if err := r.Bucket.CopyFrom(ctx, r.Destination.Archive, source, key, c.sum); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	for range blobAttempts {
		if err = r.putBlob(ctx, source, key, c); err == nil || isWrong(err) || ctx.Err() != nil {
			break
		}
	}
	return err
}

// isWrong says whether an error means that a blob is not there, or is something else.
func isWrong(err error) bool {
	return errors.Is(err, objectstore.ErrNotFound) || errors.Is(err, objectstore.ErrWrongBytes)
}

// tell notes that a blob is damaged: the set counts as verified no more, and the next one replaces it.
func (r *restoration) tell(ctx context.Context, key string) {
	v := verification{Time: r.set.read, Damage: append(slices.Clone(r.set.Damage), key), Manifest: r.set.sha256}
	if err := r.Destination.note(ctx, r.set.ID, v, []string{key}); err != nil {
		r.Log.Warn("a damaged blob could not be noted in the destination", "key", key, "error", err)
	}
}

// isThere says whether the bucket has an object as it should be: as far as the service knows, or, if that was asked for, by its bytes.
func (r *restoration) isThere(ctx context.Context, key string, sum objectstore.Sum) (bool, error) {
	there, err := r.Bucket.Holds(ctx, key, sum)
	if there && r.RereadObjects {
		err = r.read(ctx, key, sum)
	}
	if errors.Is(err, objectstore.ErrNotFound) || errors.Is(err, objectstore.ErrWrongBytes) {
		return false, nil
	}
	return there && err == nil, err
}

func (r *restoration) read(ctx context.Context, key string, sum objectstore.Sum) error {
	body, err := r.Bucket.Get(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, objectstore.Verified(body, sum))
	return err
}

func (r *restoration) putBlob(ctx context.Context, source, key string, c content) error {
	plain, err := r.openBlob(ctx, source, c)
	if err != nil {
		return err
	}
	defer plain.Close()
	return r.Bucket.Put(ctx, key, plain)
}

// errUnreadable means that a dump is not there, or cannot be read as one.
var errUnreadable = fmt.Errorf("%w: the dump cannot be read", ErrDamaged)

// restoreDatabase replaces the database, or leaves it as it is.
func (r *restoration) restoreDatabase(ctx context.Context, epilogue string) error {
	file, ok := r.set.file(dumpFile)
	if !ok {
		return fmt.Errorf("%w: set %s has none", errUnreadable, r.set.ID)
	}
	sum, err := file.sum()
	if err != nil {
		return err
	}
	body, size, err := r.Destination.Archive.Get(ctx, setKey(r.set.ID, file.Name))
	if errors.Is(err, objectstore.ErrNotFound) {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	fetched := &noting{from: body}
	counted := &counting{from: fetched, report: func(n int64) { r.Report(Progress{Step: "database", Done: n, Total: size, Unit: "bytes"}) }}
	verified := objectstore.Verified(counted, sum)
	plain, err := r.decrypted(verified)
	if err == nil {
		// Of an encrypted file what is behind its end counts too.
		whole := io.MultiReader(plain, rest{verified})
		before := store.RestorePrologue()
		if r.target != nil {
			before = store.RestoreLock(r.target.Empty()) + before
		}
		err = r.programs.restoreDump(ctx, r.DatabaseURL, whole, before, epilogue)
	}
	if err != nil && strings.Contains(err.Error(), store.Filled) {
		return &store.Problem{Code: config.CodeTargetNotEmpty, Message: store.Filled + " meanwhile", Remedy: "look at what it has brought; to put another set in its place, say that it is to be overwritten: " + r.Name}
	}
	if err != nil && strings.Contains(err.Error(), store.Differs) {
		_, difference, _ := strings.Cut(err.Error(), store.Differs)
		difference, _, _ = strings.Cut(difference, "\n")
		return &store.Problem{Code: config.CodeSetDamaged, Message: store.Differs + difference, Remedy: "restore another set; nothing has changed"}
	}
	if err != nil && fetched.failed != nil {
		return fmt.Errorf("%w: read %s: %w", objectstore.ErrUnavailable, file.Name, fetched.failed)
	}
	return err
}

// rest reads another reader to its end, and hands on nothing of it but an error.
type rest struct{ from io.Reader }

func (r rest) Read([]byte) (int, error) {
	if _, err := io.Copy(io.Discard, r.from); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// restoreDump has psql run in one transaction what a dump says, between two statements of ours. A dump that ends early, or is not what its
// reader wants, ends the transaction.
func (p programs) restoreDump(ctx context.Context, databaseURL string, dump io.Reader, before, after string) error {
	address, environment, err := libpq(databaseURL)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var said, restoreSaid bytes.Buffer
	script := p.command(ctx, environment, "pg_restore", "--file=-", "--no-owner", "--no-privileges", "--no-comments")
	from := &broken{from: dump}
	script.Stdin, script.Stderr = from, &restoreSaid
	statements, err := script.StdoutPipe()
	if err != nil {
		return err
	}
	psql := p.command(ctx, environment, "psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--dbname="+address)
	psql.Stderr = &said
	in, err := psql.StdinPipe()
	if err != nil {
		return err
	}
	if err := errors.Join(script.Start(), psql.Start()); err != nil {
		return fmt.Errorf("start pg_restore and psql: %w", err)
	}
	_, err = io.WriteString(in, "begin;\n"+before+"\n")
	if err == nil {
		_, err = io.Copy(in, statements)
	}
	if err != nil {
		stop() // psql has ended: nobody reads what pg_restore still has to say
	}
	unread := script.Wait() // tells what reading the dump met with, too
	if err == nil && unread == nil {
		_, err = io.WriteString(in, "\n"+after+"\ncommit;\n")
	} else {
		stop() // in the middle of the transaction, which is then none
	}
	err = errors.Join(err, in.Close())
	failed := psql.Wait()
	switch {
	case from.err != nil:
		return fmt.Errorf("read the dump: %w", from.err)
	case said.Len() > 0: // the cause of whatever else went wrong
		return fmt.Errorf("restore the database: psql: %s", firstLines(said.String()))
	case unread != nil:
		return fmt.Errorf("%w: %w: %s", errUnreadable, unread, firstLines(restoreSaid.String()))
	case failed != nil:
		return fmt.Errorf("restore the database: psql: %w", failed)
	}
	return err
}

// broken remembers the error that ended another reader: who reads may say only that it is too short.
type broken struct {
	from io.Reader
	err  error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

func firstLines(text string) string {
	text = strings.TrimSpace(text)
	return text[:min(len(text), 1000)]
}
