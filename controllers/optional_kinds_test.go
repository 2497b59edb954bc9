package controllers

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// installCRDs gives the suite's cluster the optional kinds; no test but TestOptionalKindsComeAndGo, during which no other
// runs, takes them away.
var installCRDs = sync.OnceValue(reinstallCRDs)

func reinstallCRDs() error {
	return errors.Join(plane.InstallCRDs("cert-manager"), plane.InstallCRDs("gateway-api"), plane.InstallCRDs("prometheus-operator"))
}

// removeCRDs takes away the kinds that the operator knows, and their objects with them. It waits until they are gone: one
// that is installed while it still goes would go too. (The projects' other kinds stay: where nobody has read a kind, the
// apiserver takes minutes to remove it.)
func removeCRDs() error {
	_, err := plane.Kubectl(slices.AppendSeq([]string{"delete", "crd", "--ignore-not-found", "--timeout=60s"}, maps.Keys(definitions))...)
	return err
}

func needCRDs(t *testing.T) {
	t.Helper()
	if err := installCRDs(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { // it looks for what is defined and not served yet at growing intervals
		for name, kind := range definitions {
			if !operator.reconciler.optional.Installed()[kind] {
				return fmt.Errorf("the operator has not found %s yet", name)
			}
		}
		return nil
	})
}

// The kinds that others define come and go while the operator runs: what they are for is said, made and missed at once, and
// a kind that is gone is not asked for any more.
//
// It is not parallel: others need the kinds.
func TestOptionalKindsComeAndGo(t *testing.T) {
	if err := removeCRDs(); err != nil { // which another test that ran alone may have needed
		t.Fatal(err)
	}
	const host = "networking: {host: assets.example.com, %s}"
	routed := newPlatformIn(t, newNamespace(t, &fakeReadiness{}), specOf(t, fmt.Sprintf(host, "gateway: {parentRefs: [{name: public}]}")))
	secured := newPlatformIn(t, newNamespace(t, &fakeReadiness{}), specOf(t, fmt.Sprintf(host, "ingress: {}, tls: {issuerRef: {name: letsencrypt}}")))
	plain := newPlatform(t, nil)
	absent := func() {
		t.Helper()
		waitMessage(t, plain, assetv1.ConditionMonitoringReady, metav1.ConditionFalse, assetv1.ReasonCRDNotInstalled, "no ServiceMonitor, no PrometheusRule", "install the Prometheus operator", "spec.monitoring.serviceMonitor")
		waitReady(t, plain)
		waitMessage(t, routed, assetv1.ConditionRoutesReady, metav1.ConditionFalse, assetv1.ReasonCRDNotInstalled, "Gateway API", "install it", "spec.networking.ingress")
		waitMessage(t, secured, assetv1.ConditionCertificateReady, metav1.ConditionFalse, assetv1.ReasonCRDNotInstalled, "cert-manager", "install it", "spec.networking.tls.secretName")
		for _, ap := range []*assetv1.AssetPlatform{routed, secured} {
			if meta.IsStatusConditionTrue(ap.Status.Conditions, assetv1.ConditionStalled) {
				t.Error("Stalled, although the kinds may come without an edit")
			}
		}
	}
	present := func() {
		t.Helper()
		waitMessage(t, plain, assetv1.ConditionMonitoringReady, metav1.ConditionTrue, assetv1.ReasonApplied, "ServiceMonitor and PrometheusRule")
		for name, kind := range map[string]schema.GroupVersionKind{"studio-server": manifests.KindServiceMonitor, "studio-alerts": manifests.KindPrometheusRule} {
			eventually(t, func() error {
				return admin.Get(ctx, client.ObjectKey{Namespace: plain.Namespace, Name: name}, newOptional(kind))
			})
		}
		waitCondition(t, routed, assetv1.ConditionRoutesReady, metav1.ConditionFalse, assetv1.ReasonGatewayNotFound)
		waitCondition(t, secured, assetv1.ConditionCertificateReady, metav1.ConditionFalse, assetv1.ReasonIssuerNotReady)
		for ap, kind := range map[*assetv1.AssetPlatform]schema.GroupVersionKind{routed: manifests.KindHTTPRoute, secured: manifests.KindCertificate} {
			name := map[string]string{"HTTPRoute": "studio-server", "Certificate": "studio-tls"}[kind.Kind]
			eventually(t, func() error {
				return admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, newOptional(kind))
			})
		}
	}
	absent()
	for range 2 {
		if err := reinstallCRDs(); err != nil {
			t.Fatal(err)
		}
		present()
		if err := removeCRDs(); err != nil {
			t.Fatal(err)
		}
		absent()
		start, before := quiet(t), logSize(t)
		time.Sleep(5 * time.Second) // client-go would ask for a missing kind every second or so
		requests, _ := sent.since(start)
		for _, r := range requests {
			if strings.Contains(r.resource, "cert-manager") || strings.Contains(r.resource, "gateway") || strings.Contains(r.resource, "monitoring") || r.resource == "" {
				t.Errorf("without the kinds the operator asks: %s", r)
			}
		}
		if grown := logSize(t) - before; grown > 2000 {
			t.Errorf("without the kinds the operator's log grows by %d bytes in five seconds", grown)
		}
	}
	// An operator that starts where they are, after one that has seen them come.
	if err := errors.Join(installCRDs(), reinstallCRDs()); err != nil {
		t.Fatal(err)
	}
	present()
	restartOperator(t, operatorOptions{})
	update(t, routed, func(ap *assetv1.AssetPlatform) { ap.Spec.Networking.Host = "other.example.com" })
	eventually(t, func() error {
		o := newOptional(manifests.KindHTTPRoute)
		err := admin.Get(ctx, client.ObjectKey{Namespace: routed.Namespace, Name: "studio-server"}, o)
		if hosts, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "hostnames"); err == nil && fmt.Sprint(hosts) != "[other.example.com]" {
			return fmt.Errorf("the route is for %v", hosts)
		}
		return err
	})
}

func logSize(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(operatorLog)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
