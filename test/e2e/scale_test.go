//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// Under 100 requests a second the autoscaler adds pods, a signing key is rotated, and the load goes away again: no request
// fails, and nobody is logged out.
func TestAutoscalingUnderLoad(t *testing.T) {
	ap := small(newNamespace(t, "scaling"), "studio")
	ap.Spec.Replicas = nil
	ap.Spec.Autoscaling = &assetv1.AutoscalingSpec{MinReplicas: 2, MaxReplicas: 3, TargetCPUUtilizationPercentage: 50}
	create(t, ap)
	waitReady(t, ap)
	u := register(t, ap, "artist")
	content := picture(t)
	id := u.upload(t, "hero.png", content)

	load := startLoad(u, id, content, 10*time.Millisecond)
	defer func() { _, _, _ = load.end() }()
	pods := func(n int) {
		t.Helper()
		started := time.Now()
		eventually(t, func() error {
			if got := len(serverPods(t, ap)); got != n {
				return fmt.Errorf("%d pods, want %d", got, n)
			}
			return nil
		})
		t.Logf("%5.1f s until there are %d pods", time.Since(started).Seconds(), n)
	}
	pods(3)
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: "tokens"}, StringData: map[string]string{"key": "a new key of more than thirty-two bytes"}})
	edit(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Auth.JWTSecretRef = &assetv1.SecretKeyRef{Name: "tokens", Key: "key"}
		ap.Spec.Auth.VerifySecretRefs = []assetv1.SecretKeyRef{{Name: "studio-auth", Key: "jwt-secret"}}
	})
	waitReady(t, ap)
	sent, failed, first := load.end()
	if failed > 0 {
		t.Errorf("%d of %d requests failed, the first with: %v", failed, sent, first)
	}
	t.Logf("%d requests, %d failed", sent, failed)
}

// load is a number of downloads a second, each over a connection of its own, so that every pod gets its share.
type load struct {
	stop   chan struct{}
	ended  sync.WaitGroup
	once   sync.Once
	sent   atomic.Int64
	failed atomic.Int64
	first  atomic.Pointer[error]
}

func startLoad(u *user, id string, content []byte, every time.Duration) *load {
	l := &load{stop: make(chan struct{})}
	each := &http.Transport{}
	if own, ok := u.http.Transport.(*http.Transport); ok {
		each = own.Clone()
	}
	each.DisableKeepAlives = true
	client := &user{url: u.url, token: u.token, http: http.Client{Timeout: 20 * time.Second, Transport: each}}
	l.ended.Go(func() {
		ticks := time.NewTicker(every)
		defer ticks.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-ticks.C:
			}
			l.ended.Go(func() {
				l.sent.Add(1)
				if err := client.download(id, content); err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, &err)
				}
			})
		}
	})
	return l
}

// end stops the load, waits for what is under way and says how it went.
func (l *load) end() (sent, failed int64, first error) {
	l.once.Do(func() { close(l.stop) })
	l.ended.Wait()
	if e := l.first.Load(); e != nil {
		first = *e
	}
	return l.sent.Load(), l.failed.Load(), first
}
