package store

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"
)

// keepMedia does what the media job does, without its bucket.
func keepMedia(t *testing.T, s *Store, a Asset, metadata any, sizes ...int) (keys []string) {
	t.Helper()
	blob, err := s.UnreadBlob(t.Context(), MediaArgs{a.UserID, hex.EncodeToString(a.SHA256[:])})
	if err != nil {
		t.Fatal(err)
	}
	var thumbnails []Thumbnail
	for _, size := range sizes {
		key, err := s.BeginUpload(t.Context(), a.UserID)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
		thumbnails = append(thumbnails, Thumbnail{size, key, "image/png", 100})
	}
	if err := s.KeepMedia(t.Context(), blob, metadata, thumbnails); err != nil {
		t.Fatal(err)
	}
	return keys
}

// An upload asks for one job, in its transaction; equal bytes are read once, and all assets and versions that have them tell of it.
func TestMedia(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice, bob := newUser(t, s, "alice"), newUser(t, s, "bob")
	jobs := func() int { return query[int](t, s, "select count(*) from river_job where queue = 'media'") }
	a, _ := upload(t, s, alice.ID, "a.png", "same")
	if n := jobs(); n != 1 || a.Metadata != nil || a.HasThumbnail {
		t.Errorf("%d jobs; %s, thumbnail %t", n, a.Metadata, a.HasThumbnail)
	}
	upload(t, s, alice.ID, "b.png", "same")
	upload(t, s, bob.ID, "c.png", "same")
	if n := jobs(); n != 2 {
		t.Errorf("%d jobs, want one for each owner", n)
	}
	key, err := s.BeginUpload(t.Context(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	refused := newAsset(alice.ID, key, "d.png", "other")
	refused.ProjectID = uuid.New()
	if _, _, _, err := s.CommitUpload(t.Context(), refused); err == nil || jobs() != 2 {
		t.Errorf("refused: %v, %d jobs", err, jobs())
	}

	width, height := 640, 480
	keys := keepMedia(t, s, a, ImageMetadata{Width: &width, Height: &height}, 150, 300, 600)
	if _, err := s.UnreadBlob(t.Context(), MediaArgs{alice.ID, hex.EncodeToString(a.SHA256[:])}); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is to be read again: %v", err)
	}
	if n := query[int](t, s, "select count(*) from object_intents where user_id = $1 and delete_after > '-infinity'", alice.ID); n != 1 {
		t.Errorf("%d keys are noted, want that of the refused upload", n)
	}
	third, _ := upload(t, s, alice.ID, "e.png", "same")
	mine, _, _, err := s.ListAssets(t.Context(), alice.ID, AssetFilter{}, Page{Sort: SortCreatedAt, Limit: 10})
	if err != nil || len(mine) != 3 {
		t.Fatalf("%v, %v", mine, err)
	}
	for _, m := range mine {
		if !m.HasThumbnail || len(m.Metadata) == 0 {
			t.Errorf("%s: %s", m.OriginalName, m.Metadata)
		}
	}
	for wanted, key := range map[int]string{150: keys[0], 151: keys[1], 300: keys[1], 600: keys[2], 2000: keys[2]} {
		if found, err := s.Thumbnail(t.Context(), third, wanted); err != nil || found.ObjectKey != key {
			t.Errorf("thumbnail for %d: %s, %v", wanted, found.ObjectKey, err)
		}
	}
	versions, err := s.AssetVersions(t.Context(), alice.ID, third.ID)
	if err != nil || len(versions) != 1 || versions[0].Metadata == nil {
		t.Errorf("versions: %v, %v", versions, err)
	}

	// Whoever deletes the last of them leaves the thumbnails to the collector, also an image that knows nothing of them.
	for _, m := range mine {
		if _, err := s.PurgeAsset(t.Context(), alice.ID, m.ID); err != nil {
			t.Fatal(err)
		}
	}
	left := query[[]string](t, s, "select array_agg(object_key) from object_intents where user_id = $1 and delete_after = '-infinity'", alice.ID)
	for _, key := range keys {
		if !slices.Contains(left, key) {
			t.Errorf("the thumbnail %s is not collected", key)
		}
	}
}

// Bytes that were deleted while they were read take no thumbnails.
func TestMediaOfDeletedBytes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	a, _ := upload(t, s, alice.ID, "a.png", "same")
	blob, err := s.UnreadBlob(t.Context(), MediaArgs{alice.ID, hex.EncodeToString(a.SHA256[:])})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PurgeAsset(t.Context(), alice.ID, a.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.KeepMedia(t.Context(), blob, ImageMetadata{}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// What an image has written that did not know of the job gets one, once.
func TestAskForMedia(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	upload(t, s, alice.ID, "a.png", "old")
	upload(t, s, alice.ID, "b.png", "has one")
	upload(t, s, alice.ID, "c.png", "young")
	exec(t, s, "update blobs set created_at = now() - interval '1 hour' where object_key <> (select object_key from blobs order by created_at desc limit 1)")
	exec(t, s, "delete from river_job where args->>'sha256' in (select encode(sha256, 'hex') from assets where original_name in ('a.png', 'c.png'))")
	for _, want := range []int{1, 0} {
		if asked, err := s.AskForMedia(t.Context(), 100); err != nil || asked != want {
			t.Errorf("asked for %d, want %d; %v", asked, want, err)
		}
	}
}

func TestListByMedia(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	for name, size := range map[string][2]int{"small.png": {16, 16}, "wide.png": {640, 48}, "large.png": {640, 480}} {
		a, _ := upload(t, s, alice.ID, name, name)
		keepMedia(t, s, a, ImageMetadata{Width: &size[0], Height: &size[1]})
	}
	for name, seconds := range map[string]float64{"short.wav": 0.25, "long.wav": 90.5} {
		a, _ := upload(t, s, alice.ID, name, name)
		keepMedia(t, s, a, AudioMetadata{Duration: &seconds})
	}
	upload(t, s, alice.ID, "unread.png", "unread")
	at := func(n int) *int { return &n }
	for _, c := range []struct {
		filter AssetFilter
		want   []string
	}{
		{AssetFilter{Width: Range[int]{Min: at(640)}}, []string{"large.png", "wide.png"}},
		{AssetFilter{Width: Range[int]{Max: at(639)}}, []string{"small.png"}},
		{AssetFilter{Width: Range[int]{Min: at(17)}, Height: Range[int]{Min: at(49), Max: at(480)}}, []string{"large.png"}},
		{AssetFilter{Height: Range[int]{Min: at(481)}}, nil},
		{AssetFilter{Duration: Range[float64]{Min: new(0.25), Max: new(90.4)}}, []string{"short.wav"}},
		{AssetFilter{Duration: Range[float64]{Min: new(0.3)}, Search: "wav"}, []string{"long.wav"}},
	} {
		found, _, total, err := s.ListAssets(t.Context(), alice.ID, c.filter, Page{Sort: SortOriginalName, Ascending: true, Limit: 10})
		var names []string
		for _, a := range found {
			names = append(names, a.OriginalName)
		}
		if err != nil || !slices.Equal(names, c.want) || total.Rows != int64(len(c.want)) {
			t.Errorf("%+v: %q of %d, want %q; %v", c.filter, names, total.Rows, c.want, err)
		}
	}
}

// Of bytes whose metadata came back with a backup the thumbnails are made anew, and what is known of them stays.
func TestMediaReadAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, _ := upload(t, s, newUser(t, s, "alice").ID, "a.png", "bytes")
	width, height, other := 640, 480, 1
	keepMedia(t, s, a, ImageMetadata{Width: &width, Height: &height}, 150)
	exec(t, s, "delete from thumbnails; delete from river_job; update blobs set reread = true")
	for want := range 2 { // the second time it has its job
		if asked, err := s.AskForMedia(t.Context(), 10); err != nil || asked != 1-want {
			t.Errorf("%d jobs, %v", asked, err)
		}
	}
	keepMedia(t, s, a, ImageMetadata{Width: &other}, 150, 300)
	if n := query[int](t, s, "select count(*) from thumbnails"); n != 2 {
		t.Errorf("%d thumbnails", n)
	}
	if n := query[int](t, s, "select count(*) from blobs where width = 640 and metadata ->> 'height' = '480' and not reread"); n != 1 {
		t.Error("its metadata was replaced")
	}
	exec(t, s, "delete from river_job")
	if asked, err := s.AskForMedia(t.Context(), 10); err != nil || asked != 0 {
		t.Errorf("%d jobs, %v", asked, err)
	}
}
