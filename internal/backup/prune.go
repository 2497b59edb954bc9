package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	// collectionDelay is how long a blob was needed by no set before it goes.
	collectionDelay = 24 * time.Hour
	// keptNotes is how many of the notes of scrubs, and of those of drills, stay.
	keptNotes = 30
)

// PruneOptions say what to remove.
type PruneOptions struct {
	Retention Retention
	// AllowCollection is "kept/removed", the counts of blobs of a collection that was refused for what it would remove.
	AllowCollection string
	Log             *slog.Logger
	Report          func(Progress)

	delay time.Duration // tests have less of it than collectionDelay
	dead  time.Duration // after how long what is no set counts as dead; as delay
	step  func(name string)
}

// Pruned is what Prune did.
type Pruned struct {
	Removed   []string `json:"removed"`        // sets
	Kept      int      `json:"kept"`           // sets
	Collected int64    `json:"collected"`      // blobs
	Waiting   int64    `json:"waiting"`        // blobs that no set needs, and that go later
	Held      string   `json:"held,omitempty"` // why nothing was removed, or less than was to be
	// Oldest is the snapshot of the oldest verified set that stays; zero: there is none.
	Oldest time.Time `json:"oldest,omitzero"`
}

// Prune removes sets that are past their time, and then blobs that no set has needed for a day. It removes nothing while backups fail.
func (d Destination) Prune(ctx context.Context, o PruneOptions) (p Pruned, err error) {
	if d.Remover == nil {
		return p, &store.Problem{Code: config.CodeConfigInvalid, Message: "there are no credentials with which to remove", Remedy: "set BACKUP_REMOVER_ACCESS_KEY and BACKUP_REMOVER_SECRET_KEY"}
	}
	if o.step == nil {
		o.step = func(string) {}
	}
	if o.delay == 0 {
		o.delay = collectionDelay
	}
	if o.dead == 0 {
		o.dead = o.delay
	}
	now, err := d.now(ctx)
	if err != nil {
		return p, err
	}
	if err := d.removeNotes(ctx); err != nil {
		return p, err
	}
	l, err := d.List(ctx)
	if err != nil {
		return p, err
	}
	if p.Held = l.held(); p.Held != "" {
		p.Kept, p.Oldest = len(l.Sets), oldest(l.Sets)
		return p, nil
	}
	r := &removal{Archive: d.Remover, step: o.step}
	keep := o.Retention.keep(l.Sets, now)
	var kept []Set
	for _, s := range l.Sets {
		gone := false
		if !keep[s.ID] {
			if gone, err = d.remove(ctx, r, s.ID); err != nil {
				return p, err
			}
		}
		if !gone {
			kept = append(kept, s)
			continue
		}
		p.Removed = append(p.Removed, s.ID)
		o.Log.Info("set removed", "set", s.ID, "snapshot", s.SnapshotTime)
	}
	for _, id := range l.Unfinished {
		if err := d.clear(ctx, r, id, now.Add(-o.dead)); err != nil {
			return p, err
		}
	}
	p.Kept, p.Oldest = len(kept), oldest(kept)
	p.Collected, p.Waiting, p.Held, err = d.collect(ctx, r, kept, now, o)
	if p.Held == "" {
		p.Held = r.held()
	}
	return p, err
}

// removal is what one run of Prune removes with.
type removal struct {
	*objectstore.Archive
	step   func(string)
	locked []string // keys of what is to go and may not
}

// delete removes an object, if it may.
func (r *removal) delete(ctx context.Context, key string) (gone bool, err error) {
	err = r.Delete(ctx, key)
	if errors.Is(err, objectstore.ErrLocked) {
		r.locked = append(r.locked, key)
		return false, nil
	}
	return err == nil, err
}

func (r *removal) held() string {
	if len(r.locked) == 0 {
		return ""
	}
	return fmt.Sprintf("%d objects may not be removed, such as %s: they are locked still, or the credentials lack the right s3:DeleteObject", len(r.locked), r.locked[0])
}

// removeNotes removes what newer notes have replaced; what is locked goes another time.
func (d Destination) removeNotes(ctx context.Context) error {
	for _, folder := range []string{scrubFolder, drillsFolder} {
		var keys []string // the oldest first
		for o, err := range d.documents(ctx, folder) {
			if err != nil {
				return err
			}
			keys = append(keys, o.Key)
		}
		for _, key := range keys[:max(0, len(keys)-keptNotes)] {
			if err := d.Remover.Delete(ctx, key); err != nil && !errors.Is(err, objectstore.ErrLocked) {
				return err
			}
		}
	}
	return nil
}

// clear removes what is no set and was last touched before a time: of two that are begun together one ends first, and the other one is then
// older than a verified set, and alive.
func (d Destination) clear(ctx context.Context, r *removal, id string, before time.Time) error {
	last, err := d.modified(ctx, setKey(id, ""))
	if err == nil && last.Before(before) {
		_, err = d.remove(ctx, r, id)
	}
	return err
}

// oldest is the snapshot's time of the oldest verified set.
func oldest(sets []Set) time.Time {
	for _, s := range sets {
		if s.Verified() {
			return s.SnapshotTime
		}
	}
	return time.Time{}
}

// held says why nothing is to be removed. That a restore could make a set of what it overwrites does not tell that backups are made.
func (l Listing) held() string {
	for id, why := range l.Bad {
		return fmt.Sprintf("set %s cannot be read (%s)", id, why)
	}
	newest, ok := l.newestRegular()
	if !ok {
		return "there is no verified set"
	}
	for _, id := range l.Unfinished {
		if id > newest.ID {
			return fmt.Sprintf("since the newest verified set, %s, another one was begun, %s: it is being made, or has failed", newest.ID, id)
		}
	}
	for _, s := range slices.Backward(l.Sets) {
		if s.ID > newest.ID && !s.Verified() {
			return fmt.Sprintf("a set that is newer than the newest verified one, %s, is not verified: %s", newest.ID, s.ID)
		}
	}
	return ""
}

// now is the time by the destination's clock: with one's own, which may be wrong, all sets might be past their time.
func (d Destination) now(ctx context.Context) (now time.Time, err error) {
	key := collectionFolder + "clock-" + ulid.Make().String()
	if _, err := d.Remover.Put(ctx, key, bytes.NewReader(nil)); err != nil {
		return now, err
	}
	if now, err = d.written(ctx, key); err != nil {
		return now, err
	}
	if err := d.Remover.Delete(ctx, key); !errors.Is(err, objectstore.ErrLocked) {
		return now, err
	}
	return now, nil
}

// written is when an object was written that must be there, by the destination's clock.
func (d Destination) written(ctx context.Context, key string) (time.Time, error) {
	at, err := d.modified(ctx, key)
	if err == nil && at.IsZero() {
		err = fmt.Errorf("%s is not there although it was just written", key)
	}
	return at, err
}

// modified is when the newest of the objects whose keys begin so was written, by the destination's clock; zero: there is none.
func (d Destination) modified(ctx context.Context, prefix string) (newest time.Time, err error) {
	for o, err := range d.Archive.List(ctx, prefix, "") { // whose times are finer than those of one object
		if err != nil {
			return newest, err
		}
		if o.Modified.After(newest) {
			newest = o.Modified
		}
	}
	return newest, nil
}

// remove removes a set: its manifest first, so that what is left if this ends is none. It is gone even if a part of it may not go yet.
func (d Destination) remove(ctx context.Context, r *removal, id string) (gone bool, err error) {
	r.step("remove")
	if gone, err = r.delete(ctx, setKey(id, manifestFile)); !gone {
		return false, err
	}
	r.step("removed manifest")
	last, all := "", true
	for o, err := range d.Archive.List(ctx, setKey(id, ""), "") {
		if err != nil {
			return true, err
		}
		if strings.HasSuffix(o.Key, "/"+startedFile) {
			last = o.Key // as long as it is there, somebody cares for the rest
			continue
		}
		gone, err := r.delete(ctx, o.Key)
		if err != nil {
			return true, err
		}
		all = all && gone
		r.step("removed file")
	}
	if last != "" && all {
		_, err = r.delete(ctx, last)
	}
	return true, err
}
