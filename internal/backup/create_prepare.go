package backup

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// started is what the file started.json holds.
type started struct {
	Time time.Time `json:"time"`
	Host string    `json:"host"`
	Tool string    `json:"tool"`
	// Readers are the recipients for whom it encrypts blobs, which stay there also if it is never finished.
	Readers []string `json:"readers,omitempty"`
}

// prepare looks for the newest set, and leaves a note that another one is being made. What is refused for its settings leaves none: that would
// hold back a prune, and bind the next one to its recipients.
func (c *creation) prepare(ctx context.Context) error {
	c.step("prepare")
	archive := c.Destination.Archive
	if err := archive.Check(ctx); err != nil {
		return &store.Problem{Code: config.CodeDestinationUnavailable, Message: err.Error()}
	}
	if err := c.Bucket.Reach(ctx); err != nil { // of what has no new blobs nothing else would tell
		return &store.Problem{Code: config.CodeBucketUnavailable, Message: err.Error(), Remedy: "check the bucket of the assets and its credentials (S3_…), and run it again"}
	}
	if err := c.look(ctx); err != nil {
		return err
	}
	ids, err := c.Destination.ids(ctx)
	if err != nil {
		return err
	}
	if c.m.ID, err = idAfter(ids); err != nil {
		return err
	}
	host, _ := os.Hostname()
	note := started{time.Now().UTC(), host, c.Tool, c.recipients()}
	err = c.Destination.writeJSON(ctx, setKey(c.m.ID, startedFile), note)
	if errors.Is(err, errors.ErrUnsupported) { // as it knows now
		c.Log.Warn("the destination's service does not know If-None-Match: a second backup with the same id would not be kept from writing")
		err = c.Destination.writeJSON(ctx, setKey(c.m.ID, startedFile), note)
	}
	if err != nil {
		return err
	}
	if err := c.Destination.awaitSweep(ctx, setKey(c.m.ID, startedFile)); err != nil {
		return err
	}
	if err := c.look(ctx); err != nil { // others may have begun meanwhile, and see this one
		return err
	}
	if newest, ok := c.there.Newest(); ok {
		c.m.Previous = newest.ID
	}
	return c.choosePrevious(ctx)
}

// choosePrevious takes the newest verified set whose inventory is what it should be: a damaged one must not keep new sets from being made.
func (c *creation) choosePrevious(ctx context.Context) error {
	for _, s := range slices.Backward(c.there.Sets) {
		if !s.Verified() {
			continue
		}
		f, _ := s.file(inventoryFile)
		right, err := c.Destination.holds(ctx, s.ID, f)
		if err != nil {
			return err
		}
		if right {
			c.previous = &s
			return nil
		}
		if err := c.tellDamaged(ctx, s.ID, setKey(s.ID, inventoryFile)); err != nil {
			return err
		}
	}
	return nil
}

// tellDamaged notes that a file of a set is not what it should be: the set counts as verified no more.
func (c *creation) tellDamaged(ctx context.Context, id, key string) error {
	s, err := c.Destination.set(ctx, id)
	if errors.Is(err, ErrNoSet) { // it was removed meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	c.Log.Error("a set is damaged: this one is made without it", "set", id, "key", key)
	return c.Destination.note(ctx, id, verification{Time: s.read, Damage: append(slices.Clone(s.Damage), key), Manifest: s.sha256, Tool: c.Tool}, nil)
}

// look lists what the destination has, and refuses settings that do not go with that.
func (c *creation) look(ctx context.Context) (err error) {
	if c.there, err = c.Destination.List(ctx); err != nil {
		return err
	}
	return errors.Join(c.isSealed(), c.findReaders(ctx))
}
