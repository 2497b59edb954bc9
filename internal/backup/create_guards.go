package backup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// isPlausible refuses a database that lost everything since the newest set: somebody may have put an empty one in its place.
func (c *creation) isPlausible() error {
	if c.previous == nil || c.AllowShrunken {
		return nil
	}
	for _, table := range []string{"users", "assets"} {
		if was := c.previous.Database.Rows[table]; was > 0 && c.m.Database.Rows[table] == 0 {
			return &store.Problem{
				Code:    config.CodeSourceEmptied,
				Message: fmt.Sprintf("the table %s is empty, and had %d rows in set %s", table, was, c.previous.ID),
				Remedy:  "restore that set, or, if this is meant, make one set with --allow-shrunken",
			}
		}
	}
	return nil
}

// isOwn refuses a destination that has another platform's sets: a restore would take the newest, whosesoever it is, and a prune the last of one
// for the sake of the other's. What a restore is to overwrite may be another's.
func (c *creation) isOwn() error {
	for _, s := range slices.Backward(c.others) {
		if s.Safety {
			continue
		}
		if s.Platform.ID != c.m.Platform.ID && !c.Safety {
			return &store.Problem{
				Code:    config.CodeConfigInvalid,
				Message: fmt.Sprintf("the destination has sets of another platform: %s is of %s", s.ID, strings.Trim(s.Platform.Namespace+"/"+s.Platform.Name+" ", "/")+"("+s.Platform.ID.String()+")"),
				Remedy:  "give each platform a prefix (BACKUP_PREFIX) or bucket of its own; or restore that set first, if this platform is to go on with it",
			}
		}
		return nil
	}
	return nil
}

// findReaders finds out whose identities open all that the set will have: blobs are encrypted once, for the recipients of then.
func (c *creation) findReaders() error {
	if !c.m.Encrypted {
		return nil
	}
	for _, r := range c.Recipients {
		c.m.Readers = append(c.m.Readers, fmt.Sprint(r))
	}
	for _, s := range c.others {
		if s.Encrypted && len(s.Readers) > 0 {
			c.m.Readers = slices.DeleteFunc(c.m.Readers, func(reader string) bool { return !slices.Contains(s.Readers, reader) })
		}
	}
	if len(c.m.Readers) == 0 {
		return &store.Problem{
			Code: config.CodeConfigInvalid, Message: "none of the recipients can open the blobs that are in the destination from before",
			Remedy: "keep a recipient of before among them (BACKUP_RECIPIENTS), or take a new prefix (BACKUP_PREFIX), where all blobs are encrypted anew",
		}
	}
	return nil
}
