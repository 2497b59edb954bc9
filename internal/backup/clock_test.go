package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/oklog/ulid/v2"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

var lastModified = regexp.MustCompile(`<LastModified>([^<]*)</LastModified>`)

// elsewhen is a bucket at a service whose clock is ahead of ours. It refuses what is not signed by its own time, as S3 does.
func elsewhen(t *testing.T, settings config.Bucket, ahead time.Duration) config.Bucket {
	t.Helper()
	const inHeader = "20060102T150405Z"
	real, signer := settings.Endpoint, v4.NewSigner()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		signed, err := time.Parse(inHeader, r.Header.Get("X-Amz-Date"))
		if skew := time.Until(signed) - ahead; err != nil || skew.Abs() > 15*time.Minute {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too large.</Message></Error>")
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		again, err := http.NewRequestWithContext(r.Context(), r.Method, real+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		for name, values := range r.Header {
			if name != "Authorization" && name != "X-Amz-Date" {
				again.Header[name] = values
			}
		}
		credentials := aws.Credentials{AccessKeyID: settings.AccessKey, SecretAccessKey: settings.SecretKey}
		if err := signer.SignHTTP(r.Context(), credentials, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", settings.Region, time.Now(), func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = true
		}); err != nil {
			t.Error(err)
			return
		}
		answer, err := http.DefaultClient.Do(again)
		if err != nil {
			return
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return
		}
		shifted := lastModified.ReplaceAllFunc(text, func(element []byte) []byte {
			at, err := time.Parse(time.RFC3339, string(lastModified.FindSubmatch(element)[1]))
			if err != nil {
				t.Error(err)
			}
			return []byte("<LastModified>" + at.Add(ahead).UTC().Format(time.RFC3339Nano) + "</LastModified>")
		})
		for name, values := range answer.Header {
			if name != "Date" && (name != "Content-Length" || r.Method == http.MethodHead) {
				w.Header()[name] = values
			}
		}
		if r.Method != http.MethodHead {
			w.Header().Set("Content-Length", fmt.Sprint(len(shifted)))
		}
		w.WriteHeader(answer.StatusCode)
		_, _ = w.Write(shifted)
	}))
	t.Cleanup(front.Close)
	settings.Endpoint = front.URL
	return settings
}

// A clock that is a day off that of the destination, either way, changes nothing: neither what can be done, nor what is old enough to go.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(3)
			settings, _ := archive(t)
			d := destination(t, elsewhen(t, settings, ahead))
			// While blobs are removed a set waits, by the destination's clock.
			sweep := sweepPrefix + ulid.Make().String() + ".json"
			if err := d.writeJSON(t.Context(), sweep, time.Now()); err != nil {
				t.Fatal(err)
			}
			soon, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := d.awaitSweep(soon, sweep); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it did not wait: %v", err)
			}
			if err := d.Remover.Delete(t.Context(), sweep); err != nil {
				t.Fatal(err)
			}
			first := p.backUp(d)
			p.fill(1)
			p.backUp(d)
			pruned, err := d.Prune(t.Context(), PruneOptions{Retention: Retention{All: time.Hour, Minimum: 1}, Log: discard})
			if err != nil || len(pruned.Removed) > 0 || pruned.Held != "" {
				t.Errorf("%+v, %v", pruned, err)
			}
			if _, err := d.Verify(t.Context(), first.ID, VerifyOptions{}); err != nil {
				t.Error(err)
			}
			q, _ := restored(t, d)
			if rows, wrong := q.check(); rows == 0 || len(wrong) > 0 {
				t.Errorf("%d rows, %v", rows, wrong)
			}
		})
	}
}

// A clock that went back makes nothing that is new look old: neither a set nor what a verification found.
func TestClockWentBack(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(5)
	settings, d := archive(t)
	future := ulid.MustNew(ulid.Timestamp(time.Now().Add(24*time.Hour)), ulid.DefaultEntropy()).String()
	if err := d.writeJSON(t.Context(), setKey(future, startedFile), started{}); err != nil {
		t.Fatal(err)
	}
	first := p.backUp(d)
	second := p.backUp(d)
	l, err := d.List(t.Context())
	if newest, _ := l.Newest(); err != nil || first.ID <= future || second.Previous != first.ID || newest.ID != second.ID || l.held() != "" {
		t.Errorf("%s, %s, %s, held %q: %v", future, first.ID, newest.ID, l.held(), err)
	}
	if err := d.writeJSON(t.Context(), setKey(second.ID, verifiedPrefix+future+".json"), verification{Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	services.SharedS3(t).Damage(t, settings.Name, blobOf(t, settings, 500))
	if _, err := d.Verify(t.Context(), second.ID, VerifyOptions{}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if found, err := d.set(t.Context(), second.ID); err != nil || found.Verified() {
		t.Errorf("damage is forgotten: %v", err)
	}
}

// A clock that is too far off, and stays so, is told as what it is.
func TestClockTooFarOff(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	settings, _ := archive(t)
	faults := newOutage(http.StatusForbidden, "RequestTimeTooSkewed")
	faults.begin(func(string, int) bool { return true })
	_, err := Create(t.Context(), p.options(behind(t, settings, faults.see)))
	if err == nil || !strings.Contains(err.Error(), "clock") {
		t.Error(err)
	}
}
