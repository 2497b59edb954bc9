package objectstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

func TestMain(m *testing.M) { os.Exit(services.Main(m)) }

// open returns a bucket that is taken for the platform's own; claim_test.go is about those that are not.
func open(t *testing.T, c config.Bucket) *Bucket {
	t.Helper()
	b := unclaimedBucket(t, c)
	b.claim.Store(&claim{ours: true})
	return b
}

func unclaimedBucket(t *testing.T, c config.Bucket) *Bucket {
	t.Helper()
	b, err := New(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noise is size bytes that differ from seed to seed, without a Seek method.
func noise(seed uint64, size int64) io.Reader {
	var key [32]byte
	key[0] = byte(seed)
	return io.LimitReader(rand.NewChaCha8(key), size)
}

func TestPutAndGet(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	settings.Prefix = "studio/"
	b := open(t, settings)
	for i, size := range []int64{0, 1, 70_000, partSize - 1, partSize, partSize + 1, 2 * partSize, 2*partSize + 12345} {
		key := fmt.Sprintf("blobs/%d", i)
		if err := b.Put(t.Context(), key, noise(uint64(i), size)); err != nil {
			t.Fatalf("put of %d bytes: %v", size, err)
		}
		body, err := b.Get(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatalf("get of %d bytes: %v", size, err)
		}
		got, want := sha256.New(), sha256.New()
		n, err := io.Copy(got, body)
		body.Close()
		_, noiseErr := io.Copy(want, noise(uint64(i), size))
		if err != nil || noiseErr != nil || n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Errorf("%d bytes came back as %d, %v", size, n, err)
		}
	}
	for _, key := range server.Keys(t, settings.Name) {
		if !strings.HasPrefix(key, "studio/blobs/") {
			t.Errorf("key %s lacks the prefix", key)
		}
	}
}

func TestGetRange(t *testing.T) {
	t.Parallel()
	b := open(t, services.SharedS3(t).Bucket(t))
	if err := b.Put(t.Context(), "k", strings.NewReader("0123456789")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		offset, length int64
		want           string
	}{{0, 3, "012"}, {7, 3, "789"}, {4, -1, "456789"}, {9, 1, "9"}} {
		body, err := b.Get(t.Context(), "k", test.offset, test.length)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		body.Close()
		if err != nil || string(got) != test.want {
			t.Errorf("%d+%d: %q, %v", test.offset, test.length, got, err)
		}
	}
}

// Bytes that changed in the bucket do not come back as if nothing had happened.
func TestGetVerifiesTheChecksum(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	b := open(t, settings)
	for _, size := range []int64{1000, partSize + 1000} {
		if err := b.Put(t.Context(), "k", noise(1, size)); err != nil {
			t.Fatal(err)
		}
		server.Damage(t, settings.Name, "k")
		body, err := b.Get(t.Context(), "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, body); err == nil {
			t.Errorf("%d damaged bytes of %d were read without an error", n, size)
		}
		body.Close()
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	b := open(t, services.SharedS3(t).Bucket(t))
	if err := b.Put(t.Context(), "k", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time is no error
		if err := b.Delete(t.Context(), "k"); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Get(t.Context(), "k", 0, -1); !errors.Is(err, ErrNotFound) {
		t.Errorf("get after delete: %v", err)
	}
}

// failing gives some bytes and then an error.
type failing struct {
	io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// A body that fails, however late, leaves nothing, and its own error comes back.
func TestPutOfAFailingBodyLeavesNothing(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	b := open(t, settings)
	for _, size := range []int64{0, 100, partSize, partSize + 1, 2*partSize + 1} {
		for _, cause := range []error{io.ErrUnexpectedEOF, errors.New("too large")} {
			err := b.Put(t.Context(), fmt.Sprint(size), failing{noise(1, size), cause})
			if !errors.Is(err, cause) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%d bytes: %v, want %v", size, err, cause)
			}
		}
	}
	if keys := server.Keys(t, settings.Name); len(keys) > 0 {
		t.Errorf("left in the bucket: %v", keys)
	}
}

func TestPutAbortsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	ctx, cancel := context.WithCancel(t.Context())
	body := io.MultiReader(noise(1, partSize+1), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, io.EOF
	}))
	if err := open(t, settings).Put(ctx, "k", body); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if keys := server.Keys(t, settings.Name); len(keys) > 0 {
		t.Errorf("left in the bucket: %v", keys)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Discard removes what a process that died in the middle of Put has left, and nothing else.
func TestDiscard(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	b := open(t, settings)
	for _, key := range []string{"blobs/ab/abc", "blobs/ab/abcd"} {
		if _, err := server.Client().CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &settings.Name, Key: &key}); err != nil {
			t.Fatal(err)
		}
		if err := b.Put(t.Context(), key, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := b.Discard(t.Context(), "blobs/ab/abc"); err != nil {
			t.Fatal(err)
		}
	}
	if keys := fmt.Sprint(server.Keys(t, settings.Name)); keys != "[blobs/ab/abcd upload:blobs/ab/abcd]" {
		t.Errorf("left: %s", keys)
	}
}

// However many uploads there are, and however large, their memory is that of the slots.
func TestUploadsShareBoundedMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what counts is what is held, not when the collector comes round
	server := services.SharedS3(t)
	b := open(t, server.Bucket(t))
	var peak atomic.Int64
	sample := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		for seen := peak.Load(); int64(m.HeapInuse) > seen && !peak.CompareAndSwap(seen, int64(m.HeapInuse)); seen = peak.Load() {
		}
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for i := range 2 * uploadSlots {
		all.Go(func() {
			body := noise(uint64(i), 2*partSize)
			if err := b.Put(t.Context(), fmt.Sprint(i), readerFunc(func(p []byte) (int, error) { sample(); return body.Read(p) })); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	const limit = uploadSlots*partSize + 40<<20
	if grown := peak.Load() - int64(before.HeapInuse); grown > limit {
		t.Errorf("the heap grew by %d MB, the limit is %d MB", grown>>20, limit>>20)
	}
}

// Slow uploads of one user leave most of the slots to the others, and all of them end.
func TestOneUserDoesNotHoldAllSlots(t *testing.T) {
	t.Parallel()
	b := open(t, services.SharedS3(t).Bucket(t))
	slow, other := uuid.New(), uuid.New()
	var begun atomic.Int64
	release := make(chan struct{})
	var all sync.WaitGroup
	for i := range uploadSlots {
		all.Go(func() {
			body := readerFunc(func([]byte) (int, error) {
				begun.Add(1)
				<-release
				return 0, io.EOF
			})
			if err := b.PutFor(t.Context(), slow, fmt.Sprint(i), body); err != nil {
				t.Error(err)
			}
		})
	}
	waiting := func() int {
		b.shares.mu.Lock()
		defer b.shares.mu.Unlock()
		if own := b.shares.users[slow]; own != nil {
			return own.uploads
		}
		return 0
	}
	for waiting() < uploadSlots || begun.Load() < userSlots {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.PutFor(ctx, other, "other", strings.NewReader("x")); err != nil {
		t.Errorf("another user: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := b.PutFor(ended, slow, "late", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("one more of the same user: %v", err)
	}
	if n := begun.Load(); n != userSlots {
		t.Errorf("%d uploads of one user at a time, want %d", n, userSlots)
	}
	close(release)
	all.Wait()
	if n := len(b.shares.users); n != 0 {
		t.Errorf("%d users are kept", n)
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	var seen []string
	b, err := New(t.Context(), services.SharedS3(t).Bucket(t), func(operation string, took time.Duration, err error) {
		seen = append(seen, fmt.Sprint(operation, " ", err == nil, " ", took > 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	b.claim.Store(&claim{ours: true})
	if err := b.Put(t.Context(), "k", strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	if _, err := b.Get(t.Context(), "other", 0, -1); err == nil {
		t.Error("got what is not there")
	}
	if err := errors.Join(b.Delete(t.Context(), "k"), b.Check(t.Context())); err != nil {
		t.Error(err)
	}
	if got := strings.Join(seen, ", "); got != "put true true, get false true, delete true true, check true true" {
		t.Error(got)
	}
}

func TestCheck(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true") // for "no credentials"
	server := services.SharedS3(t)
	good := server.Bucket(t)
	if err := open(t, good).Check(t.Context()); err != nil {
		t.Errorf("a good bucket: %v", err)
	}
	for name, test := range map[string]struct {
		edit func(*config.Bucket)
		says []string
	}{
		"missing":        {func(c *config.Bucket) { c.Name = "nowhere" }, []string{"bucket nowhere does not exist", "S3_BUCKET_NAME"}},
		"wrong secret":   {func(c *config.Bucket) { c.SecretKey = "hunter2" }, []string{"SignatureDoesNotMatch", "S3_SECRET_KEY"}},
		"wrong key":      {func(c *config.Bucket) { c.AccessKey = "stranger" }, []string{"refuses the credentials", "S3_ACCESS_KEY"}},
		"refused":        {func(c *config.Bucket) { c.Endpoint = "http://127.0.0.1:1" }, []string{"http://127.0.0.1:1", "refuses connections"}},
		"unknown host":   {func(c *config.Bucket) { c.Endpoint = "http://s3.invalid" }, []string{"http://s3.invalid", "unknown"}},
		"not S3":         {func(c *config.Bucket) { c.Endpoint = "https://" + server.Address }, []string{"cannot be reached"}},
		"no credentials": {func(c *config.Bucket) { c.AccessKey, c.SecretKey = "", "" }, []string{"no credentials"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			test.edit(&c)
			err := open(t, c).Check(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			if refuses := slices.Contains([]string{"missing", "wrong secret", "wrong key"}, name); errors.Is(err, ErrRefused) != refuses {
				t.Errorf("%q is taken for a refusal: %t", err, !refuses)
			}
			for _, says := range append(test.says, c.Name) {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%q does not say %q", err, says)
				}
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), services.SecretKey) || strings.Contains(err.Error(), "\n") {
				t.Errorf("unfit for people: %q", err)
			}
		})
	}
}

// A right that is missing is found before anybody uploads, and one that is lost or
// granted later at the next check.
func TestCheckOfRights(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	settings.AccessKey, settings.SecretKey = services.GuestAccessKey, services.GuestSecretKey
	us := uuid.New()
	check := func(b *Bucket) error {
		if err := b.Check(t.Context()); err != nil {
			return err
		}
		return b.Claim(t.Context(), us)
	}
	all := []string{"s3:ListBucket", "s3:PutObject", "s3:GetObject", "s3:DeleteObject"}
	for i, missing := range all {
		server.Grant(t, settings.Name, slices.Concat(all[:i], all[i+1:])...)
		err := check(unclaimedBucket(t, settings))
		if err == nil || !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), settings.Name) || strings.Contains(err.Error(), services.GuestSecretKey) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	server.Grant(t, settings.Name, all...)
	b := unclaimedBucket(t, settings)
	if err := errors.Join(check(b), b.Put(t.Context(), "k", strings.NewReader("x"))); err != nil {
		t.Error(err)
	}
	for _, lost := range []struct {
		right string
		call  func() error
	}{
		{"s3:PutObject", func() error { return b.Put(t.Context(), "k", strings.NewReader("x")) }},
		{"s3:PutObject", func() error { return b.Put(t.Context(), "k", noise(1, partSize+1)) }},
		{"s3:GetObject", func() error { _, err := b.Get(t.Context(), "k", 0, -1); return err }},
		{"s3:DeleteObject", func() error { return b.Delete(t.Context(), "k") }},
	} {
		server.Grant(t, settings.Name, slices.DeleteFunc(slices.Clone(all), func(right string) bool { return right == lost.right })...)
		if err := lost.call(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("without %s: %v", lost.right, err)
		}
		if err := check(b); err == nil || !strings.Contains(err.Error(), lost.right) {
			t.Errorf("%s was lost: %v", lost.right, err)
		}
		server.Grant(t, settings.Name, all...)
		if err := check(b); err != nil {
			t.Errorf("%s was granted again: %v", lost.right, err)
		}
	}
	if keys := fmt.Sprint(server.Keys(t, settings.Name)); keys != "[k platform-id]" {
		t.Errorf("left: %s", keys)
	}
}

// AWS answers so when a request is signed for another region than the bucket's.
func TestCheckOfAWrongRegion(t *testing.T) {
	t.Parallel()
	for status, body := range map[int]string{
		http.StatusMovedPermanently: "",
		http.StatusBadRequest:       "<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting 'eu-west-1'</Message></Error>",
	} {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			if r.Method != http.MethodHead {
				_, _ = io.WriteString(w, body)
			}
		}))
		defer service.Close()
		b := open(t, config.Bucket{Name: "b", Region: "us-east-1", Endpoint: service.URL, AccessKey: "a", SecretKey: "s"})
		if err := b.Check(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "S3_REGION") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestCheckOfAHangingService(t *testing.T) {
	t.Parallel()
	server := services.NewS3(t)
	b := open(t, server.Bucket(t))
	server.Pause()
	defer server.Resume()
	start := time.Now()
	if err := b.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > checkCall+time.Second {
		t.Errorf("took %v", took)
	}
}

// openImpatient is open with limits that a test can wait for.
func openImpatient(t *testing.T, c config.Bucket) (*Bucket, patience) {
	t.Helper()
	limits := patience{write: time.Second, answer: 2 * time.Second, read: 3 * time.Second}
	b, err := newBucket(t.Context(), c, nil, limits)
	if err != nil {
		t.Fatal(err)
	}
	b.claim.Store(&claim{ours: true})
	return b, limits
}

// A line that is slow, and moves, may take as long as it needs for a request: longer than
// one that hangs, and longer than one that is silent.
func TestSlowLine(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var connections atomic.Int64
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			far, err := net.Dial("tcp", server.Address)
			if err != nil {
				near.Close()
				continue
			}
			_ = near.(*net.TCPConn).SetReadBuffer(64 << 10)
			go func() { _, _ = io.Copy(near, far) }()
			go func() {
				defer far.Close()
				for err := error(nil); err == nil; time.Sleep(10 * time.Millisecond) {
					_, err = io.CopyN(far, near, 6<<10)
				}
			}()
		}
	}()
	settings.Endpoint = "http://" + l.Addr().String()
	b, limits := openImpatient(t, settings)
	start := time.Now()
	if err := b.Put(t.Context(), "k", noise(1, 4<<20)); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < 2*limits.read {
		t.Errorf("took only %v", took)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("it took %d connections", n)
	}
}

// A connection that was idle for a while gives the next request as much time as a new one.
func TestIdleConnection(t *testing.T) {
	t.Parallel()
	var requests, connections atomic.Int64
	var pause time.Duration
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		time.Sleep(pause)
		_, _ = io.WriteString(w, "x")
	}))
	service.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	service.Start()
	defer service.Close()
	b, limits := openImpatient(t, config.Bucket{Name: "b", Region: "r", Endpoint: service.URL, AccessKey: "a", SecretKey: "s"})
	get := func() {
		t.Helper()
		body, err := b.Get(t.Context(), "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(body); string(text) != "x" {
			t.Errorf("%q, %v", text, err)
		}
		body.Close()
	}
	get()
	time.Sleep(limits.read - 400*time.Millisecond)
	pause = limits.answer - 200*time.Millisecond
	get()
	if requests.Load() != 2 || connections.Load() != 1 {
		t.Errorf("two calls made %d requests on %d connections", requests.Load(), connections.Load())
	}
}

func TestAwayAndBack(t *testing.T) {
	t.Parallel()
	server := services.NewS3(t)
	b := open(t, server.Bucket(t))
	if err := b.Put(t.Context(), "k", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := b.Put(t.Context(), "l", strings.NewReader("x")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("put while it is away: %v", err)
	}
	if _, err := b.Get(t.Context(), "k", 0, -1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("get while it is away: %v", err)
	}
	server.Start(t)
	if _, err := b.Get(t.Context(), "k", 0, -1); err != nil {
		t.Errorf("get after it came back: %v", err)
	}
}

// A service whose certificate a studio's own authority has signed is reached with that, and named without it.
func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	server := services.SharedS3(t)
	settings := server.Bucket(t)
	target, err := url.Parse(settings.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	authority := services.NewAuthority(t)
	cert, key := authority.Issue(t, "localhost", time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}})
	front.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	defer front.Close()
	settings.Endpoint = "https://localhost:" + front.URL[strings.LastIndex(front.URL, ":")+1:]
	if err := open(t, settings).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") || !strings.Contains(err.Error(), "S3_CA") {
		t.Errorf("without the authority: %v", err)
	}
	settings.CA = authority.PEM()
	b := unclaimedBucket(t, settings)
	large := noise(9, partSize+1)
	if err := errors.Join(b.Check(t.Context()), b.Claim(t.Context(), uuid.New()), b.Put(t.Context(), "k", large)); err != nil {
		t.Error(err)
	}
	settings.Endpoint = strings.Replace(settings.Endpoint, "localhost", "127.0.0.1", 1)
	if err := open(t, settings).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("by a name that the certificate is not for: %v", err)
	}
}
