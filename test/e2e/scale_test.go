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
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// Under 100 requests a second the autoscaler adds pods, a signing key is rotated, the certificate is renewed, a node is
// drained and the load goes away again: no request fails, and nobody is logged out.
func TestNothingFailsUnderLoad(t *testing.T) {
	namespace := newNamespace(t, "scaling")
	startCertManager(t)
	apply(t, namespace, authority)
	ap := small(namespace, "studio")
	ap.Spec.Replicas = nil
	ap.Spec.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("100m") // or the nodes' own programs leave them nothing
	ap.Spec.Autoscaling = &assetv1.AutoscalingSpec{MinReplicas: 2, MaxReplicas: 4, TargetCPUUtilizationPercentage: 50}
	ap.Spec.Networking = assetv1.NetworkingSpec{
		Host: host, Service: assetv1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}, TLS: &assetv1.TLSSpec{IssuerRef: &assetv1.IssuerRef{Name: "studio-ca"}},
	}
	// The managed parts have one pod each, which a drain of its node would take down: they are not to be on the second.
	mustKubectl(t, "cordon", "node2")
	defer mustKubectl(t, "uncordon", "node2")
	create(t, ap)
	waitReady(t, ap)
	mustKubectl(t, "uncordon", "node2")
	u := visitor(t, namespace, ap.Status.URL, addressOf(t, ap)+":443")
	artist := map[string]string{"email": "artist@example.com", "username": "artist", "password": "correct horse battery artist"}
	u.session(t, "register", artist)
	content := picture(t)
	id := u.upload(t, "hero.png", content)

	load, began := startLoad(u, id, content, 10*time.Millisecond), time.Now()
	defer func() { _, _, _ = load.end() }()
	pods := func(what string, right func(all, second int) bool) {
		t.Helper()
		waitPods(t, ap, what, right)
		t.Logf("%d requests, %d failed, the slowest took %s", load.sent.Load(), load.failed.Load(), time.Duration(load.slowest.Load()).Round(time.Millisecond))
	}
	pods("three pods or more", func(all, _ int) bool { return all >= 3 })
	sessions := startSessions(u, artist, id, content, time.Second)
	defer func() { _, _, _ = sessions.end() }()
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tokens"}, StringData: map[string]string{"key": "a new key of more than thirty-two bytes"}})
	edit(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Auth.JWTSecretRef = &assetv1.SecretKeyRef{Name: "tokens", Key: "key"}
	})
	waitReady(t, ap)
	if sent, failed, first := sessions.end(); failed > 0 || sent == 0 {
		t.Errorf("while the signing key changed, %d of %d new sessions failed, the first with: %v", failed, sent, first)
	} else {
		t.Logf("while the signing key changed, %d new sessions, none refused", sent)
	}
	waitFor(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionTrue, "tokens of the signing keys before are accepted until 20")
	pods("pods on both nodes", func(all, second int) bool { return second > 0 && second < all })
	renewed := renew(t, u, ap, addressOf(t, ap)+":443")
	t.Logf("%5.1f s until the renewed certificate is served", renewed.Seconds())
	started := time.Now()
	mustKubectl(t, "drain", "node2", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
	t.Logf("%5.1f s for the drain of the second node", time.Since(started).Seconds())
	pods("no pods on the drained node", func(all, second int) bool { return all >= 2 && second == 0 })
	waitReady(t, ap)
	u.mustDownload(t, id, content) // whose token is from before the new key
	sent, failed, first := load.end()
	if failed > 0 {
		t.Errorf("%d of %d requests failed, the first with: %v", failed, sent, first)
	}
	if rate := float64(sent) / time.Since(began).Seconds(); rate < 80 {
		t.Errorf("only %.0f requests a second were sent", rate)
	}
}

// waitPods waits until the numbers of a platform's API pods, and of those on the second node, are right.
func waitPods(t *testing.T, ap *assetv1.AssetPlatform, what string, right func(all, second int) bool) {
	t.Helper()
	started := time.Now()
	eventually(t, func() error {
		all := serverPods(t, ap)
		second := 0
		for _, pod := range all {
			if pod.Spec.NodeName == "node2" {
				second++
			}
		}
		if !right(len(all), second) {
			return fmt.Errorf("%d pods, %d of them on the second node; want %s", len(all), second, what)
		}
		return nil
	})
	t.Logf("%5.1f s until there are %s", time.Since(started).Seconds(), what)
}

// addressOf is the address of a platform's LoadBalancer.
func addressOf(t *testing.T, ap *assetv1.AssetPlatform) string {
	t.Helper()
	var service corev1.Service
	if err := cluster.Get(ctx, client.ObjectKeyFromObject(ap), &service); err != nil {
		t.Fatal(err)
	}
	return service.Status.LoadBalancer.Ingress[0].IP
}

// load is a number of requests a second.
type load struct {
	stop   chan struct{}
	ended  sync.WaitGroup
	once   sync.Once
	sent   atomic.Int64
	failed atomic.Int64
	// slowest is the longest that a request took, in nanoseconds.
	slowest atomic.Int64
	first   atomic.Pointer[error]
}

// Apps keep their connections, and take new ones now and then: so every pod gets its share, and pods that end have connections in
// use.
const (
	loadConnections       = 10
	requestsPerConnection = 20
)

// startLoad downloads an asset again and again.
func startLoad(u *user, id string, content []byte, every time.Duration) *load {
	connections := make([]*user, loadConnections)
	return repeat(every, func(n int) func() error {
		used := &connections[n%loadConnections]
		if n/loadConnections%requestsPerConnection == 0 {
			if *used != nil {
				(*used).http.CloseIdleConnections()
			}
			*used = u.reconnected(true)
		}
		client := *used
		return func() error { return client.download(id, content) }
	})
}

// startSessions logs in again and again, and downloads an asset with each new token a few times: from pods that did not sign it.
func startSessions(u *user, credentials map[string]string, id string, content []byte, every time.Duration) *load {
	client := u.reconnected(false)
	return repeat(every, func(int) func() error {
		return func() error {
			token, err := client.login(credentials)
			if err != nil {
				return err
			}
			session := &user{url: client.url, http: client.http, token: token}
			for range 4 {
				if err := session.download(id, content); err != nil {
					return err
				}
			}
			return nil
		}
	})
}

// reconnected is the same user with a connection of its own, or with one for each request.
func (u *user) reconnected(keep bool) *user {
	own := &http.Transport{}
	if t, ok := u.http.Transport.(*http.Transport); ok {
		own = t.Clone()
	}
	own.DisableKeepAlives, own.IdleConnTimeout = !keep, 10*time.Second
	return &user{url: u.url, token: u.token, http: http.Client{Timeout: 20 * time.Second, Transport: own}}
}

// repeat makes a request whenever it is due, whether or not those before have been answered. What is late on a busy machine is
// sent as soon as it can be, not left out. next is told the number of the request.
func repeat(every time.Duration, next func(n int) (request func() error)) *load {
	l := &load{stop: make(chan struct{})}
	l.ended.Go(func() {
		began := time.Now()
		for n := 0; ; n++ {
			select {
			case <-l.stop:
				return
			case <-time.After(time.Until(began.Add(time.Duration(n) * every))):
			}
			request := next(n)
			l.ended.Go(func() {
				l.sent.Add(1)
				started := time.Now()
				err := request()
				for took, longest := int64(time.Since(started)), l.slowest.Load(); took > longest && !l.slowest.CompareAndSwap(longest, took); longest = l.slowest.Load() {
				}
				if err != nil {
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
