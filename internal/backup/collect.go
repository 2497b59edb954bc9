package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// Blobs are collected in two steps. The first run that finds some that no set needs marks them, and one that comes a day later removes those
// of them that still none needs. A set that is begun while blobs are removed waits, and no blob is removed while a set is being made: each
// first says so in the destination, and then looks whether the other has said so.

const (
	markPrefix  = collectionFolder + "mark-"
	sweepPrefix = collectionFolder + "sweep-"
	// sweepTime bounds the removal of blobs; a set that is begun meanwhile waits for its end.
	sweepTime = 10 * time.Minute
	// sweepLost is after how long one that has not ended counts as dead.
	sweepLost = 2 * sweepTime
	// mostMarked is how many blobs are marked at a time.
	mostMarked = 100_000
	// contentsAtOnce is about how many contents that sets refer to are held in memory.
	contentsAtOnce = 250_000
)

// mark is what a file mark-<ULID>.json holds: what no set needed when it was written.
type mark struct {
	Time  time.Time `json:"time"`
	Blobs []string  `json:"blobs"` // keys
}

// collect removes blobs that no set has needed for long, or marks what none needs. waiting are those that are marked.
func (d Destination) collect(ctx context.Context, r *removal, sets []Set, now time.Time, o PruneOptions) (collected, waiting int64, held string, err error) {
	var oldest objectstore.Object
	for m, err := range d.documents(ctx, markPrefix) {
		if err != nil {
			return 0, 0, "", err
		}
		if oldest.Key == "" {
			oldest = m
		}
	}
	if oldest.Key == "" {
		return d.markUnneeded(ctx, sets, o)
	}
	var m mark
	if err := d.readJSON(ctx, oldest.Key, &m); err != nil {
		return 0, 0, "", err
	}
	if now.Sub(oldest.Modified) < o.delay {
		return 0, int64(len(m.Blobs)), "", nil
	}
	collected, held, err = d.sweep(ctx, r, sets, m, o)
	if err != nil || held != "" {
		return collected, int64(len(m.Blobs)), held, err
	}
	_, err = r.delete(ctx, oldest.Key)
	return collected, 0, "", err
}

func (d Destination) markUnneeded(ctx context.Context, sets []Set, o PruneOptions) (collected, waiting int64, held string, err error) {
	m := mark{Time: time.Now().UTC()}
	_, err = d.unneeded(ctx, sets, func(key string) {
		if len(m.Blobs) < mostMarked {
			m.Blobs = append(m.Blobs, key)
		}
	})
	if err != nil || len(m.Blobs) == 0 {
		return 0, 0, "", err
	}
	o.step("mark")
	err = Destination{Archive: d.Remover}.writeJSON(ctx, markPrefix+ulid.Make().String()+".json", m)
	return 0, int64(len(m.Blobs)), "", err
}

// sweep removes what is marked and still not needed.
func (d Destination) sweep(ctx context.Context, r *removal, sets []Set, m mark, o PruneOptions) (collected int64, held string, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	sweeping := sweepPrefix + ulid.Make().String() + ".json"
	if err := (Destination{Archive: d.Remover}).writeJSON(ctx, sweeping, m.Time); err != nil {
		return 0, "", err
	}
	defer func() {
		_, failed := r.delete(context.WithoutCancel(ctx), sweeping)
		err = errors.Join(err, failed)
	}()
	ids, err := d.ids(ctx)
	if err != nil {
		return 0, "", err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(sets, func(s Set) bool { return s.ID == id }) {
			return 0, fmt.Sprintf("set %s is being made, or what is left of it is young", id), nil
		}
	}
	marked := map[string]bool{}
	for _, key := range m.Blobs {
		marked[key] = true
	}
	var remove []string
	kept, err := d.unneeded(ctx, sets, func(key string) {
		if marked[key] {
			remove = append(remove, key)
		}
	})
	if err != nil {
		return 0, "", err
	}
	// What the sets need is most of what there is, unless the source lost it.
	if counts := fmt.Sprintf("%d/%d", kept, len(remove)); int64(len(remove)) > kept && o.AllowCollection != counts {
		return 0, fmt.Sprintf("%d blobs that no set needs any more are to be removed, and only %d stay: if the bucket did not lose them, allow the collection %s (the annotation assetplatform.io/allow-collection, or --allow-collection)", len(remove), kept, counts), nil
	}
	for _, key := range remove {
		o.step("collect")
		gone, err := r.delete(ctx, key)
		if err != nil {
			return collected, "", err
		}
		if gone {
			collected++
		}
	}
	return collected, "", nil
}

// awaitSweep waits until no blobs are removed. key was just written, and so tells the time by the destination's clock.
func (d Destination) awaitSweep(ctx context.Context, key string) error {
	now, err := d.written(ctx, key)
	if err != nil {
		return err
	}
	began := time.Now()
	for {
		active := ""
		for o, err := range d.documents(ctx, sweepPrefix) {
			if err != nil {
				return err
			}
			if now.Add(time.Since(began)).Sub(o.Modified) < sweepLost {
				active = o.Key
			}
		}
		if active == "" {
			return nil
		}
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unneeded tells of each blob to which no set refers, and counts the others. It goes over the sets as often as it takes to hold no more than
// contentsAtOnce of what they refer to.
func (d Destination) unneeded(ctx context.Context, sets []Set, tell func(key string)) (needed int64, err error) {
	var most int64
	for _, s := range sets {
		most = max(most, s.Blobs.Count)
	}
	passes := min(int(most/contentsAtOnce)+1, 256)
	for pass := range passes {
		from, to := byte(pass*256/passes), byte((pass+1)*256/passes-1)
		keys := map[string]struct{}{}
		for _, s := range sets {
			for c, err := range d.inventory(ctx, s.Manifest) {
				if err != nil {
					return 0, err
				}
				if first := c.sum.SHA256[0]; first >= from && first <= to {
					keys[blobKey(c.sum.SHA256, s.Encrypted)] = struct{}{}
				}
			}
		}
		last := fmt.Sprintf("%s%02x0", blobsFolder, to) // behind the folder: 0 is behind the slash
		for o, err := range d.Archive.List(ctx, blobsFolder, fmt.Sprintf("%s%02x", blobsFolder, from)) {
			if err != nil {
				return 0, err
			}
			if o.Key > last {
				break
			}
			if _, ok := keys[o.Key]; ok {
				needed++
			} else if isBlob(o.Key) { // other things are somebody's
				tell(o.Key)
			}
		}
	}
	return needed, nil
}
