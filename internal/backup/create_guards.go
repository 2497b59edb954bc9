package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// isPlausible refuses a database that lost everything since the newest set: somebody may have put an empty one in its place. A safety set may be
// of that one.
func (c *creation) isPlausible() error {
	newest, ok := c.there.newestRegular()
	if !ok || c.AllowShrunken {
		return nil
	}
	for _, table := range []string{"users", "assets"} {
		if was := newest.Database.Rows[table]; was > 0 && c.m.Database.Rows[table] == 0 {
			return &store.Problem{
				Code:    config.CodeSourceEmptied,
				Message: fmt.Sprintf("the table %s is empty, and had %d rows in set %s", table, was, newest.ID),
				Remedy:  "restore that set, or, if this is meant, make one set with --allow-shrunken",
			}
		}
	}
	return nil
}

// isOwn refuses a destination that has another platform's sets: a restore would take the newest, whosesoever it is, and a prune the last of one
// for the sake of the other's. What a restore is to overwrite may be another's.
func (c *creation) isOwn() error {
	if c.Safety {
		return nil
	}
	newest, ok := c.there.newest(func(s Set) bool { return !s.Safety })
	if ok && newest.Platform.ID != c.m.Platform.ID {
		return &store.Problem{
			Code:    config.CodeConfigInvalid,
			Message: fmt.Sprintf("the destination has sets of another platform: %s is of %s(%s)", newest.ID, nameOf(newest), newest.Platform.ID),
			Remedy:  "give each platform a prefix (BACKUP_PREFIX) or bucket of its own; or restore that set first, if this platform is to go on with it",
		}
	}
	return c.isFirst()
}

// isFirst refuses the sets of a copy beside those of its original: of two databases of a platform the one that was first in the destination keeps
// it. Sets from before this database came to be one of its own are its history: it was restored from one of them.
func (c *creation) isFirst() error {
	ours := false                  // there was one of this database already
	behind := map[uuid.UUID]bool{} // databases whose first set came after that
	for _, s := range c.there.Sets {
		whose := s.Platform.Instance
		switch {
		case s.Safety || whose == uuid.Nil || s.Platform.ID != c.m.Platform.ID:
			continue
		case whose == c.m.Platform.Instance:
			ours = true
			continue
		}
		if _, known := behind[whose]; !known {
			behind[whose] = ours
		}
		if !s.SnapshotTime.After(c.since) {
			continue
		}
		if !behind[whose] {
			return &store.Problem{
				Code:    config.CodeConfigInvalid,
				Message: fmt.Sprintf("another database of this platform, of which this one is a copy or the other way round, makes sets here: %s is of %s(%s)", s.ID, nameOf(s), whose),
				Remedy:  "give this one a prefix (BACKUP_PREFIX) or bucket of its own",
			}
		}
		c.Log.Warn("a copy of this database makes sets here, too: give it a prefix or bucket of its own", "set", s.ID, "platform", strings.TrimSpace(nameOf(s)))
	}
	return nil
}

// nameOf is the name of a set's platform, where it has one, in front of what identifies it.
func nameOf(s Set) string {
	if s.Platform.Name == "" {
		return ""
	}
	return s.Platform.Namespace + "/" + s.Platform.Name + " "
}

// isSealed refuses a set that anybody could read, or that nobody could trust, where the others are encrypted or signed: a variable that was
// forgotten must not lay it all open, and what is not signed counts as bad and holds up a prune.
func (c *creation) isSealed() error {
	newest, _ := c.there.newest(func(s Set) bool { return !s.Safety })
	if newest.Encrypted && !c.m.Encrypted {
		return &store.Problem{
			Code: config.CodeConfigInvalid, Message: fmt.Sprintf("the destination's sets are encrypted, and this one would not be: %s is for %s", newest.ID, strings.Join(newest.Readers, ", ")),
			Remedy: "set BACKUP_RECIPIENTS; or, if sets are not to be encrypted any more, take a new prefix (BACKUP_PREFIX)",
		}
	}
	key := c.Destination.VerifyKey
	switch {
	case c.SigningKey == nil && (key != nil || newest.signed):
		return &store.Problem{
			Code: config.CodeConfigInvalid, Message: "sets here are signed, and this one would not be: nobody who checks signatures could read it",
			Remedy: "set BACKUP_SIGNING_KEY",
		}
	case c.SigningKey != nil && key != nil && !key.Equal(c.SigningKey.Public()):
		return &store.Problem{
			Code: config.CodeConfigInvalid, Message: "this set would be signed with another key than the one whose signatures are checked: nobody who does that could read it",
			Remedy: "set BACKUP_VERIFY_KEY to the public half of BACKUP_SIGNING_KEY, or leave it out",
		}
	}
	return nil
}

// recipients are those of whom it was told, as text.
func (c *creation) recipients() (all []string) {
	for _, r := range c.Recipients {
		all = append(all, fmt.Sprint(r))
	}
	return all
}

// findReaders finds out whose identities open all that the set will have: blobs are encrypted once, for the recipients of then. Those of sets
// that were never finished, or that cannot be read, are there too.
func (c *creation) findReaders(ctx context.Context) error {
	c.m.Readers = c.recipients()
	if !c.m.Encrypted {
		return nil
	}
	for _, s := range c.there.Sets {
		if err := c.share(s.ID, s.Readers); err != nil {
			return err
		}
	}
	var others []string // keys of documents that name readers
	for _, id := range c.there.Unfinished {
		others = append(others, setKey(id, startedFile))
	}
	for _, id := range slices.Sorted(maps.Keys(c.there.Bad)) {
		others = append(others, setKey(id, manifestFile)) // nobody vouches for it, but readers only become fewer
	}
	for _, key := range others {
		readers, err := c.Destination.readers(ctx, key)
		if err != nil {
			return err
		}
		if err := c.share(key, readers); err != nil {
			return err
		}
	}
	return nil
}

// share leaves only those readers who also open what another set brought; who has named none takes nobody away.
func (c *creation) share(of string, readers []string) error {
	if len(readers) == 0 {
		return nil
	}
	c.m.Readers = slices.DeleteFunc(c.m.Readers, func(reader string) bool { return !slices.Contains(readers, reader) })
	if len(c.m.Readers) > 0 {
		return nil
	}
	return &store.Problem{
		Code: config.CodeConfigInvalid, Message: fmt.Sprintf("none of the recipients can open the blobs that are in the destination from before: %s is for %s", of, strings.Join(readers, ", ")),
		Remedy: "keep a recipient of before among them (BACKUP_RECIPIENTS), or take a new prefix (BACKUP_PREFIX), where all blobs are encrypted anew",
	}
}

// readers are those that a document names, if it is there and can be read.
func (d Destination) readers(ctx context.Context, key string) ([]string, error) {
	text, err := d.read(ctx, key)
	if err != nil {
		if errors.Is(err, objectstore.ErrNotFound) {
			err = nil
		}
		return nil, err
	}
	var named struct {
		Readers []string `json:"readers"`
	}
	if json.Unmarshal(text, &named) != nil {
		return nil, nil
	}
	return named.Readers, nil
}
