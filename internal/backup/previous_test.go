package backup

import (
	"testing"

	"github.com/assetplatform/assetplatform/test/services"
)

// A set whose inventory is damaged or gone keeps no new one from being made; it counts as verified no more.
func TestInventoryOfThePreviousSet(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, d Destination, bucket, key string){
		"damaged": func(t *testing.T, _ Destination, bucket, key string) { services.SharedS3(t).Damage(t, bucket, key) },
		"gone": func(t *testing.T, d Destination, _, key string) {
			if err := d.Remover.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(3)
			settings, d := archive(t)
			first := p.backUp(d)
			p.fill(1)
			second := p.backUp(d)
			spoil(t, d, settings.Name, setKey(second.ID, inventoryFile))
			p.fill(1)
			third := p.backUp(d)
			if third.Previous != second.ID || third.Blobs.Copied != 1 {
				t.Errorf("%+v after %s", third.Blobs, third.Previous)
			}
			if ids := verified(t, d); len(ids) != 2 || ids[0] != first.ID || ids[1] != third.ID {
				t.Errorf("verified are %v", ids)
			}
			if _, err := d.Verify(t.Context(), third.ID, VerifyOptions{}); err != nil {
				t.Error(err)
			}
			q, done := restored(t, d)
			if rows, wrong := q.check(); done.Set != third.ID || int64(rows) != third.Blobs.Objects || len(wrong) > 0 {
				t.Errorf("set %s: %d rows, %v", done.Set, rows, wrong)
			}
		})
	}
}

// It may be the only one.
func TestInventoryOfTheOnlySet(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	settings, d := archive(t)
	services.SharedS3(t).Damage(t, settings.Name, setKey(p.backUp(d).ID, inventoryFile))
	next := p.backUp(d)
	if ids := verified(t, d); len(ids) != 1 || ids[0] != next.ID || next.Blobs.Copied != 0 {
		t.Errorf("verified are %v; %+v", ids, next.Blobs)
	}
}
