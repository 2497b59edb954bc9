package backup

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/assetplatform/assetplatform/test/services"
)

// In a bucket with Object Lock everything works, removal too: what is removed is an old version from then on, which nobody can take away
// before its time. Each body that is sent has a checksum, without which S3 refuses it there.
func TestF08ObjectLock(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	server := services.SharedS3(t)
	settings := server.LockedBucket(t)
	client := server.Client()
	var mu sync.Mutex
	var bare []string
	d := behind(t, settings, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && r.Header.Get("Content-Md5") == "" && r.Header.Get("X-Amz-Checksum-Sha256")+r.Header.Get("X-Amz-Checksum-Crc32")+r.Header.Get("X-Amz-Trailer") == "" {
			mu.Lock()
			defer mu.Unlock()
			bare = append(bare, kindOf(r))
		}
		return false
	})
	only := p.upload(p.users[0], []byte(strings.Repeat("only in the first set", 100)))
	p.fill(3)
	first := p.backUp(d)
	if _, err := p.store.PurgeAsset(t.Context(), p.users[0].ID, only.ID); err != nil {
		t.Fatal(err)
	}
	last := p.backUp(d)
	for range 3 { // a set, a mark, a sweep
		if pruned, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1}); err != nil || pruned.Held != "" {
			t.Errorf("%+v, %v", pruned, err)
		}
	}
	if l, err := d.List(t.Context()); err != nil || len(l.Sets) != 1 || l.Sets[0].ID != last.ID || len(l.Unfinished)+len(l.Bad) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	p.upload(p.users[0], []byte(strings.Repeat("only in the first set", 100))) // whose blob was removed
	newest := p.backUp(d)
	if newest.Blobs.Copied != 1 {
		t.Errorf("%+v", newest.Blobs)
	}
	blob := blobOf(t, settings, 500)
	if _, err := d.Archive.Replace(t.Context(), blob, strings.NewReader("damaged")); err != nil { // a new version
		t.Error(err)
	}
	if _, err := d.Verify(t.Context(), newest.ID, VerifyOptions{}); err == nil {
		t.Error("damage is not found")
	}
	newest = p.backUp(d)

	// Somebody who has the keys removes everything, and cannot.
	versions, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &settings.Name})
	if err != nil || len(versions.Versions) == 0 {
		t.Fatal(err)
	}
	for _, v := range versions.Versions {
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &settings.Name, Key: v.Key, VersionId: v.VersionId}); err == nil {
			t.Errorf("version %s of %s is gone", *v.VersionId, *v.Key)
		}
		if err := d.Archive.Delete(t.Context(), *v.Key); err != nil {
			t.Error(err)
		}
	}
	if finished, unfinished := sets(t, d); finished+unfinished != 0 {
		t.Errorf("%d sets, %d unfinished", finished, unfinished)
	}
	// Without the marks of the removal all of it is back, also what prune had removed.
	if versions, err = client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &settings.Name}); err != nil {
		t.Fatal(err)
	}
	for _, m := range versions.DeleteMarkers {
		if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &settings.Name, Key: m.Key, VersionId: m.VersionId}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{first.ID, last.ID, newest.ID} {
		if _, err := d.Verify(t.Context(), id, VerifyOptions{}); err != nil {
			t.Error(err)
		}
	}
	q, _ := restored(t, d, func(o *RestoreOptions) { o.Set = newest.ID })
	if rows, wrong := q.check(); rows == 0 || len(wrong) > 0 {
		t.Errorf("%d rows, %v", rows, wrong)
	}
	if len(bare) > 0 {
		t.Errorf("sent without a checksum: %v", bare)
	}
}

// What the service does not let go stays, is told, and keeps nothing else: a set that is locked stays one with all its blobs, and one whose
// manifest went is none.
func TestF08RemovalRefused(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	settings, d := archive(t)
	var ids []string
	for i := range 4 {
		a := p.upload(p.users[0], fmt.Appendf(nil, "%d %s", i, strings.Repeat("only in this set", 100)))
		p.upload(p.users[0], fmt.Appendf(nil, "%d %s", i, strings.Repeat("stays", 100)))
		ids = append(ids, p.backUp(d).ID)
		if _, err := p.store.PurgeAsset(t.Context(), p.users[0].ID, a.ID); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	locked := []string{setKey(ids[0], ""), setKey(ids[1], dumpFile), collectionFolder + "clock-"}
	lock := func(keys ...string) {
		mu.Lock()
		defer mu.Unlock()
		locked = keys
	}
	front := behind(t, settings, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		for _, key := range locked {
			if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, key) {
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>Access Denied because object protected by object lock.</Message></Error>"))
				return true
			}
		}
		return false
	})
	prune := func(removed int) Pruned {
		t.Helper()
		pruned, err := front.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1})
		if err != nil || len(pruned.Removed) != removed {
			t.Errorf("%+v, %v", pruned, err)
		}
		return pruned
	}
	if pruned := prune(2); !strings.Contains(pruned.Held, "2 objects may not be removed") || pruned.Kept != 2 {
		t.Errorf("%+v", pruned)
	}
	l, err := d.List(t.Context())
	if err != nil || len(l.Sets) != 2 || l.Sets[0].ID != ids[0] || len(l.Unfinished) != 1 || l.Unfinished[0] != ids[1] {
		t.Errorf("%+v, %v", l, err)
	}
	if pruned := prune(0); pruned.Collected != 0 || pruned.Held == "" { // what is left of the second one may be a set that is being made
		t.Errorf("%+v", pruned)
	}
	blob := ""
	for key := range needless(t, d, l.Sets) {
		blob = key
	}
	lock(setKey(ids[0], ""), blob)
	if pruned := prune(0); pruned.Collected != 1 || !strings.Contains(pruned.Held, "2 objects may not be removed") {
		t.Errorf("%+v", pruned)
	}
	for _, s := range l.Sets {
		if _, err := d.Verify(t.Context(), s.ID, VerifyOptions{}); err != nil {
			t.Error(err)
		}
	}
	lock()
	prune(1)
	for range 2 {
		prune(0)
	}
	if l, err = d.List(t.Context()); err != nil || len(l.Sets) != 1 || len(l.Unfinished) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	if left := needless(t, d, l.Sets); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

// needless are the blobs that sets do not need.
func needless(t *testing.T, d Destination, sets []Set) map[string]bool {
	t.Helper()
	keys := map[string]bool{}
	if _, err := d.unneeded(t.Context(), sets, func(key string) { keys[key] = true }); err != nil {
		t.Fatal(err)
	}
	return keys
}
