//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/test/services"
)

const host = "assets.example.com"

// A certificate is issued for real, and renewed: behind a proxy that is configured from the Ingress, behind a Gateway, and
// where the API's own pods end TLS, there while 100 requests a second come in. No request fails, no pod is restarted.
func TestRoutes(t *testing.T) {
	namespace := newNamespace(t, "routes")
	ap := small(namespace, "studio")
	ap.Spec.DeletionPolicy = assetv1.DeletionDelete
	ap.Spec.Networking = assetv1.NetworkingSpec{
		Host: host, Ingress: &assetv1.IngressSpec{ClassName: "nginx"}, TLS: &assetv1.TLSSpec{IssuerRef: &assetv1.IssuerRef{Name: "studio-ca"}},
	}
	create(t, ap)
	waitFor(t, ap, assetv1.ConditionCertificateReady, metav1.ConditionFalse, "cert-manager", "install it")
	waitFor(t, ap, assetv1.ConditionRoutesReady, metav1.ConditionFalse, "IngressClass nginx")
	startCertManager(t)
	installProject(t, "gateway-api")
	waitFor(t, ap, assetv1.ConditionCertificateReady, metav1.ConditionFalse, "Issuer studio-ca does not exist")
	apply(t, namespace, authority)
	apply(t, "", "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}")
	front := startProxy(t, namespace)
	waitReady(t, ap)
	if ap.Status.URL != "https://"+host {
		t.Errorf("url is %s", ap.Status.URL)
	}

	u := visitor(t, namespace, "https://"+host, front.address+":443")
	u.session(t, "register", map[string]string{"email": "artist@example.com", "username": "artist", "password": "correct horse battery artist"})
	large := recording(45 << 20)
	u.mustDownload(t, u.upload(t, "long.wav", large), large)
	if _, err := u.send(http.MethodGet, "/api/auth/profile", "", nil); err != nil {
		t.Error(err)
	}
	picture := picture(t)
	id := u.upload(t, "hero.png", picture)
	renewed := renew(t, u, ap, front.address+":443")
	t.Logf("%5.1f s until the renewed certificate is served by the proxy", renewed.Seconds())

	// Through a Gateway, whose listener has a certificate of its own; the Ingress goes.
	apply(t, namespace, gateway)
	edit(t, ap, func(ap *assetv1.AssetPlatform) {
		n := &ap.Spec.Networking
		n.Ingress, n.TLS = nil, nil
		n.Gateway = &assetv1.GatewaySpec{ParentRefs: []assetv1.GatewayRef{{Name: "public"}}}
	})
	waitReady(t, ap)
	if ap.Status.URL != "https://"+host {
		t.Errorf("url is %s", ap.Status.URL)
	}
	u.mustDownload(t, u.upload(t, "long.wav", large), large)
	var ingress networkingv1.Ingress
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "studio-server"}, &ingress); !apierrors.IsNotFound(err) {
		t.Errorf("the Ingress is there: %v", err)
	}

	// The pods themselves.
	edit(t, ap, func(ap *assetv1.AssetPlatform) {
		n := &ap.Spec.Networking
		n.Gateway, n.TLS = nil, &assetv1.TLSSpec{IssuerRef: &assetv1.IssuerRef{Name: "studio-ca"}}
		n.Service.Type = corev1.ServiceTypeLoadBalancer
	})
	waitReady(t, ap)
	address := addressOf(t, ap)
	waitClosed(t, address+":80")
	direct := visitor(t, namespace, "https://"+host, address+":443")
	direct.token = u.token
	eventually(t, func() error { return direct.download(id, picture) })
	direct.mustDownload(t, direct.upload(t, "long.wav", large), large)
	before := podNames(t, ap)
	load := startLoad(direct, id, picture, 10*time.Millisecond)
	defer func() { _, _, _ = load.end() }()
	renewed = renew(t, direct, ap, address+":443")
	time.Sleep(time.Second) // some more requests with the new one
	sent, failed, first := load.end()
	t.Logf("%5.1f s until the renewed certificate is served by the pods; %d requests, %d failed", renewed.Seconds(), sent, failed)
	if failed > 0 {
		t.Errorf("%d of %d requests failed, the first with: %v", failed, sent, first)
	}
	if after := podNames(t, ap); after != before {
		t.Errorf("the pods were %s and are %s", before, after)
	}
	waitReady(t, ap)

	if err := cluster.Delete(ctx, ap); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		left := mustKubectl(t, "get", "secret,pvc,ingress,httproute,certificate", "-n", namespace, "-l", "app.kubernetes.io/instance=studio", "-o", "name")
		if left != "" {
			return errors.New("left are " + left)
		}
		return nil
	})
}

// Where TLS is asked for and its key pair comes late, the API goes on answering as it did.
func TestTLSComesLate(t *testing.T) {
	namespace := newNamespace(t, "late")
	ap := small(namespace, "studio")
	ap.Spec.Networking.Service.Type = corev1.ServiceTypeNodePort
	create(t, ap)
	waitReady(t, ap)
	(&user{url: ap.Status.URL, http: http.Client{Timeout: 10 * time.Second}}).await(t) // on a node's address
	edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Networking.Service.Type = corev1.ServiceTypeLoadBalancer })
	waitReady(t, ap)
	address := addressOf(t, ap)
	u := (&user{url: "http://" + address, http: http.Client{Timeout: 10 * time.Second}}).await(t)
	u.session(t, "register", map[string]string{"email": "artist@example.com", "username": "artist", "password": "correct horse battery artist"})
	content := picture(t)
	id := u.upload(t, "hero.png", content)
	load := startLoad(u, id, content, 50*time.Millisecond)
	defer func() { _, _, _ = load.end() }()
	edit(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Networking.Host, ap.Spec.Networking.TLS = host, &assetv1.TLSSpec{SecretName: "own"}
	})
	waitFor(t, ap, assetv1.ConditionCertificateReady, metav1.ConditionFalse, "Secret own does not exist")
	time.Sleep(5 * time.Second)
	if sent, failed, first := load.end(); failed > 0 || sent == 0 {
		t.Errorf("%d of %d requests failed, the first with: %v", failed, sent, first)
	}
	cert, key := services.NewAuthority(t).Issue(t, host, time.Now().Add(time.Hour))
	create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "own"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key},
	})
	waitReady(t, ap)
	waitClosed(t, address+":80")
	eventually(t, func() error {
		conn, err := net.DialTimeout("tcp", address+":443", time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// waitClosed waits until nobody listens at an address any more: plain HTTP goes with the last pod that has nothing else.
func waitClosed(t *testing.T, address string) {
	t.Helper()
	eventually(t, func() error {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return fmt.Errorf("%s is still open", address)
		}
		return nil
	})
}

// authority is an issuer that signs with a key of its own.
const authority = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: studio-ca}
spec:
  isCA: true
  commonName: studio
  secretName: studio-ca
  privateKey: {algorithm: ECDSA, size: 256}
  issuerRef: {name: self}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: studio-ca}
spec: {ca: {secretName: studio-ca}}
`

const gateway = `
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: listener}
spec: {secretName: listener, dnsNames: [assets.example.com], issuerRef: {name: studio-ca}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public}
spec:
  gatewayClassName: nginx
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: listener}]}}
`

func apply(t *testing.T, namespace, text string) {
	t.Helper()
	arguments := []string{"apply", "-f", "-"}
	if namespace != "" {
		arguments = append(arguments, "-n", namespace)
	}
	if _, err := kubectl(text, arguments...); err != nil {
		t.Fatal(err)
	}
}

// visitor reaches a URL at an address, and trusts the studio's authority.
func visitor(t *testing.T, namespace, url, address string) *user {
	t.Helper()
	var secret corev1.Secret
	eventually(t, func() error {
		return cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "studio-ca"}, &secret)
	})
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(secret.Data[corev1.TLSCertKey]) {
		t.Fatal("the authority has no certificate")
	}
	return (&user{url: url, http: http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}}).await(t)
}

// recording is a sound of noise of a size.
func recording(size int) []byte {
	const head = "RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\xff\xff\xff\xff"
	content := make([]byte, size)
	_, _ = rand.Read(content)
	copy(content, head)
	return content
}

// renew has cert-manager renew the certificate, as cmctl renew does, and waits until it is served.
func renew(t *testing.T, u *user, ap *assetv1.AssetPlatform, address string) (took time.Duration) {
	t.Helper()
	serial := func() string {
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: u.http.Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: host})
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before, started := serial(), time.Now()
	mustKubectl(t, "patch", "certificate", ap.Name+"-tls", "-n", ap.Namespace, "--subresource=status", "--type=merge", "-p", fmt.Sprintf(
		`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"x","lastTransitionTime":%q},{"type":"Issuing","status":"True","reason":"ManuallyTriggered","message":"renewed by a test","lastTransitionTime":%[1]q}]}}`, started.UTC().Format(time.RFC3339)))
	eventually(t, func() error {
		if now := serial(); now == before || strings.Contains(now, " ") {
			return fmt.Errorf("the certificate served is %s", now)
		}
		return nil
	})
	return time.Since(started)
}

// podNames are the API's pods and how often each was restarted.
func podNames(t *testing.T, ap *assetv1.AssetPlatform) string {
	t.Helper()
	var names []string
	for _, pod := range serverPods(t, ap) {
		names = append(names, fmt.Sprintf("%s (%d restarts)", pod.Name, pod.Status.ContainerStatuses[0].RestartCount))
	}
	return strings.Join(names, ", ")
}
