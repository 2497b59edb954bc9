package backup

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/test/services"
)

// What people leave in the bucket, such as the folders that a console makes, is in nobody's way, and stays.
func TestStrayObjects(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	settings, d := archive(t)
	var strays []string
	stray := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			if _, err := d.Archive.Put(t.Context(), key, strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
		}
		strays = append(strays, keys...)
	}
	for _, folder := range []string{damageFolder, drillsFolder, scrubFolder, setsFolder, collectionFolder, blobsFolder, blobsFolder + "aa/"} {
		stray(folder, folder+"readme.txt", folder+"zz.json")
	}
	stray(markPrefix+"x.json", sweepPrefix+"x.json")
	first := p.backUp(d)
	stray(setKey(first.ID, verifiedPrefix+"x"), setKey(first.ID, "verified-zz.json"), setKey(first.ID, "notes/"))
	if _, err := d.LastDrill(t.Context()); !errors.Is(err, ErrNoSet) {
		t.Errorf("there was no drill: %v", err)
	}
	for range keptNotes + 2 {
		if err := d.leave(t.Context(), drillsFolder, DrillRecord{Set: first.ID}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := d.LastDrill(t.Context()); err != nil || r.Set != first.ID {
		t.Errorf("%+v, %v", r, err)
	}
	if set, err := d.Verify(t.Context(), first.ID, VerifyOptions{}); err != nil || !set.Verified() {
		t.Errorf("%+v, %v", set, err)
	}
	scrub(t, d, 0)
	second := p.backUp(d)
	services.SharedS3(t).Damage(t, settings.Name, blobOf(t, settings, 1<<20))
	scrub(t, d, 1)
	third := p.backUp(d)
	scrub(t, d, 0)
	for range 2 { // marks, and collects
		pruned, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 3}, Log: discard, delay: -1})
		if err != nil || pruned.Held != "" || pruned.Waiting+pruned.Collected != 0 {
			t.Errorf("%+v, %v", pruned, err)
		}
	}
	if ids := verified(t, d); !slices.Equal(ids, []string{first.ID, second.ID, third.ID}) {
		t.Errorf("verified are %v", ids)
	}
	there := services.SharedS3(t).Keys(t, settings.Name)
	for _, key := range strays {
		if !slices.Contains(there, key) {
			t.Errorf("%s is gone", key)
		}
	}
}
