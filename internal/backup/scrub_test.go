package backup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/test/services"
)

// scrub runs one, and fails the test unless it finds damage where some is to be found.
func scrub(t *testing.T, d Destination, damaged int64, edit ...func(*ScrubOptions)) Scrubbed {
	t.Helper()
	o := ScrubOptions{Runs: 30, Log: discard}
	for _, e := range edit {
		e(&o)
	}
	done, err := d.Scrub(t.Context(), o)
	if errors.Is(err, ErrDamaged) != (damaged > 0) || done.Damaged != damaged || damaged == 0 && err != nil {
		t.Errorf("%+v, %v; want %d damaged", done, err, damaged)
	}
	return done
}

// verified are the ids of the verified sets.
func verified(t *testing.T, d Destination) (ids []string) {
	t.Helper()
	l, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range l.Sets {
		if s.Verified() {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// keysIn counts the keys in a folder of a destination.
func keysIn(t *testing.T, settings config.Bucket, folder string) (count int) {
	t.Helper()
	for _, key := range services.SharedS3(t).Keys(t, settings.Name) {
		if strings.HasPrefix(key, folder) {
			count++
		}
	}
	return count
}

// What rots is found without a key, by reading it; the sets that need it count as verified no more, and do again once it was replaced.
func TestF07ScrubFindsBitRot(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted=%t", encrypted), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(5)
			settings, d := archive(t)
			identity := newIdentity(t)
			edit := func(o *CreateOptions) {
				if encrypted {
					o.Recipients = append(o.Recipients, identity.Recipient())
				}
			}
			old := []byte(strings.Repeat("in all sets ", 100))
			p.upload(p.users[0], old)
			first := p.backUp(d, edit)
			young := []byte(strings.Repeat("not in the first ", 100))
			p.upload(p.users[0], young)
			second := p.backUp(d, edit)
			if done := scrub(t, d, 0); done.Blobs != second.Blobs.Count || done.Files != 4 || !done.Complete {
				t.Errorf("%+v", done)
			}
			before, err := d.set(t.Context(), second.ID)
			if err != nil {
				t.Fatal(err)
			}
			for content, whole := range map[string][]string{string(young): {first.ID}, string(old): {}} {
				key := blobKey(sha256.Sum256([]byte(content)), encrypted)
				services.SharedS3(t).Damage(t, settings.Name, key)
				damaged := verified(t, d)
				if done := scrub(t, d, 1); !slices.Equal(done.Keys, []string{key}) || len(done.Sets) != len(damaged)-len(whole) {
					t.Errorf("%+v", done)
				}
				if now := verified(t, d); !slices.Equal(now, whole) && len(now)+len(whole) > 0 {
					t.Errorf("verified are %v, and only %v are whole", now, whole)
				}
				scrub(t, d, 1) // nobody has replaced it
				next := p.backUp(d, edit)
				if next.Blobs.Copied != 1 {
					t.Errorf("%+v", next.Blobs)
				}
				if done := scrub(t, d, 0); len(done.Mended) != len(damaged)-len(whole) {
					t.Errorf("%+v", done)
				}
				if now := verified(t, d); !slices.Equal(now, append(damaged, next.ID)) {
					t.Errorf("verified are %v", now)
				}
			}
			if after, err := d.set(t.Context(), second.ID); err != nil || !after.VerifiedTime.Equal(before.VerifiedTime) {
				t.Errorf("it was last verified at %s, it says %s; %v", before.VerifiedTime, after.VerifiedTime, err)
			}
			for _, id := range verified(t, d) {
				if _, err := d.Verify(t.Context(), id, VerifyOptions{}); err != nil {
					t.Error(err)
				}
			}
			if reports := keysIn(t, settings, damageFolder); reports != 4 { // each was found once, and replaced once
				t.Errorf("%d reports", reports)
			}
		})
	}
}

// A blob that is gone is found as well, and damaged files of sets: of that set only, and for good.
func TestF07ScrubFindsWhatIsGoneAndDamagedFiles(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	settings, d := archive(t)
	gone := []byte("which will be gone")
	p.upload(p.users[0], gone)
	all := []string{p.backUp(d).ID, p.backUp(d).ID, p.backUp(d).ID, p.backUp(d).ID}
	if err := d.Archive.Delete(t.Context(), blobKey(sha256.Sum256(gone), false)); err != nil {
		t.Fatal(err)
	}
	if done := scrub(t, d, 1); !slices.Equal(done.Sets, all) || len(verified(t, d)) != 0 {
		t.Errorf("%+v", done)
	}
	if next := p.backUp(d); next.Blobs.Copied != 1 {
		t.Errorf("%+v", next.Blobs)
	}
	scrub(t, d, 0)
	if now := verified(t, d); !slices.Equal(now[:len(now)-1], all) {
		t.Errorf("verified are %v of %v", now, all)
	}
	var damaged []string
	for i, file := range []string{dumpFile, inventoryFile, manifestFile} {
		services.SharedS3(t).Damage(t, settings.Name, setKey(all[i], file))
		damaged = append(damaged, setKey(all[i], file))
		for range 2 {
			done := scrub(t, d, int64(i)+1)
			if slices.Sort(done.Keys); !slices.Equal(done.Keys, damaged) || !slices.Equal(done.Sets, all[:i+1]) {
				t.Errorf("%s: %+v", file, done)
			}
		}
		if now := verified(t, d); !slices.Equal(now[:len(now)-1], all[i+1:]) {
			t.Errorf("%s: verified are %v", file, now)
		}
	}
}

// small makes a scrub of many runs, sections and looks at the inventories, also of little.
func small(o *ScrubOptions) { o.Runs, o.least, o.section, o.atOnce, o.Workers = 5, 1, 100_000, 4, 1 }

// Runs go on where the last has ended, also where that was killed: together they read everything once, but for what the killed one was at.
func TestScrubGoesOn(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(12)
	settings, d := archive(t)
	p.backUp(d)
	p.fill(6)
	set := p.backUp(d)
	if _, err := d.Archive.Put(t.Context(), blobKey(sha256.Sum256([]byte("nobody's")), false), strings.NewReader("nobody's")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	reads := map[string]int{}
	proxied := settings
	proxied.Endpoint = services.Front(t, settings.Endpoint, func(_ http.ResponseWriter, r *http.Request) bool {
		key := strings.TrimPrefix(r.URL.Path, "/"+settings.Name+"/")
		if r.Method == http.MethodGet && (strings.HasPrefix(key, blobsFolder) || strings.HasSuffix(key, dumpFile)) {
			mu.Lock()
			defer mu.Unlock()
			reads[key]++
		}
		return false
	})
	seen := destination(t, proxied)
	for kill := 0; ; kill++ {
		clear(reads)
		step := ""
		if kill > 0 {
			if step = (victimWork{Kind: "scrub", Bucket: p.settings, Destination: proxied, KillAt: kill}).killed(t); step == "" {
				break
			}
		}
		runs, last := 1, Scrubbed{}
		for ; runs <= 10 && !last.Complete; runs++ {
			last = scrub(t, seen, 0, small)
		}
		twice := 0
		for _, n := range reads {
			twice += n - 1
		}
		if int64(len(reads)) != set.Blobs.Count+2 || !last.Complete || runs < 4 {
			t.Errorf("killed in %q: %d keys of %d in %d runs: %+v", step, len(reads), set.Blobs.Count+2, runs, last)
		}
		if kill == 0 && twice > 0 || twice > 10 {
			t.Errorf("killed in %q: %d keys were read twice", step, twice)
		}
	}
	clear(reads)
	if done := scrub(t, seen, 0, small, func(o *ScrubOptions) { o.All = true }); !done.Complete || int64(len(reads)) != set.Blobs.Count+2 {
		t.Errorf("%+v: %d keys", done, len(reads))
	}
	if notes := keysIn(t, settings, scrubFolder); notes <= keptNotes {
		t.Errorf("only %d notes", notes)
	}
	if _, err := d.Prune(t.Context(), PruneOptions{Log: discard}); err != nil || keysIn(t, settings, scrubFolder) != keptNotes {
		t.Errorf("%d notes stay: %v", keysIn(t, settings, scrubFolder), err)
	}
	if done := scrub(t, d, 0, small); done.Complete {
		t.Errorf("the newest note is gone: %+v", done)
	}
}

// A scrub that is killed when it has found damage leaves it to the next, if it has not noted it.
func TestScrubKilledWithDamage(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(5)
	settings, d := archive(t)
	p.backUp(d)
	services.SharedS3(t).Damage(t, settings.Name, blobOf(t, settings, 500))
	for kill := 1; kill <= 4; kill++ {
		(victimWork{Kind: "scrub", Bucket: p.settings, Destination: settings, KillAt: kill}).killed(t)
	}
	last := Scrubbed{}
	for range 10 {
		if last = scrub(t, d, 1, small); last.Complete {
			break
		}
	}
	if !last.Complete || len(verified(t, d)) != 0 {
		t.Errorf("%+v", last)
	}
	if set := p.backUp(d); set.Blobs.Copied != 1 {
		t.Errorf("%+v", set.Blobs)
	}
}

// What breaks off on its way is an error, and no damage.
func TestF13ScrubOfDestinationThatBreaksOff(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	settings, d := archive(t)
	p.backUp(d)
	for _, part := range []string{blobsFolder, inventoryFile, dumpFile} {
		faulty := behind(t, settings, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, part) {
				w.Header().Set("Content-Length", "1000000")
				_, _ = w.Write([]byte("half"))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			return false
		})
		done, err := faulty.Scrub(t.Context(), ScrubOptions{Runs: 1, Log: discard})
		if !errors.Is(err, objectstore.ErrUnavailable) || done.Damaged != 0 || len(verified(t, d)) != 1 {
			t.Errorf("%s: %+v, %v", part, done, err)
		}
	}
}

// Sets that lack damaged blobs do not go with the first prune after that: one of each day stays, beside those that are verified.
func TestF05DamagedSetsStay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	set := func(hours int, damage ...string) Set {
		at := now.Add(-time.Duration(hours) * time.Hour)
		s := Set{Manifest: Manifest{ID: fmt.Sprint(hours), SnapshotTime: at}, written: at, read: now, Damage: damage}
		if len(damage) == 0 {
			s.VerifiedTime = now
		}
		return s
	}
	blob, dump := blobsFolder+"00/00", setKey("x", dumpFile)
	kept := Retention{All: time.Hour, Daily: 30, Minimum: 1}.keep([]Set{set(24*40, blob), set(73), set(72, blob), set(71, blob), set(50, blob, dump), set(20, blob), set(2)}, now)
	for id, want := range map[string]bool{"960": false, "73": true, "72": false, "71": true, "50": false, "20": true, "2": true} {
		if kept[id] != want {
			t.Errorf("a set of %s hours: %v", id, kept[id])
		}
	}
}
