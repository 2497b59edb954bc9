package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// sampledObjects is how many of the objects that the bucket has are read at least, as far as they have mostSampled bytes together.
const sampledObjects = 200

// restoreBlobs brings the objects that the bucket lacks, and those that it has wrong, as far as that shows.
func (r *restoration) restoreBlobs(ctx context.Context) (copied int64, err error) {
	r.step("blobs")
	err = r.lookThrough(ctx)
	if err == nil && r.rotten.Load() && !r.RereadObjects {
		r.Log.Warn("the bucket has an object that is not what it should be: all of them are read, in place of a sample")
		r.RereadObjects = true
		err = r.lookThrough(ctx)
	}
	return r.copied.Load(), err
}

// lookThrough goes through the objects of the set.
func (r *restoration) lookThrough(ctx context.Context) error {
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
		var count int64
		for c, err := range r.Destination.inventory(failed, r.set.Manifest) {
			if errors.Is(err, ErrDamaged) {
				r.tell(context.WithoutCancel(ctx), setKey(r.set.ID, inventoryFile))
			}
			if err != nil {
				return err
			}
			count++
			for _, key := range c.keys {
				select {
				case work <- item{c, key}:
				case <-failed.Done():
					return failed.Err()
				}
			}
		}
		if count != r.set.Blobs.Count {
			return fmt.Errorf("%w: %s has %d contents of %d", ErrDamaged, setKey(r.set.ID, inventoryFile), count, r.set.Blobs.Count)
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
	return all.Wait()
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

// tell notes that a blob or a file of the set is damaged: the set counts as verified no more, and the next one replaces a blob.
func (r *restoration) tell(ctx context.Context, key string) {
	v := verification{Time: r.set.read, Damage: append(slices.Clone(r.set.Damage), key), Manifest: r.set.sha256}
	var blobs []string
	if strings.HasPrefix(key, blobsFolder) {
		blobs = []string{key}
	}
	if err := r.Destination.note(ctx, r.set.ID, v, blobs); err != nil {
		r.Log.Warn("damage could not be noted in the destination", "key", key, "error", err)
	}
}

// isThere says whether the bucket has an object as it should be: as far as the service knows, and, of a sample or if that was asked for, by its
// bytes.
func (r *restoration) isThere(ctx context.Context, key string, sum objectstore.Sum) (bool, error) {
	there, err := r.Bucket.Holds(ctx, key, sum)
	if there && (r.RereadObjects || r.samples(sum.Size)) {
		err = r.read(ctx, key, sum)
	}
	if isWrong(err) {
		r.rotten.Store(true)
		return false, nil
	}
	return there && err == nil, err
}

// samples draws lots for an object of this size, bytes.
func (r *restoration) samples(size int64) bool {
	return rand.Int64N(max(1, r.set.Blobs.Objects)) < r.sample && r.sampled.Add(size) <= mostSampled
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
