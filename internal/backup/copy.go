package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	// defaultWorkers is how many blobs are copied at a time.
	defaultWorkers = 16
	// blobAttempts is how often a blob's bytes are read, beyond the retries of each request.
	blobAttempts = 3
	// aheadContents is how many contents are looked at ahead of the last that is done.
	aheadContents = 1024
	// mostMissing is how many missing contents a manifest names.
	mostMissing = 1000
)

// blob is a content on its way into the destination.
type blob struct {
	content
	key     string             // in the destination
	found   objectstore.Object // there; without a key: nothing
	damaged bool               // what was found is wrong
	lost    bool               // the newest set had it
	done    chan struct{}      // closed once the rest is known
	missing bool
	err     error
}

// copyBlobs brings what the destination lacks, and puts the inventory. The snapshot's inventory, the newest set's and the destination's list
// have the same order, so that none of them is held in memory.
func (c *creation) copyBlobs(ctx context.Context) error {
	c.step("blobs")
	if _, err := c.blobs.Seek(0, io.SeekStart); err != nil {
		return err
	}
	damaged, err := c.Destination.damaged(ctx)
	if err != nil {
		return err
	}
	workers := c.Workers
	if workers == 0 {
		workers = defaultWorkers
	}
	whole := ctx
	all, ctx := errgroup.WithContext(ctx)
	inOrder, work := make(chan *blob, aheadContents), make(chan *blob)
	all.Go(func() error {
		defer close(inOrder)
		defer close(work)
		return c.compare(ctx, damaged, inOrder, work)
	})
	for range workers {
		all.Go(func() error {
			for b := range work {
				b.err = c.bring(ctx, b)
				close(b.done)
			}
			return nil
		})
	}
	all.Go(func() error { return c.putInventory(ctx, inOrder, damaged) })
	if err := all.Wait(); err != nil || len(c.replaced) == 0 {
		return err
	}
	return c.Destination.report(whole, damageReport{Replaced: c.replaced})
}

// compare hands on each content of the snapshot, and to the workers those that the destination lacks or may have wrong.
func (c *creation) compare(ctx context.Context, damaged damage, inOrder, work chan<- *blob) error {
	there := newCursor(c.Destination.destined(ctx, c.m.Encrypted), func(o objectstore.Object) string { return o.Key })
	defer there.stop()
	known := newCursor(c.knownContents(ctx), func(k content) string { return blobKey(k.sum.SHA256, c.m.Encrypted) })
	defer known.stop()
	for one, err := range readInventory(c.blobs) {
		if err != nil {
			return err
		}
		b := &blob{content: one, key: blobKey(one.sum.SHA256, c.m.Encrypted), done: make(chan struct{})}
		o, isThere, err := there.at(b.key)
		if err != nil {
			return err
		}
		k, isKnown, err := known.at(b.key)
		if err != nil {
			return err
		}
		select {
		case inOrder <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
		b.lost = isKnown && !isThere
		if c.m.Encrypted && len(damaged.replaced[b.key]) > 0 {
			isKnown = false // the newest set may be older than what is there now
		}
		if isThere {
			b.found = o
			b.damaged = isKnown && o.Size != k.stored.Size || len(damaged.reports[b.key]) > 0
		}
		if isThere && isKnown && !b.damaged {
			b.stored = k.stored
			close(b.done)
			continue
		}
		select {
		case work <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// knownContents are those of the newest set, if they are stored as this set's will be.
func (c *creation) knownContents(ctx context.Context) iter.Seq2[content, error] {
	if c.previous == nil || c.previous.Encrypted != c.m.Encrypted {
		return func(func(content, error) bool) {}
	}
	return c.Destination.inventory(ctx, c.previous.Manifest)
}

// bring sees to it that the destination has a content, right.
func (c *creation) bring(ctx context.Context, b *blob) error {
	c.step("blob")
	if b.found.Key != "" && !b.damaged { // a set that died has left it
		if right, err := c.isRight(ctx, b); right || err != nil {
			return err
		}
	}
	var failed error
	for _, key := range b.keys {
		for range blobAttempts {
			stored, err := c.bringFrom(ctx, key, b)
			if err == nil {
				b.stored = stored
				c.copied.Add(1)
				return nil
			}
			if failed = err; errors.Is(err, objectstore.ErrExists) { // another backup was quicker
				if right, err := c.isRight(ctx, b); right || err != nil {
					return err
				}
				continue
			}
			// A service that hangs has had its time with the retries of the request.
			if errors.Is(err, objectstore.ErrNotFound) || errors.Is(err, objectstore.ErrWrongBytes) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
				break
			}
		}
	}
	if errors.Is(failed, objectstore.ErrNotFound) || errors.Is(failed, objectstore.ErrWrongBytes) {
		c.Log.Error("the bucket does not have the bytes to which rows refer", "sha256", hex.EncodeToString(b.sum.SHA256[:]), "keys", b.keys, "error", failed)
		b.missing = true
		return nil
	}
	return failed
}

// isRight reads what the destination has for a content of which this set knows nothing: only that tells what it is. Who encrypts cannot tell;
// the service takes a file as a whole or not at all.
func (c *creation) isRight(ctx context.Context, b *blob) (bool, error) {
	stored, err := c.Destination.Archive.Sum(ctx, b.key)
	if errors.Is(err, objectstore.ErrNotFound) { // a mark of its removal is there
		b.damaged = true
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if b.damaged = !c.m.Encrypted && stored != b.sum; !b.damaged {
		b.stored = stored
	}
	return !b.damaged, nil
}

// bringFrom copies a content from an object of the bucket.
func (c *creation) bringFrom(ctx context.Context, key string, b *blob) (objectstore.Sum, error) {
	archive := c.Destination.Archive
	if !c.m.Encrypted {
		if err := archive.Copy(ctx, c.Bucket, key, b.key, b.sum); !errors.Is(err, errors.ErrUnsupported) {
			return b.sum, err
		}
	}
	body, err := c.Bucket.Get(ctx, key, 0, -1)
	if err != nil {
		return objectstore.Sum{}, err
	}
	defer body.Close()
	bytes := objectstore.Verified(body, b.sum)
	if c.m.Encrypted {
		if bytes, err = age.EncryptReader(bytes, c.Recipients...); err != nil {
			return objectstore.Sum{}, fmt.Errorf("encrypt: %w", err)
		}
	}
	if b.damaged {
		return archive.Replace(ctx, b.key, bytes)
	}
	return archive.Put(ctx, b.key, bytes)
}

// putInventory puts the set's inventory, of contents that come in their order.
func (c *creation) putInventory(ctx context.Context, contents <-chan *blob, damaged damage) error {
	out, in := io.Pipe()
	put := make(chan error, 1)
	var sum objectstore.Sum
	go func() {
		var err error
		sum, err = c.Destination.Archive.Put(ctx, setKey(c.m.ID, inventoryFile), out)
		_ = out.CloseWithError(err) // never fails
		put <- err
	}()
	err := c.writeContents(newInventoryWriter(in), contents, damaged)
	_ = in.CloseWithError(err) // never fails; nil is io.EOF
	if err = errors.Join(err, <-put); err != nil {
		return err
	}
	c.has(fileOf(inventoryFile, sum))
	return nil
}

func (c *creation) writeContents(w *inventoryWriter, contents <-chan *blob, damaged damage) error {
	var objects int64
	c.replaced = map[string]replacement{}
	for b := range contents {
		<-b.done
		if b.err != nil {
			return b.err
		}
		objects += int64(len(b.keys))
		c.Report(Progress{Step: "blobs", Done: objects, Total: c.m.Blobs.Objects, Unit: "objects"})
		if b.missing {
			if len(c.m.Blobs.Missing) < mostMissing {
				c.m.Blobs.Missing = append(c.m.Blobs.Missing, hex.EncodeToString(b.sum.SHA256[:]))
			}
			continue
		}
		if reports := damaged.reports[b.key]; b.damaged || b.lost || len(reports) > 0 {
			c.replaced[b.key] = replacement{reports, b.stored.Size, hex.EncodeToString(b.stored.SHA256[:])}
		}
		c.m.Blobs.Count++
		c.m.Blobs.Bytes += b.sum.Size
		if err := w.write(b.content); err != nil {
			return err
		}
	}
	c.m.Blobs.Copied = c.copied.Load()
	if objects != c.m.Blobs.Objects {
		return &store.Problem{Code: config.CodeBackupFailed, Message: fmt.Sprintf("%d of %d objects were looked at", objects, c.m.Blobs.Objects), Remedy: "see the log"}
	}
	return w.close()
}

// cursor goes through a sequence that is in the order of its keys.
type cursor[Item any] struct {
	next  func() (Item, error, bool)
	stop  func()
	keyOf func(Item) string

	item Item
	key  string
	some bool // there is an item
	read bool
}

func newCursor[Item any](items iter.Seq2[Item, error], keyOf func(Item) string) *cursor[Item] {
	next, stop := iter.Pull2(items)
	return &cursor[Item]{next: next, stop: stop, keyOf: keyOf}
}

// at is the item of a key, if there is one. Keys are asked for in their order.
func (c *cursor[Item]) at(key string) (item Item, found bool, err error) {
	for !c.read || c.some && c.key < key {
		if c.item, err, c.some = c.next(); err != nil {
			return item, false, err
		}
		c.read = true
		if c.some {
			c.key = c.keyOf(c.item)
		}
	}
	return c.item, c.some && c.key == key, nil
}
