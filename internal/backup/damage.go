package backup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// damageReport is what a file of damageFolder holds: blobs that somebody found damaged, or that a set has replaced. Times would not tell
// which was first: those of objects are whole seconds.
type damageReport struct {
	Time     time.Time              `json:"time"`
	Damaged  []string               `json:"damaged,omitempty"`  // keys
	Replaced map[string]replacement `json:"replaced,omitempty"` // by key
}

// replacement is what a set has put in the place of a damaged blob. An encrypted one has other bytes than those that older sets know.
type replacement struct {
	Answers []string `json:"answers,omitempty"` // the reports of its damage
	Size    int64    `json:"size"`
	SHA256  string   `json:"sha256"`
}

// damage is what is known of blobs that were found damaged.
type damage struct {
	reports  map[string][]string          // of each blob, by its key, those that nobody has answered yet
	replaced map[string][]objectstore.Sum // what was put in the place of others
}

// isRight tells whether a blob is what a set has stored, or what was put in the place of that.
func (d damage) isRight(key string, stored, got objectstore.Sum) bool {
	return got == stored || slices.Contains(d.replaced[key], got)
}

// damaged reads what is known to be damaged.
func (d Destination) damaged(ctx context.Context) (all damage, err error) {
	all = damage{map[string][]string{}, map[string][]objectstore.Sum{}}
	answered := map[string]bool{}
	for o, err := range d.documents(ctx, damageFolder) {
		if err != nil {
			return all, err
		}
		var r damageReport
		if err := d.readJSON(ctx, o.Key, &r); err != nil {
			return all, err
		}
		for _, key := range r.Damaged {
			all.reports[key] = append(all.reports[key], o.Key)
		}
		for key, with := range r.Replaced {
			sha, err := parseSHA256(with.SHA256)
			if err != nil {
				return all, fmt.Errorf("read %s: %w", o.Key, err)
			}
			all.replaced[key] = append(all.replaced[key], objectstore.Sum{Size: with.Size, SHA256: sha})
			for _, report := range with.Answers {
				answered[key+report] = true
			}
		}
	}
	for key, reports := range all.reports {
		all.reports[key] = slices.DeleteFunc(reports, func(report string) bool { return answered[key+report] })
	}
	return all, nil
}

// report leaves a report of damage.
func (d Destination) report(ctx context.Context, r damageReport) error {
	r.Time = time.Now().UTC()
	return d.leave(ctx, damageFolder, r)
}
