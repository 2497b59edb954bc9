package backup

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/test/services"
)

// empty removes all that begins with one of these.
func empty(t *testing.T, bucket string, d Destination, folders ...string) {
	t.Helper()
	for _, key := range services.SharedS3(t).Keys(t, bucket) {
		if !slices.ContainsFunc(folders, func(folder string) bool { return strings.HasPrefix(key, folder) }) {
			continue
		}
		if err := d.Remover.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// A destination that has lost all sets is no success for a scrub, however often it looks; one that never had any is.
func TestScrubOfADestinationThatLostEverything(t *testing.T) {
	t.Parallel()
	for name, seen := range map[string]func(t *testing.T, settings string, d Destination){
		"after a scrub": func(t *testing.T, _ string, d Destination) { scrub(t, d, 0) },
		"after one that has not ended": func(t *testing.T, bucket string, d Destination) {
			scrub(t, d, 0, small)
			if keys := services.SharedS3(t).Keys(t, bucket); !slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, scrubFolder) }) {
				t.Fatal("it has left no note")
			}
		},
		"after a drill": func(t *testing.T, _ string, d Destination) {
			if err := d.leave(t.Context(), drillsFolder, DrillRecord{Set: "01JZZZZZZZZZZZZZZZZZZZZZZZ", Code: "OK"}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(3)
			settings, d := archive(t)
			for range 2 { // what looked when there was none yet tells nothing
				scrub(t, d, 0)
				if err := d.leave(t.Context(), drillsFolder, DrillRecord{Code: "NO_SET"}); err != nil {
					t.Fatal(err)
				}
			}
			p.backUp(d)
			seen(t, settings.Name, d)
			empty(t, settings.Name, d, setsFolder, blobsFolder)
			for range 2 {
				if _, err := d.Scrub(t.Context(), ScrubOptions{Runs: 30, Log: discard}); !errors.Is(err, ErrNoSet) || !strings.Contains(err.Error(), "had sets") {
					t.Errorf("%v", err)
				}
			}
			p.backUp(d)
			scrub(t, d, 0)
		})
	}
}
