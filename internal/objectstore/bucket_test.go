package objectstore

import (
	"bytes"
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
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	for i, size := range []int64{0, 1, 70_000, PartSize - 1, PartSize, PartSize + 1, 2 * PartSize, 2*PartSize + 12345} {
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
	for _, size := range []int64{1000, PartSize + 1000} {
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

// openImpatient is open with limits that a test can wait for.
func openImpatient(t *testing.T, c config.Bucket) (*Bucket, Patience) {
	t.Helper()
	limits := Patience{Write: time.Second, Answer: 2 * time.Second, Read: 3 * time.Second}
	b, err := NewWith(t.Context(), c, nil, limits)
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
	if took := time.Since(start); took < 2*limits.Read {
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
	time.Sleep(limits.Read - 400*time.Millisecond)
	pause = limits.Answer - 200*time.Millisecond
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
	large := noise(9, PartSize+1)
	if err := errors.Join(b.Check(t.Context()), b.Claim(t.Context(), Owner{Platform: uuid.New()}), b.Put(t.Context(), "k", large)); err != nil {
		t.Error(err)
	}
	settings.Endpoint = strings.Replace(settings.Endpoint, "localhost", "127.0.0.1", 1)
	if err := open(t, settings).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("by a name that the certificate is not for: %v", err)
	}
}

// Services may say of an object that another has deleted at the same time that there is none.
func TestDeleteOfWhatIsGone(t *testing.T) {
	t.Parallel()
	settings := services.SharedS3(t).Bucket(t)
	settings.Endpoint = services.Front(t, settings.Endpoint, func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("<Error><Code>NoSuchKey</Code></Error>"))
		return true
	})
	a, err := NewArchive(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(open(t, settings).Delete(t.Context(), "x"), a.Delete(t.Context(), "x")); err != nil {
		t.Error(err)
	}
}
