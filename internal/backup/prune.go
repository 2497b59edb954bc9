package backup

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	// collectionDelay is how long a blob was needed by no set before it goes.
	collectionDelay = 24 * time.Hour
)

// PruneOptions say what to remove.
type PruneOptions struct {
	Retention Retention
	// AllowCollection is "kept/removed", the counts of blobs of a collection that was refused for what it would remove.
	AllowCollection string
	Log             *slog.Logger
	Report          func(Progress)

	delay time.Duration // tests have less of it than collectionDelay
	step  func(name string)
}

// Pruned is what Prune did.
type Pruned struct {
	Removed   []string `json:"removed"`        // sets
	Kept      int      `json:"kept"`           // sets
	Collected int64    `json:"collected"`      // blobs
	Waiting   int64    `json:"waiting"`        // blobs that no set needs, and that go later
	Held      string   `json:"held,omitempty"` // why nothing was removed
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
	now, err := d.now(ctx)
	if err != nil {
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
	keep := o.Retention.keep(l.Sets, now)
	var kept []Set
	for _, s := range l.Sets {
		if keep[s.ID] {
			kept = append(kept, s)
			continue
		}
		if err := d.remove(ctx, s.ID, o.step); err != nil {
			return p, err
		}
		p.Removed = append(p.Removed, s.ID)
		o.Log.Info("set removed", "set", s.ID, "snapshot", s.SnapshotTime)
	}
	newest, _ := l.Newest()
	for _, id := range l.Unfinished { // older than a verified set, as held has seen: nobody works on it
		if id < newest.ID {
			if err := d.remove(ctx, id, o.step); err != nil {
				return p, err
			}
		}
	}
	p.Kept, p.Oldest = len(kept), oldest(kept)
	p.Collected, p.Waiting, p.Held, err = d.collect(ctx, kept, now, o)
	return p, err
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

// held says why nothing is to be removed.
func (l Listing) held() string {
	newest, ok := l.Newest()
	if !ok {
		return "there is no verified set"
	}
	for id, why := range l.Bad {
		return fmt.Sprintf("set %s cannot be read (%s)", id, why)
	}
	for _, id := range l.Unfinished {
		if id > newest.ID {
			return fmt.Sprintf("since the newest verified set, %s, another one was begun, %s: it is being made, or has failed", newest.ID, id)
		}
	}
	if last := l.Sets[len(l.Sets)-1]; !last.Verified() {
		return fmt.Sprintf("the newest set, %s, is not verified", last.ID)
	}
	return ""
}

// now is the time by the destination's clock: with one's own, which may be wrong, all sets might be past their time.
func (d Destination) now(ctx context.Context) (now time.Time, err error) {
	key := collectionFolder + "clock-" + ulid.Make().String()
	if _, err := d.Remover.Put(ctx, key, bytes.NewReader(nil)); err != nil {
		return now, err
	}
	for o, err := range d.Archive.List(ctx, key, "") { // whose times are finer than those of one object
		if err != nil {
			return now, err
		}
		now = o.Modified
	}
	if now.IsZero() {
		return now, fmt.Errorf("%s is not there although it was just written", key)
	}
	return now, d.Remover.Delete(ctx, key)
}

// remove removes a set: its manifest first, so that what is left if this ends is none.
func (d Destination) remove(ctx context.Context, id string, step func(string)) error {
	step("remove")
	if err := d.Remover.Delete(ctx, setKey(id, manifestFile)); err != nil {
		return err
	}
	step("removed manifest")
	var last string
	for o, err := range d.Archive.List(ctx, setKey(id, ""), "") {
		if err != nil {
			return err
		}
		if strings.HasSuffix(o.Key, "/"+startedFile) {
			last = o.Key // as long as it is there, somebody cares for the rest
			continue
		}
		if err := d.Remover.Delete(ctx, o.Key); err != nil {
			return err
		}
		step("removed file")
	}
	if last == "" {
		return nil
	}
	return d.Remover.Delete(ctx, last)
}
