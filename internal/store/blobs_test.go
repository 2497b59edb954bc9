package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// bucket remembers which keys hold an object.
type bucket struct {
	mu   sync.Mutex
	keys map[string]bool
}

func newBucket() *bucket { return &bucket{keys: map[string]bool{}} }

func (b *bucket) put(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys[key] = true
}

func (b *bucket) remove(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.keys, key)
	return nil
}

func TestEqualBytesAreKeptOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice, bob := newUser(t, s, "alice"), newUser(t, s, "bob")
	first, firstKey := upload(t, s, alice.ID, "a.png", "same")
	second, secondKey := upload(t, s, alice.ID, "b.png", "same")
	_, bobsKey := upload(t, s, bob.ID, "c.png", "same")
	for _, a := range []Asset{first, second} {
		if key, err := s.ObjectKey(t.Context(), a); err != nil || key != firstKey {
			t.Errorf("%s is at %s, want %s; %v", a.OriginalName, key, firstKey, err)
		}
	}
	if n := query[int](t, s, "select count(*) from blobs"); n != 2 {
		t.Errorf("%d blobs, want one for each owner", n)
	}
	objects := newBucket()
	for _, key := range []string{firstKey, secondKey, bobsKey} {
		objects.put(key)
	}
	if key, err := s.CollectObject(t.Context(), "", objects.remove); err != nil || key != secondKey {
		t.Errorf("collected %s, want the second copy %s; %v", key, secondKey, err)
	}
	if key, err := s.CollectObject(t.Context(), "", objects.remove); err != nil || key != "" {
		t.Errorf("collected %s as well; %v", key, err)
	}

	if orphan, err := s.PurgeAsset(t.Context(), alice.ID, first.ID); err != nil || orphan != "" {
		t.Errorf("purge of one of two: orphan %q, %v", orphan, err)
	}
	if orphan, err := s.PurgeAsset(t.Context(), alice.ID, second.ID); err != nil || orphan != firstKey {
		t.Errorf("purge of the last: orphan %q, %v", orphan, err)
	}
	if err := s.DiscardObject(t.Context(), alice.ID, firstKey, objects.remove); err != nil {
		t.Error(err)
	}
	if len(objects.keys) != 1 || !objects.keys[bobsKey] {
		t.Errorf("left in the bucket: %v", objects.keys)
	}
}

// Uploads and deletes of the same bytes in any order never lose bytes that an asset
// needs, nor leave any that none needs.
func TestConcurrentUploadsAndDeletesOfEqualBytes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	objects := newBucket()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			var mine []Asset
			for step := range 40 {
				if len(mine) > 0 && rand.IntN(2) == 0 {
					a := mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					orphan, err := s.PurgeAsset(t.Context(), alice.ID, a.ID)
					if err == nil && orphan != "" {
						err = s.DiscardObject(t.Context(), alice.ID, orphan, objects.remove)
					}
					if err != nil {
						t.Errorf("purge: %v", err)
					}
					continue
				}
				key, err := s.BeginUpload(t.Context(), alice.ID)
				if err != nil {
					t.Errorf("begin: %v", err)
					return
				}
				objects.put(key)
				content := fmt.Sprint("content ", rand.IntN(2))
				a, duplicate, _, err := s.CommitUpload(t.Context(), newAsset(alice.ID, key, fmt.Sprint(worker, step), content))
				if err == nil && duplicate {
					err = s.DiscardObject(t.Context(), alice.ID, key, objects.remove)
				}
				if err != nil {
					t.Errorf("upload: %v", err)
					return
				}
				mine = append(mine, a)
			}
		})
	}
	all.Wait()

	wrong := query[int](t, s, `
select count(*) from blobs b full join (select user_id, sha256, count(*) as n from assets group by 1, 2) a using (user_id, sha256)
where b.refs is distinct from a.n`)
	if wrong != 0 {
		t.Errorf("%d blobs have a wrong number of references", wrong)
	}
	if n := query[int](t, s, "select count(*) from object_intents"); n != 0 {
		t.Errorf("%d notes are left", n)
	}
	rows, _ := s.pool.Query(t.Context(), "select object_key from blobs")
	defer rows.Close()
	blobs := 0
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			t.Fatal(err)
		}
		if !objects.keys[key] {
			t.Errorf("the bytes of %s are lost", key)
		}
		blobs++
	}
	if len(objects.keys) != blobs {
		t.Errorf("%d objects for %d blobs", len(objects.keys), blobs)
	}
}

// While a backup is made no object goes to which a row has referred since.
func TestHoldObjects(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	a, key := upload(t, s, alice.ID, "a.png", "bytes")
	old, err := s.BeginUpload(t.Context(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, s, "update object_intents set delete_after = now() - interval '1 hour'")
	release, err := s.HoldObjects(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	collects := func(want string) {
		t.Helper()
		if key, err := s.CollectObject(t.Context(), "", func(context.Context, string) error { return nil }); err != nil || key != want {
			t.Errorf("collected %q, want %q; %v", key, want, err)
		}
	}
	collects("")
	if orphan, err := s.PurgeAsset(t.Context(), alice.ID, a.ID); err != nil || orphan != "" {
		t.Errorf("condemned: %q, %v", orphan, err)
	}
	release()
	collects(old)
	collects("") // the set is read back, and may be made again
	exec(t, s, "update object_intents set delete_after = delete_after - interval '1 day'")
	collects(key)
	// A lease that nobody renews ends by itself.
	if _, err := s.HoldObjects(t.Context(), "dies"); err != nil {
		t.Fatal(err)
	}
	exec(t, s, "update backup_leases set renewed_at = now() - interval '16 minutes'")
	b, key := upload(t, s, alice.ID, "b.png", "bytes")
	if orphan, err := s.PurgeAsset(t.Context(), alice.ID, b.ID); err != nil || orphan != key {
		t.Errorf("condemned: %q, want %q; %v", orphan, key, err)
	}
}

// A commit whose answer was lost may have succeeded: the upload's clean-up must not take its bytes.
func TestDiscardAfterCommitDoesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	_, key := upload(t, s, alice.ID, "a.png", "bytes")
	err := s.DiscardObject(t.Context(), alice.ID, key, func(context.Context, string) error {
		t.Error("asked to delete the bytes of an asset")
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCollectOnlyWhatIsDue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	fresh, err := s.BeginUpload(t.Context(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	stale, err := s.BeginUpload(t.Context(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, s, "update object_intents set delete_after = delete_after - interval '24 hours' where object_key = $1", stale)

	refuse := func(context.Context, string) error { return errors.New("bucket is away") }
	if key, err := s.CollectObject(t.Context(), "", refuse); err == nil || key != stale {
		t.Errorf("a failed delete: %s, %v", key, err)
	}
	if key, err := s.CollectObject(t.Context(), stale, refuse); err != nil || key != "" {
		t.Errorf("behind the failed one: %s, %v", key, err)
	}

	// While the object is being deleted its upload cannot be committed any more.
	deleting, committed := make(chan struct{}), make(chan error)
	go func() {
		<-deleting
		_, _, _, err := s.CommitUpload(t.Context(), newAsset(alice.ID, stale, "late.png", "late"))
		committed <- err
	}()
	key, err := s.CollectObject(t.Context(), "", func(context.Context, string) error {
		close(deleting)
		time.Sleep(200 * time.Millisecond)
		return nil
	})
	if err != nil || key != stale {
		t.Errorf("collected %s, %v", key, err)
	}
	if err := <-committed; !errors.Is(err, ErrUploadExpired) {
		t.Errorf("late commit: %v", err)
	}
	if n := query[int](t, s, "select count(*) from assets"); n != 0 {
		t.Errorf("%d assets without bytes", n)
	}
	if left := query[string](t, s, "select object_key from object_intents"); left != fresh {
		t.Errorf("left: %s, want the fresh one", left)
	}
}

func TestPurgeTrash(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	var keys []string
	for i := range 5 {
		a, key := upload(t, s, alice.ID, fmt.Sprint(i), fmt.Sprint("bytes ", i))
		keys = append(keys, key)
		if i > 0 {
			if err := s.TrashAsset(t.Context(), alice.ID, a.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec(t, s, "update assets set deleted_at = deleted_at - interval '2 h' where original_name in ('1', '2', '3')")
	for round, want := range []int{2, 1, 0} {
		found, err := s.PurgeTrash(t.Context(), time.Now().Add(-time.Hour), 2)
		if err != nil || found != want {
			t.Errorf("round %d: %d, %v; want %d", round, found, err, want)
		}
	}
	// One that cannot be deleted stays, and the others go.
	exec(t, s, "update assets set deleted_at = deleted_at - interval '2 h' where original_name = '4'")
	broken, _ := upload(t, s, alice.ID, "broken", "broken")
	if err := s.TrashAsset(t.Context(), alice.ID, broken.ID); err != nil {
		t.Fatal(err)
	}
	exec(t, s, "update assets set deleted_at = deleted_at - interval '9 h' where original_name = 'broken'")
	exec(t, s, "update blobs set refs = 0 where sha256 = (select sha256 from assets where original_name = 'broken')")
	if purged, err := s.PurgeTrash(t.Context(), time.Now().Add(-time.Hour), 2); purged != 1 || err == nil {
		t.Errorf("with a broken one: %d, %v", purged, err)
	}
	if n := query[int](t, s, "select count(*) from assets"); n != 2 {
		t.Errorf("%d assets left, want the one outside of the trash and the broken one", n)
	}
	due := query[[]string](t, s, "select array_agg(object_key order by object_key) from object_intents where delete_after <= now()")
	if len(due) != 4 {
		t.Errorf("due for collection: %v of %v", due, keys)
	}
}
