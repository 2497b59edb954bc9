package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// mostSampled bounds how much of the sample is read, bytes.
const mostSampled = 256 << 20

// useAnother is the remedy where a set has turned out to be of no use.
const useAnother = "make another set and drill that; until then restore an older one"

func (d *drill) fails(code config.Code, remedy, format string, args ...any) error {
	return &store.Problem{Code: code, Message: fmt.Sprintf("set %s: ", d.done.Set) + fmt.Sprintf(format, args...), Remedy: remedy}
}

// takeDatabase starts a server, or looks at the database that was named. What is there in the end goes with end.
func (d *drill) takeDatabase(ctx context.Context) (end func(), err error) {
	end = func() {}
	if d.DatabaseURL == "" {
		server, err := d.programs.startThrowaway(ctx, d.restoration.set.Database.Server)
		if err != nil {
			return end, err
		}
		d.DatabaseURL, d.restoration.DatabaseURL = server.url, server.url
		return server.stop, nil
	}
	for _, live := range d.Live {
		if sameDatabase(live, d.DatabaseURL) {
			return end, &store.Problem{Code: config.CodeDrillDatabaseLive, Message: "the database of the drill is the platform's own", Remedy: "name another one with BACKUP_DRILL_DATABASE_URL"}
		}
	}
	target, err := store.OpenTarget(ctx, d.DatabaseURL)
	if err != nil {
		return end, err
	}
	defer target.Close()
	d.restoration.target = target
	if !target.Unused(drillID) {
		return end, &store.Problem{
			Code: config.CodeTargetNotEmpty, Message: fmt.Sprintf("the database of the drill is not empty (%s)", target.Contents()), Remedy: "name an empty one with BACKUP_DRILL_DATABASE_URL",
		}
	}
	if is, least := major(target.Server()), major(d.restoration.set.Database.Server); is < least {
		return end, &store.Problem{
			Code: config.CodeDrillPostgresMissing, Message: fmt.Sprintf("the database of the drill is of PostgreSQL %d, and the set of %d", is, least),
			Remedy: fmt.Sprintf("name an empty database of PostgreSQL %d or later, in spec.backup.drill.databaseSecretRef or BACKUP_DRILL_DATABASE_URL", least),
		}
	}
	return func() { d.clear(context.WithoutCancel(ctx)) }, nil
}

// clear leaves the database empty that was named. Where it cannot, the next drill knows what is there by its id.
func (d *drill) clear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, serverStart)
	defer cancel()
	target, err := store.OpenTarget(ctx, d.DatabaseURL)
	if err == nil {
		err = target.Clear(ctx)
		target.Close()
	}
	if err != nil {
		d.Log.Warn("the drill's database could not be cleared", "error", err)
	}
}

// sameDatabase tells whether two URLs name the same host, port and database.
func sameDatabase(a, b string) bool {
	one, err := pgx.ParseConfig(a)
	if err != nil {
		return false
	}
	other, err := pgx.ParseConfig(b)
	return err == nil && strings.EqualFold(one.Host, other.Host) && one.Port == other.Port && one.Database == other.Database
}

func (d *drill) restoreDatabase(ctx context.Context) error {
	err := d.restoration.restoreDatabase(ctx, store.RestoredMark(d.done.Set, drillID))
	if err == nil || ctx.Err() != nil || errors.Is(err, objectstore.ErrUnavailable) || errors.As(err, new(*store.Problem)) {
		return err
	}
	if wrong, unread := d.dumpIsWrong(ctx); unread != nil {
		return unread
	} else if wrong || errors.Is(err, errUnreadable) {
		return d.fails(config.CodeDrillDumpUnreadable, useAnother, "%v", err)
	}
	return d.fails(config.CodeDrillRestoreFailed, useAnother, "%v", err)
}

// dumpIsWrong tells whether the dump is not what the manifest says: then that is why it was not restored.
func (d *drill) dumpIsWrong(ctx context.Context) (bool, error) {
	f, _ := d.restoration.set.file(dumpFile)
	want, err := f.sum()
	if err != nil {
		return true, nil
	}
	got, err := d.Destination.Archive.Sum(ctx, setKey(d.done.Set, f.Name))
	if errors.Is(err, objectstore.ErrNotFound) {
		return true, nil
	}
	return got != want, err
}

// compare looks at schema, rows and references, and brings an older schema to this program's, as is done where it takes over.
func (d *drill) compare(ctx context.Context) error {
	target, err := store.OpenTarget(ctx, d.DatabaseURL)
	if codeOf(err) == config.CodeMigrationFailed { // it has not what every schema of ours has
		return d.fails(config.CodeDrillSchema, useAnother, "%v", err)
	}
	if err != nil {
		return err
	}
	defer target.Close()
	m := d.restoration.set.Manifest
	if d.done.Rows, err = target.Compare(ctx, m.Database.SchemaRange, m.Database.Rows); err != nil {
		return err
	}
	if m.Database.Schema < store.ImageSchema().Schema {
		_, err = store.Migrate(ctx, store.MigrateOptions{URL: d.DatabaseURL, LockWait: serverStart, Log: slog.New(slog.DiscardHandler)})
	} else {
		err = store.Fits(m.Database.SchemaRange)
	}
	if err != nil {
		return d.fails(config.CodeDrillSchema, "drill it with the image that serves the platform", "%v", err)
	}
	return nil
}

// lookForBlobs looks for the bytes of each row, and draws the sample.
func (d *drill) lookForBlobs(ctx context.Context) error {
	db, err := store.Open(d.DatabaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	if d.assets, err = db.DrillAssets(ctx); err != nil {
		return d.fails(config.CodeDrillServeFailed, useAnother, "%v", err)
	}
	target, err := store.OpenTarget(ctx, d.DatabaseURL)
	if err != nil {
		return err
	}
	defer target.Close()
	m := d.restoration.set.Manifest
	known := newCursor(d.Destination.inventory(ctx, m), func(c content) string { return blobKey(c.sum.SHA256, m.Encrypted) })
	defer known.stop()
	there := newCursor(d.Destination.destined(ctx, m.Encrypted), func(o objectstore.Object) string { return o.Key })
	defer there.stop()
	var missing, seen int
	var example, last string
	for row, err := range target.Blobs(ctx) {
		if err != nil {
			return err
		}
		key := blobKey(row.SHA256, m.Encrypted)
		c, isKnown, err := known.at(key)
		if err != nil {
			return err
		}
		o, isThere, err := there.at(key)
		if err != nil {
			return err
		}
		switch {
		case !isKnown || !isThere || c.sum.Size != row.Size || !slices.Contains(c.keys, row.ObjectKey), !m.Encrypted && o.Size != row.Size:
			missing, example = missing+1, key
		case key != last:
			seen++
			d.draw(c, seen, o.Size != c.stored.Size)
		}
		last = key
	}
	if missing > 0 {
		return d.fails(config.CodeDrillBlobMissing, "the next backup brings them while the bucket has them", "the bytes of %d rows are not there, such as %s", missing, example)
	}
	return nil
}

// draw takes a content, the seen-th, into the sample so that each has the same chance. What is to be served goes into it anyway, and what was
// encrypted anew, whose size tells nothing.
func (d *drill) draw(c content, seen int, anyway bool) {
	c.keys = nil
	anyway = anyway || slices.ContainsFunc(d.assets, func(a store.DrillAsset) bool { return a.SHA256 == c.sum.SHA256 })
	switch at := rand.IntN(seen); {
	case anyway:
		d.always = append(d.always, c)
	case len(d.sample) < d.Sample:
		d.sample = append(d.sample, c)
	case at < d.Sample:
		d.sample[at] = c
	}
}

// readSample reads blobs, and compares them with their hashes.
func (d *drill) readSample(ctx context.Context) error {
	rand.Shuffle(len(d.sample), func(i, j int) { d.sample[i], d.sample[j] = d.sample[j], d.sample[i] })
	began := time.Now()
	all, within := errgroup.WithContext(ctx)
	all.SetLimit(d.Workers)
	var damaged, read, bytes atomic.Int64
	var example atomic.Pointer[string]
	size := int64(0)
	for i, c := range slices.Concat(d.always, d.sample) {
		if size += c.sum.Size; size > mostSampled && i > len(d.always) || within.Err() != nil {
			break
		}
		all.Go(func() error {
			n, err := d.readBlob(within, c)
			if errors.Is(err, objectstore.ErrWrongBytes) || errors.Is(err, objectstore.ErrNotFound) {
				damaged.Add(1)
				text := hex.EncodeToString(c.sum.SHA256[:])
				example.Store(&text)
				return nil
			}
			bytes.Add(n)
			d.Report(Progress{Step: "sample", Done: read.Add(1), Total: int64(len(d.always) + len(d.sample)), Unit: "blobs"})
			return err
		})
	}
	err := all.Wait()
	d.done.Sampled, d.done.SampledBytes = read.Load(), bytes.Load()
	if n := bytes.Load(); n > 0 {
		d.done.BytesPerSecond = float64(n) / time.Since(began).Seconds()
		d.done.CopySeconds = float64(d.done.BlobBytes) / d.done.BytesPerSecond
	}
	if err == nil && damaged.Load() > 0 {
		return d.fails(config.CodeDrillBlobDamaged, "run backup scrub --all, and then a backup, which replaces them while the bucket has them",
			"%d of the blobs that were read are not what they should be, such as %s", damaged.Load(), *example.Load())
	}
	return err
}

func (d *drill) readBlob(ctx context.Context, c content) (int64, error) {
	body, err := d.restoration.openBlob(ctx, blobKey(c.sum.SHA256, d.restoration.set.Encrypted), c)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	return io.Copy(io.Discard, body)
}
