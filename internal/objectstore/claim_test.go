package objectstore

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

// Of platforms that are given one bucket, however close together, one gets it.
func TestClaimIsForOne(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	const platforms = 8
	errs := make([]error, platforms)
	buckets := make([]*Bucket, platforms)
	var all sync.WaitGroup
	for i := range platforms {
		buckets[i] = unclaimedBucket(t, settings)
		all.Go(func() { errs[i] = buckets[i].Claim(t.Context(), Owner{Platform: uuid.New()}) })
	}
	all.Wait()
	winner := slices.Index(errs, nil)
	for i, err := range errs {
		if b := buckets[i]; i == winner {
			if !b.Claimed() || b.Put(t.Context(), "k", strings.NewReader("x")) != nil {
				t.Error("who claimed the bucket cannot use it")
			}
		} else if err == nil || b.Claimed() || !strings.Contains(err.Error(), config.ForeignBucket) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// As long as nobody knows whose the bytes are, they stay as they are.
func TestUnclaimedBucket(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	theirs, away := unclaimedBucket(t, settings), settings
	if err := errors.Join(theirs.Claim(t.Context(), Owner{Platform: uuid.New()}), theirs.Put(t.Context(), "k", strings.NewReader("x"))); err != nil {
		t.Fatal(err)
	}
	away.Endpoint = "http://127.0.0.1:1"
	b := unclaimedBucket(t, away)
	if err := b.Claim(t.Context(), Owner{Platform: uuid.New()}); err == nil || b.Claimed() {
		t.Fatal("claimed what cannot be reached")
	}
	b.client = theirs.client // it is back, and nobody has looked yet
	body, err := b.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Errorf("get: %v", err)
	} else {
		body.Close()
	}
	for call, err := range map[string]error{
		"put": b.Put(t.Context(), "k2", strings.NewReader("x")), "delete": b.Delete(t.Context(), "k"), "discard": b.Discard(t.Context(), "k"),
	} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", call, err)
		}
	}
	if keys := server.Keys(t, settings.Name); !slices.Equal(keys, []string{"k", ownerObject}) {
		t.Errorf("the bucket holds %v", keys)
	}
}

// A platform keeps its hands off another's bytes, until it is told that nobody knows them any more.
func TestForeignBucket(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	theirs, ours := unclaimedBucket(t, settings), unclaimedBucket(t, settings)
	us := uuid.New()
	if err := errors.Join(theirs.Claim(t.Context(), Owner{Platform: uuid.New()}), theirs.Put(t.Context(), "k", strings.NewReader("x"))); err != nil {
		t.Fatal(err)
	}
	if err := ours.Claim(t.Context(), Owner{Platform: us}); !errors.Is(err, ErrRefused) {
		t.Fatal("two platforms have claimed one bucket")
	}
	if ours.proven.Load() {
		t.Error("the rights were tried, by writing, in another platform's bucket")
	}
	_, err := ours.Get(t.Context(), "k", 0, -1)
	for call, err := range map[string]error{
		"get": err, "put": ours.Put(t.Context(), "k2", strings.NewReader("x")), "delete": ours.Delete(t.Context(), "k"), "discard": ours.Discard(t.Context(), "k"),
	} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s of another platform's: %v", call, err)
		}
	}
	if keys := server.Keys(t, settings.Name); !slices.Equal(keys, []string{"k", ownerObject}) {
		t.Errorf("the bucket holds %v", keys)
	}

	beside := settings
	beside.Prefix = "second/"
	if err := unclaimedBucket(t, beside).Claim(t.Context(), Owner{Platform: us}); err != nil {
		t.Errorf("under another prefix: %v", err)
	}
	key := ownerObject
	if _, err := server.Client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &settings.Name, Key: &key}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ours.Claim(t.Context(), Owner{Platform: us}), ours.Put(t.Context(), "k2", strings.NewReader("x"))); err != nil {
		t.Errorf("after it was handed over: %v", err)
	}
	if err := unclaimedBucket(t, settings).Claim(t.Context(), Owner{Platform: us}); err != nil {
		t.Errorf("another pod of the same platform: %v", err)
	}
}

// What was seen once does not hold for good: once a minute, and not more often, the mark is
// read again.
func TestClaimIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	us, them := uuid.New(), uuid.New()
	calls := 0
	b, err := New(t.Context(), settings, func(string, time.Duration, error) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	claimOften := func() (last error) {
		for range 5 {
			last = b.Claim(t.Context(), Owner{Platform: us})
		}
		return last
	}
	aMinuteLater := func() {
		c := *b.claim.Load()
		c.seen = c.seen.Add(-claimAge)
		b.claim.Store(&c)
	}
	remove := func() {
		key := ownerObject
		if _, err := server.Client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &settings.Name, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	if err := claimOften(); err != nil || calls != 1 {
		t.Errorf("at first: %d calls, %v", calls, err)
	}
	aMinuteLater()
	if err := claimOften(); err != nil || calls != 2 {
		t.Errorf("a minute later: %d calls, %v", calls, err)
	}

	remove()
	aMinuteLater()
	if err := claimOften(); err != nil || calls != 3 || !slices.Contains(server.Keys(t, settings.Name), ownerObject) {
		t.Errorf("after the mark was removed: %d calls, %v", calls, err)
	}

	remove()
	if err := unclaimedBucket(t, settings).Claim(t.Context(), Owner{Platform: them}); err != nil {
		t.Fatal(err)
	}
	aMinuteLater()
	if err := claimOften(); err == nil || b.Claimed() || !strings.Contains(err.Error(), config.ForeignBucket) || strings.Contains(err.Error(), them.String()) {
		t.Errorf("after another platform has claimed it: %v", err)
	}
	if err := b.Put(t.Context(), "k", strings.NewReader("x")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("put into what is another platform's by now: %v", err)
	}
}

// A process whose database became another one, with another platform's id, does not go on.
func TestClaimOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	server := services.NewS3(t)
	settings := server.Bucket(t)
	b := unclaimedBucket(t, settings)
	first, second := uuid.New(), uuid.New()
	if err := errors.Join(b.Claim(t.Context(), Owner{Platform: first}), b.Put(t.Context(), "k", strings.NewReader("x"))); err != nil {
		t.Fatal(err)
	}
	if err := b.Claim(t.Context(), Owner{Platform: second}); err == nil || !strings.Contains(err.Error(), config.ForeignBucket) {
		t.Errorf("the bucket of the database before: %v", err)
	}
	if err := b.Put(t.Context(), "k", strings.NewReader("y")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
	if err := errors.Join(b.Claim(t.Context(), Owner{Platform: first}), b.Put(t.Context(), "k", strings.NewReader("x"))); err != nil {
		t.Errorf("the database before is back: %v", err)
	}
	server.Stop()
	if err := b.Claim(t.Context(), Owner{Platform: second}); err == nil || b.Claimed() {
		t.Errorf("while the bucket is away: %v", err)
	}
}

// Services that know no conditional writes refuse the header.
func TestClaimWithoutConditions(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNotImplemented, http.StatusBadRequest} {
		settings := services.SharedS3(t).Bucket(t)
		settings.Endpoint = services.Front(t, settings.Endpoint, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || r.Header.Get("If-None-Match")+r.Header.Get("If-Match") == "" {
				return false
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented</Message></Error>")
			return true
		})
		b := unclaimedBucket(t, settings)
		if err := errors.Join(b.Claim(t.Context(), Owner{Platform: uuid.New()}), b.Put(t.Context(), "k", strings.NewReader("x"))); err != nil {
			t.Error(err)
		}
		if err := unclaimedBucket(t, settings).Claim(t.Context(), Owner{Platform: uuid.New()}); !errors.Is(err, ErrRefused) {
			t.Errorf("another platform: %v", err)
		}
	}
}

// A bucket that is seen to be used is not handed over for another database than the one that uses it; one that was left is.
func TestHandOver(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	us, other := Owner{uuid.New(), uuid.New()}, Owner{uuid.New(), uuid.New()}
	clone := Owner{us.Platform, uuid.New()} // another database of the same platform
	mark := func() string {
		t.Helper()
		m, err := unclaimedBucket(t, settings).readMark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return m.platform + m.note
	}
	claim := func(o Owner) {
		t.Helper()
		if err := unclaimedBucket(t, settings).Claim(t.Context(), o); err != nil || mark() != o.Platform.String()+inUse+o.Instance.String() {
			t.Fatalf("%v, %s", err, mark())
		}
	}
	hands := func(why string, from Owner, to uuid.UUID) {
		t.Helper()
		if _, err := unclaimedBucket(t, settings).HandOver(t.Context(), from, to, uuid.Nil); err != nil || mark() != to.String() {
			t.Errorf("%s: %v, %s", why, err, mark())
		}
	}
	hands("nobody's", Owner{}, us.Platform)
	hands("of a restore that goes on", other, us.Platform)
	claim(us)
	for why, from := range map[string]Owner{"an empty database": {}, "another platform's": other, "a clone": clone} {
		var used *InUse
		if _, err := unclaimedBucket(t, settings).HandOver(t.Context(), from, us.Platform, uuid.Nil); !errors.As(err, &used) || time.Since(used.At) > time.Minute || mark() != us.Platform.String()+inUse+us.Instance.String() {
			t.Errorf("for %s: %v, %s", why, err, mark())
		}
	}
	hands("into its own database", us, us.Platform)
	claim(us)
	hands("to another set's platform", us, other.Platform)
	hands("and back", other, us.Platform)
	claim(us)
	server.Age(t, settings.Name, ownerObject, abandoned+time.Minute)
	hands("abandoned", Owner{}, us.Platform)
}

// Of two databases of one platform, one of which was restored from a backup of the other, one has the bucket, as long as it uses it.
func TestClaimOfACopy(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	us := Owner{uuid.New(), uuid.New()}
	clone := Owner{us.Platform, uuid.New()}
	if err := unclaimedBucket(t, settings).Claim(t.Context(), us); err != nil {
		t.Fatal(err)
	}
	b := unclaimedBucket(t, settings)
	if err := b.Claim(t.Context(), clone); !errors.Is(err, ErrRefused) || b.Claimed() || strings.Contains(err.Error(), config.ForeignBucket) {
		t.Errorf("%v", err)
	}
	if err := b.Put(t.Context(), "k", strings.NewReader("x")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
	if err := unclaimedBucket(t, settings).Claim(t.Context(), us); err != nil {
		t.Errorf("another pod: %v", err)
	}
	server.Age(t, settings.Name, ownerObject, abandoned+time.Minute)
	if err := b.Claim(t.Context(), clone); err != nil {
		t.Errorf("after the other has gone: %v", err)
	}
	if err := unclaimedBucket(t, settings).Claim(t.Context(), us); err == nil {
		t.Error("both have it")
	}
}

// While nobody can ask the database, the mark stays young all the same.
func TestRenew(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	b := unclaimedBucket(t, settings)
	if err := b.Renew(t.Context()); err != nil || len(server.Keys(t, settings.Name)) != 0 {
		t.Errorf("nobody's: %v", err)
	}
	if err := b.Claim(t.Context(), Owner{uuid.New(), uuid.New()}); err != nil {
		t.Fatal(err)
	}
	server.Age(t, settings.Name, ownerObject, renewal+time.Minute)
	c := *b.claim.Load()
	c.seen = c.seen.Add(-claimAge)
	b.claim.Store(&c)
	err := b.Renew(t.Context())
	if m, read := b.readMark(t.Context()); err != nil || read != nil || m.age > time.Minute {
		t.Errorf("%s old: %v, %v", m.age, err, read)
	}
}

// As long as a platform serves its mark stays young.
func TestClaimIsRenewed(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	us := uuid.New()
	age := func(by time.Duration) time.Duration {
		t.Helper()
		server.Age(t, settings.Name, ownerObject, by)
		b := unclaimedBucket(t, settings)
		if err := b.Claim(t.Context(), Owner{Platform: us}); err != nil {
			t.Fatal(err)
		}
		m, err := b.readMark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return m.age
	}
	if err := unclaimedBucket(t, settings).Claim(t.Context(), Owner{Platform: us}); err != nil {
		t.Fatal(err)
	}
	if got := age(renewal / 2); got < renewal/2-time.Second {
		t.Errorf("written again after %s: each pod looks each minute", got)
	}
	if got := age(renewal + time.Minute); got > time.Minute {
		t.Errorf("%s old", got)
	}
}
