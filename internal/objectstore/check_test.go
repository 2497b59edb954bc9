package objectstore

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

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
		return b.Claim(t.Context(), Owner{Platform: us})
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
		{"s3:PutObject", func() error { return b.Put(t.Context(), "k", noise(1, PartSize+1)) }},
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
