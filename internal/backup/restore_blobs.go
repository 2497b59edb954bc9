package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

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
			if errors.Is(err, ErrDamaged) {
				r.tell(context.WithoutCancel(ctx), setKey(r.set.ID, inventoryFile))
			}
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
