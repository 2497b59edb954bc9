package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// VerifyOptions say how to verify a set.
type VerifyOptions struct {
	Workers int // blobs that are read at a time
	Tool    string
	Report  func(Progress)

	// trusted: who asks has seen the bytes of all blobs into the destination, or relies on who did. They must be there.
	trusted bool
}

// ErrDamaged means that a set does not have what its manifest says.
var ErrDamaged = errors.New("the set is damaged")

// Verify reads a set and compares it with its manifest, and leaves a note of what it found. ErrNoSet, ErrTampered, ErrDamaged.
func (d Destination) Verify(ctx context.Context, id string, o VerifyOptions) (Set, error) {
	if o.Report == nil {
		o.Report = func(Progress) {}
	}
	known, err := d.set(ctx, id)
	if err != nil {
		return Set{}, err
	}
	m := known.Manifest
	v := &verifying{Destination: d, VerifyOptions: o, m: m}
	if err := v.all(ctx); err != nil {
		return Set{}, err
	}
	note := verification{Time: time.Now().UTC(), Tool: o.Tool, Damage: v.damaged(), Manifest: m.sha256}
	if err := d.note(ctx, id, note, v.wrong); err != nil {
		return Set{}, err
	}
	set := Set{Manifest: m, Damage: note.Damage}
	if len(note.Damage) > 0 {
		return set, fmt.Errorf("%w: %s: %d of its objects are not what they should be, such as %s", ErrDamaged, id, len(note.Damage), note.Damage[0])
	}
	set.VerifiedTime = note.Time
	return set, nil
}

// note leaves what a verification found: with the set, and, of blobs that are wrong, for the next set, which is to replace them.
func (d Destination) note(ctx context.Context, id string, v verification, wrong []string) error {
	if len(wrong) > 0 {
		if err := d.report(ctx, damageReport{Damaged: wrong}); err != nil {
			return err
		}
	}
	return d.leave(ctx, setKey(id, verifiedPrefix), v)
}

// verifying is one run of Verify.
type verifying struct {
	Destination
	VerifyOptions
	m Manifest

	mu     sync.Mutex
	absent []string // keys of what is not there, or of files of the set
	wrong  []string // keys of blobs that are there, and wrong
}

func (v *verifying) damaged() []string {
	keys := slices.Concat(v.absent, v.wrong)
	slices.Sort(keys)
	return keys
}

func (v *verifying) isAbsent(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.absent = append(v.absent, key)
}

func (v *verifying) isWrong(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wrong = append(v.wrong, key)
}

// all looks at everything.
func (v *verifying) all(ctx context.Context) error {
	for _, name := range []string{dumpFile, inventoryFile} {
		if _, ok := v.m.file(name); !ok {
			v.isAbsent(setKey(v.m.ID, name))
		}
	}
	both, ctx := errgroup.WithContext(ctx)
	for _, f := range v.m.Files {
		both.Go(func() error {
			right, err := v.file(ctx, f)
			if err != nil || !right || f.Name != inventoryFile {
				return err // without an inventory there is no telling which blobs the set has
			}
			return v.blobs(ctx)
		})
	}
	return both.Wait()
}

// file reads a file of the set.
func (v *verifying) file(ctx context.Context, f File) (right bool, err error) {
	if right, err = v.holds(ctx, v.m.ID, f); err == nil && !right {
		v.isAbsent(setKey(v.m.ID, f.Name)) // no later set replaces it
	}
	return right, err
}

// holds reads a file of a set, and tells whether it is what the manifest says.
func (d Destination) holds(ctx context.Context, id string, f File) (bool, error) {
	want, err := f.sum()
	if err != nil {
		return false, err
	}
	got, err := d.Archive.Sum(ctx, setKey(id, f.Name))
	if errors.Is(err, objectstore.ErrNotFound) {
		return false, nil
	}
	return got == want, err
}

// blobs looks for all blobs of the inventory, and reads them unless they are trusted.
func (v *verifying) blobs(ctx context.Context) error {
	known, err := v.Destination.damaged(ctx)
	if err != nil {
		return err
	}
	workers := v.Workers
	if workers == 0 {
		workers = defaultWorkers
	}
	all, ctx := errgroup.WithContext(ctx)
	work := make(chan content, workers)
	all.Go(func() error {
		defer close(work)
		there := newCursor(v.destined(ctx, v.m.Encrypted), func(o objectstore.Object) string { return o.Key })
		defer there.stop()
		var count, objects int64
		for c, err := range v.inventory(ctx, v.m) {
			if err != nil {
				return err
			}
			count, objects = count+1, objects+int64(len(c.keys))
			v.Report(Progress{Step: "verify", Done: count, Total: v.m.Blobs.Count, Unit: "blobs"})
			key := blobKey(c.sum.SHA256, v.m.Encrypted)
			o, found, err := there.at(key)
			switch {
			case err != nil:
				return err
			case !found:
				v.isAbsent(key)
			case v.trusted && (o.Size != c.stored.Size || len(known.reports[key]) > 0):
				v.isWrong(key)
			case !v.trusted:
				select {
				case work <- c:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		if count != v.m.Blobs.Count {
			v.isAbsent(setKey(v.m.ID, inventoryFile))
		}
		return nil
	})
	for range workers {
		all.Go(func() error {
			for c := range work {
				if err := v.read(ctx, c, known); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.Wait()
}

// read compares a blob with what the inventory says.
func (v *verifying) read(ctx context.Context, c content, known damage) error {
	key := blobKey(c.sum.SHA256, v.m.Encrypted)
	got, err := v.Archive.Sum(ctx, key)
	switch {
	case errors.Is(err, objectstore.ErrNotFound):
		v.isAbsent(key)
	case err != nil:
		return err
	case !known.isRight(key, c.stored, got):
		v.isWrong(key)
	}
	return nil
}
