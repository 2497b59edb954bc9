package backup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/oklog/ulid/v2"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

// A damaged blob ends a restore however often that is tried, nothing of it stays, and the next set replaces it; also a copy that is wrong, and
// at which nobody came to look, is not taken for what it should be.
func TestRestoreOfADamagedBlob(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	settings, d := archive(t)
	set := p.backUp(d)
	server := services.SharedS3(t)
	blob := blobOf(t, settings, 50_001) // that two users have: both copies are made at the same time
	server.Damage(t, settings.Name, blob)
	var keys []string
	p.scan(&keys, "select array_agg(object_key) from blobs where encode(sha256, 'hex') = $1", blob[strings.LastIndex(blob, "/")+1:])

	q := vacant(t)
	restore := func() error {
		_, err := Restore(t.Context(), q.restoring(d, func(o *RestoreOptions) { o.Set = set.ID }))
		return err
	}
	for try := range 2 {
		if err := restore(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), blob) {
			t.Errorf("try %d: %v", try, err)
		}
		there := server.Keys(t, q.settings.Name)
		for _, key := range keys {
			if slices.Contains(there, key) {
				t.Errorf("try %d: what is damaged stays", try)
			}
		}
	}
	if found, err := d.set(t.Context(), set.ID); err != nil || found.Verified() {
		t.Errorf("the set counts as verified: %v", err)
	}
	if _, err := server.Client().CopyObject(t.Context(), &s3.CopyObjectInput{
		Bucket: &q.settings.Name, Key: &keys[0], CopySource: aws.String(settings.Name + "/" + blob), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	}); err != nil {
		t.Fatal(err)
	}
	if next := p.backUp(d); next.Blobs.Copied != 1 {
		t.Errorf("%+v", next.Blobs)
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	q.open()
	if rows, wrong := q.check(); rows != 4 || len(wrong) > 0 {
		t.Errorf("%d rows, %v", rows, wrong)
	}
}

// A destination is one platform's: of another's sets a restore would take the newest, and a prune the last. What a restore overwrites may be
// another's.
func TestAnotherPlatformsDestination(t *testing.T) {
	t.Parallel()
	p, q := newPlatform(t), newPlatform(t)
	p.fill(1)
	q.fill(1)
	q.exec("update assetplatform_schema set platform_id = gen_random_uuid()") // all of them are copies of one database
	_, d := archive(t)
	first := p.backUp(d)
	_, err := Create(t.Context(), q.options(d))
	problem(t, err, config.CodeConfigInvalid)
	if err == nil || !strings.Contains(err.Error(), first.ID) {
		t.Errorf("%v", err)
	}
	if safety := q.backUp(d, func(o *CreateOptions) { o.Safety = true }); !safety.Verified() {
		t.Errorf("%+v", safety)
	}
	p.backUp(d)
}

// Blobs are encrypted once: a set whose recipients could not open those of before is not made.
func TestRecipientsChange(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(2)
	_, d := archive(t)
	one, two := newIdentity(t), newIdentity(t)
	p.backUp(d, to(one))
	both := p.backUp(d, to(one, two))
	if want := []string{one.Recipient().String()}; !slices.Equal(both.Readers, want) || both.Blobs.Copied != 0 {
		t.Errorf("%v; %+v", both.Readers, both.Blobs)
	}
	_, err := p.tried(d, to(two))
	problem(t, err, config.CodeConfigInvalid)
	if last := p.backUp(d, to(one)); !slices.Equal(last.Readers, both.Readers) {
		t.Errorf("%v", last.Readers)
	}
}

// What a restore has overwritten takes no regular set's place.
func TestSafetySetsTakeNoPlace(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 23, 0, 0, 0, time.UTC)
	set := func(hours int, safety bool) Set {
		at := now.Add(-time.Duration(hours) * time.Hour)
		return Set{Manifest: Manifest{ID: fmt.Sprint(hours), SnapshotTime: at, Safety: safety}, written: at, VerifiedTime: at}
	}
	kept := Retention{All: time.Hour, Daily: 30, Minimum: 1}.keep([]Set{set(20, false), set(10, false), set(9, true), set(8, true)}, now)
	for id, want := range map[string]bool{"20": false, "10": true, "9": false, "8": true} {
		if kept[id] != want {
			t.Errorf("a set of %s hours: %v", id, kept[id])
		}
	}
}

// A note of a scrub from a clock that was ahead is not the last for ever.
func TestScrubAfterANoteOfTheFuture(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(5)
	_, d := archive(t)
	p.backUp(d)
	scrub(t, d, 0, small)
	for o, err := range d.Archive.List(t.Context(), scrubFolder, "") {
		var at position
		if err == nil {
			err = d.readJSON(t.Context(), o.Key, &at)
		}
		if err == nil {
			err = d.writeJSON(t.Context(), scrubFolder+ulid.MustNew(ulid.Timestamp(time.Now().Add(24*time.Hour)), ulid.DefaultEntropy()).String()+".json", at)
		}
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	for range 30 {
		if scrub(t, d, 0, small).Complete {
			return
		}
	}
	t.Error("it comes to no end")
}
