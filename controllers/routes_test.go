package controllers

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/services"
)

// create makes an object from YAML; %s stands for the namespace, if it is there.
func create(t *testing.T, text, namespace string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "%s", namespace)), &o.Object); err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(ctx, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(ctx, o) })
	return o
}

// say sets the status of an object as the controller of its kind does.
func say(t *testing.T, kind schema.GroupVersionKind, namespace, name, status string) {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(status), &content); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		o := newOptional(kind)
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
			return err
		}
		o.Object["status"] = content
		return admin.Status().Update(ctx, o)
	})
}

// door is a proxy at the address that an Ingress or a Gateway has; its zero value is closed.
type door struct {
	ip        string
	readiness *fakeReadiness

	mu          sync.Mutex
	host        string // whose requests are let through
	certificate *tls.Certificate
}

// open serves a host on ports 80 and 443.
func (d *door) open(t *testing.T, host string) {
	t.Helper()
	d.mu.Lock()
	d.host = host
	d.mu.Unlock()
	for port, secure := range map[string]bool{"80": false, "443": true} {
		l, err := net.Listen("tcp", net.JoinHostPort(d.ip, port))
		if err != nil {
			t.Fatal(err)
		}
		if secure {
			l = tls.NewListener(l, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				d.mu.Lock()
				defer d.mu.Unlock()
				return d.certificate, nil
			}})
		}
		server := &http.Server{Handler: d, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close() })
	}
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	host := d.host
	d.mu.Unlock()
	if r.Host != host {
		http.Error(w, "<h1>Welcome to nginx!</h1>", http.StatusNotFound)
		return
	}
	d.readiness.ServeHTTP(w, r)
}

func (d *door) serve(host string, certificate *tls.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.host, d.certificate = host, certificate
}

// newDoor makes a namespace with a closed door.
func newDoor(t *testing.T) (namespace string, d *door) {
	t.Helper()
	d = &door{readiness: &fakeReadiness{}}
	namespace = newNamespace(t, d.readiness)
	d.ip = plane.Kubelet.PodIP(namespace)
	return namespace, d
}

// waitMessage waits until a condition has a status and a reason, and says all parts.
func waitMessage(t *testing.T, ap *assetv1.AssetPlatform, condition string, status metav1.ConditionStatus, reason string, parts ...string) {
	t.Helper()
	eventually(t, func() error {
		c := waitCondition(t, ap, condition, status, reason)
		for _, part := range parts {
			if !strings.Contains(c.Message, part) {
				return fmt.Errorf("%s says %q, and not %q", c.Type, c.Message, part)
			}
		}
		return nil
	})
}

// specOf is an edit that sets the spec from YAML.
func specOf(t *testing.T, text string) func(*assetv1.AssetPlatformSpec) {
	t.Helper()
	return func(s *assetv1.AssetPlatformSpec) {
		if err := yaml.UnmarshalStrict([]byte(text), s); err != nil {
			t.Fatal(err)
		}
	}
}

// An Ingress is ready when the API answers through it: with a controller for its class, at the controller's address, and
// nobody else in its place.
func TestIngress(t *testing.T) {
	t.Parallel()
	namespace, door := newDoor(t)
	class := "class-" + namespace
	ap := newPlatformIn(t, namespace, specOf(t, "networking: {host: assets.example.com, ingress: {className: "+class+"}}"))
	refused := func(reason string, parts ...string) {
		t.Helper()
		waitMessage(t, ap, assetv1.ConditionRoutesReady, metav1.ConditionFalse, reason, parts...)
		waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, "")
	}
	refused(assetv1.ReasonNoController, class, "kubectl get ingressclass")
	create(t, "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: "+class+"}, spec: {controller: k8s.io/ingress-nginx}}", "")
	refused(assetv1.ReasonProgressing, "has no address yet", "k8s.io/ingress-nginx")
	ingress := get(t, ap, "studio-server", &networkingv1.Ingress{})
	if got := ingress.Annotations["nginx.ingress.kubernetes.io/proxy-body-size"]; got != "53477376" { // 50 MiB and 1 for the form
		t.Errorf("bodies of %q bytes pass", got)
	}

	// One that was made with a default class keeps it, whatever is the default now.
	unnamed := ap.DeepCopy()
	unnamed.Spec.Networking.Ingress.ClassName = ""
	if got, err := operator.reconciler.ingressController(ctx, &pass{ap: unnamed}); err != nil || got != "k8s.io/ingress-nginx" {
		t.Errorf("the controller is %q: %v", got, err)
	}

	address := func() {
		t.Helper()
		eventually(t, func() error {
			ingress := get(t, ap, "studio-server", &networkingv1.Ingress{})
			ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: door.ip}}
			return admin.Status().Update(ctx, ingress)
		})
	}
	address()
	refused(assetv1.ReasonRouteSilent, "http://assets.example.com does not answer at "+door.ip+":80", "the connection is refused")
	door.open(t, "another.example.com")
	refused(assetv1.ReasonRouteSilent, "somebody else than the API answers, with 404")
	door.serve("assets.example.com", nil)
	waitReady(t, ap)
	if ap.Status.URL != "http://assets.example.com" {
		t.Errorf("url is %s", ap.Status.URL)
	}

	authority := services.NewAuthority(t)
	pair := func(host string, notAfter time.Time) (*tls.Certificate, *corev1.Secret) {
		cert, key := authority.Issue(t, host, notAfter)
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return &pair, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "own", Namespace: namespace}, Type: corev1.SecretTypeTLS,
			Data: map[string][]byte{"tls.crt": cert, "tls.key": key},
		}
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Networking.TLS = &assetv1.TLSSpec{SecretName: "own"}
	})
	unfit := func(reason string, parts ...string) {
		t.Helper()
		waitMessage(t, ap, assetv1.ConditionCertificateReady, metav1.ConditionFalse, reason, parts...)
	}
	unfit(assetv1.ReasonSecretNotFound, "Secret own does not exist", "kubectl create secret tls")
	other, secret := pair("other.example.com", time.Now().Add(time.Hour))
	if err := admin.Create(ctx, secret); err != nil {
		t.Fatal(err)
	}
	unfit(assetv1.ReasonCertificateUnfit, "is not for assets.example.com")
	door.serve("assets.example.com", other)
	refused(assetv1.ReasonRouteSilent, "https://assets.example.com", "the certificate is for other.example.com")
	put := func(from *corev1.Secret) {
		t.Helper()
		if err := retryUpdate(secret, func() { secret.Data = from.Data }); err != nil {
			t.Fatal(err)
		}
	}
	expired, in := pair("assets.example.com", time.Now().Add(-time.Hour))
	put(in)
	unfit(assetv1.ReasonCertificateUnfit, "has expired at")
	if c := ap.Status.Certificate; c == nil || c.NotAfter.After(time.Now()) { // the alert about it goes on
		t.Errorf("status has the certificate %+v", c)
	}
	door.serve("assets.example.com", expired)
	refused(assetv1.ReasonRouteSilent, "has expired")
	good, in := pair("assets.example.com", time.Now().Add(time.Hour))
	put(in)
	waitMessage(t, ap, assetv1.ConditionCertificateReady, metav1.ConditionTrue, assetv1.ReasonIssued, "in force until")
	early := &Reconciler{Now: func() time.Time { return time.Now().Add(-3 * time.Hour) }}
	early.secrets.metadata, early.secrets.uncached = admin, admin
	if c, err := early.ownCertificate(ctx, &pass{ap: ap}, "own"); err != nil || c.problem == nil || !strings.Contains(c.problem.problem, "is not in force before") {
		t.Errorf("before its time: %+v, %v", c, err)
	}
	door.serve("assets.example.com", good)
	waitReady(t, ap)
	if ap.Status.URL != "https://assets.example.com" {
		t.Errorf("url is %s", ap.Status.URL)
	}

	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Networking.Ingress, ap.Spec.Networking.TLS = nil, nil })
	waitReady(t, ap)
	eventually(t, func() error {
		err := admin.Get(ctx, client.ObjectKeyFromObject(ingress), ingress)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the Ingress is there: %v", err)
	})
	if c := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionRoutesReady); c != nil {
		t.Errorf("nobody asked for routes: %v", c)
	}
}

// One silence is not the end: proxies are reloaded. The next one is.
func TestRouteMayBeSilentOnce(t *testing.T) {
	t.Parallel()
	r := &Reconciler{}
	ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio"}}
	ap.Status.Conditions = []metav1.Condition{{Type: assetv1.ConditionRoutesReady, Status: metav1.ConditionTrue}}
	api := httptest.NewServer(&fakeReadiness{})
	defer api.Close()
	answers := &route{url: "http://a.example.com", addresses: []string{strings.TrimPrefix(api.URL, "http://")}}
	silent := &route{url: "http://a.example.com", addresses: []string{"127.0.0.1:1"}}
	p := &pass{ap: ap}
	if r.askRoutes(ctx, p, []*route{answers, silent}); silent.problem != nil || p.requeueAfter != time.Second {
		t.Errorf("the first silence: %v, looked at again in %s", silent.problem, p.requeueAfter)
	}
	// That the other route answers is no excuse.
	if r.askRoutes(ctx, p, []*route{answers, silent}); silent.problem == nil || answers.problem != nil {
		t.Errorf("the second silence: %v; the other route: %v", silent.problem, answers.problem)
	}
}

// A Gateway decides about a route by its own rules; what it says is said.
func TestGateway(t *testing.T) {
	t.Parallel()
	needCRDs(t)
	namespace, door := newDoor(t)
	ap := newPlatformIn(t, namespace, specOf(t, "networking: {host: a.games.example.com, gateway: {parentRefs: [{name: public, sectionName: https}]}}"))
	refused := func(reason string, parts ...string) {
		t.Helper()
		waitMessage(t, ap, assetv1.ConditionRoutesReady, metav1.ConditionFalse, reason, parts...)
	}
	refused(assetv1.ReasonGatewayNotFound, "Gateway "+namespace+"/public does not exist", "spec.networking.gateway.parentRefs")
	create(t, `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: public, namespace: %s}, spec: {gatewayClassName: any, listeners: [
		{name: http, port: 80, protocol: HTTP},
		{name: https, port: 443, protocol: HTTPS, hostname: '*.games.example.com', tls: {certificateRefs: [{name: wild}]}}]}}`, namespace)
	refused(assetv1.ReasonProgressing, "has not taken the route yet")
	const parent = `{parents: [{controllerName: example.com/gateways, parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: public, sectionName: https}, conditions: [
		{type: Accepted, status: %q, reason: %s, message: %s, lastTransitionTime: '2026-01-01T00:00:00Z', observedGeneration: 1}]}]}`
	said := func(status, reason, message string) {
		t.Helper()
		say(t, manifests.KindHTTPRoute, namespace, "studio-server", fmt.Sprintf(parent, status, reason, message))
	}
	said("False", "NotAllowedByListeners", "the listener admits its own namespace only")
	refused(assetv1.ReasonRouteRefused, "NotAllowedByListeners", "admits its own namespace only")
	said("True", "Accepted", "fine")
	refused(assetv1.ReasonProgressing, "has no address yet")
	say(t, kindGateway, namespace, "public", "{addresses: [{type: IPAddress, value: "+door.ip+"}], listeners: []}")
	refused(assetv1.ReasonRouteSilent, "https://a.games.example.com does not answer at "+door.ip+":443")
	authority := services.NewAuthority(t)
	cert, key := authority.Issue(t, "a.games.example.com", time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	door.serve("", &pair)
	door.open(t, "a.games.example.com")
	waitReady(t, ap)
	if ap.Status.URL != "https://a.games.example.com" {
		t.Errorf("url is %s", ap.Status.URL)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Networking.Gateway = nil })
	waitReady(t, ap)
	eventually(t, func() error {
		err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "studio-server"}, newOptional(manifests.KindHTTPRoute))
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the HTTPRoute is there: %v", err)
	})
}

func TestListenersFor(t *testing.T) {
	t.Parallel()
	all := []listener{
		{Name: "plain", Protocol: "HTTP", Port: 8080},
		{Name: "one", Protocol: "HTTPS", Port: 8443, Hostname: "a.example.com"},
		{Name: "wild", Protocol: "HTTPS", Port: 443, Hostname: "*.example.com"},
		{Name: "tcp", Protocol: "TCP", Port: 9},
	}
	for _, test := range []struct {
		ref        assetv1.GatewayRef
		host, want string
	}{
		{assetv1.GatewayRef{}, "a.example.com", "https://a.example.com:8443"},
		{assetv1.GatewayRef{}, "b.example.com", "https://b.example.com"},
		{assetv1.GatewayRef{}, "example.com", "http://example.com:8080"},
		{assetv1.GatewayRef{SectionName: "wild"}, "a.example.com", "https://a.example.com"},
		{assetv1.GatewayRef{Port: 8080}, "a.example.com", "http://a.example.com:8080"},
		{assetv1.GatewayRef{SectionName: "tcp"}, "a.example.com", ""},
		{assetv1.GatewayRef{SectionName: "wild"}, "example.com", ""},
	} {
		got := ""
		if serving := listenersFor(all, test.ref, test.host); len(serving) > 0 {
			got = listenerURL(serving[0], test.host)
		}
		if got != test.want {
			t.Errorf("%+v for %s: %q, want %q", test.ref, test.host, got, test.want)
		}
	}
}

// newRoutedPlatform makes a platform with every kind of route; nobody serves them.
func newRoutedPlatform(t *testing.T) *assetv1.AssetPlatform {
	t.Helper()
	needCRDs(t)
	ap := newPlatform(t, specOf(t, "networking: {host: assets.example.com, ingress: {}, gateway: {parentRefs: [{name: public}]}, tls: {issuerRef: {name: letsencrypt}}}"))
	issue(t, ap, "studio-tls")
	return ap
}

// touch has the operator look at a platform without a change.
func touch(t *testing.T, ap *assetv1.AssetPlatform) {
	t.Helper()
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Annotations = map[string]string{"example.com/touch": time.Now().String()}
	})
}
