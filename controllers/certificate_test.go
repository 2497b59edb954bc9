package controllers

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

func kindOfCertManager(kind string) schema.GroupVersionKind {
	group := "cert-manager.io"
	if kind == "Order" || kind == "Challenge" {
		group = "acme.cert-manager.io"
	}
	return schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind}
}

// cert-manager's reasons are told down to the challenge; the Secret that it makes is the platform's data.
func TestCertificateOfAnIssuer(t *testing.T) {
	t.Parallel()
	needCRDs(t)
	ap := newPlatform(t, specOf(t, "{networking: {host: assets.example.com, tls: {issuerRef: {name: letsencrypt}}}, deletionPolicy: Delete}"))
	not := func(reason string, parts ...string) {
		t.Helper()
		waitMessage(t, ap, assetv1.ConditionCertificateReady, metav1.ConditionFalse, reason, parts...)
	}
	not(assetv1.ReasonIssuerNotReady, "Issuer letsencrypt does not exist")
	create(t, "{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: letsencrypt, namespace: %s}, spec: {selfSigned: {}}}", ap.Namespace)
	condition := func(conditionType, status, reason, message string) string {
		return fmt.Sprintf("{conditions: [{type: %s, status: %q, reason: %s, message: '%s', lastTransitionTime: '2026-01-01T00:00:00Z', observedGeneration: 9}], ", conditionType, status, reason, message)
	}
	say(t, kindOfCertManager("Issuer"), ap.Namespace, "letsencrypt", condition("Ready", "False", "ErrRegister", "no such account.")+"}")
	touch(t, ap)
	not(assetv1.ReasonIssuerNotReady, "is not ready (no such account)")
	say(t, kindOfCertManager("Issuer"), ap.Namespace, "letsencrypt", condition("Ready", "True", "Fine", "fine")+"}")
	touch(t, ap)
	not(assetv1.ReasonProgressing, "is not issued yet")
	for _, step := range []struct{ kind, object, status, says string }{
		{
			"CertificateRequest", "metadata: {name: r, namespace: %s, annotations: {cert-manager.io/certificate-name: studio-tls}}, spec: {issuerRef: {name: letsencrypt}, request: eA==}",
			condition("Ready", "False", "Failed", "the order failed") + "}", "(CertificateRequest: the order failed)",
		},
		{
			"Order", "metadata: {name: o, namespace: %s}, spec: {issuerRef: {name: letsencrypt}, request: eA==, dnsNames: [assets.example.com]}",
			"{state: invalid, reason: too many certificates}", "(Order: too many certificates)",
		},
		{
			"Challenge", "metadata: {name: c, namespace: %s}, spec: {authorizationURL: x, dnsName: assets.example.com, issuerRef: {name: letsencrypt}, key: k, solver: {}, token: t, type: HTTP-01, url: x}",
			"{state: pending, reason: no DNS record}", "(Challenge: no DNS record)",
		},
	} {
		kind := kindOfCertManager(step.kind)
		o := create(t, "{apiVersion: "+kind.GroupVersion().String()+", kind: "+kind.Kind+", "+step.object+"}", ap.Namespace)
		say(t, kind, ap.Namespace, o.GetName(), step.status)
		touch(t, ap)
		not(assetv1.ReasonNotIssued, step.says, "mend what it names")
	}
	issue(t, ap, "studio-tls")
	waitReady(t, ap)
	if ap.Status.URL != "https://assets.example.com" {
		t.Errorf("url is %s", ap.Status.URL)
	}
	repaired(t, "the owner of the certificate's Secret", func() error {
		if !metav1.IsControlledBy(get(t, ap, "studio-tls", &corev1.Secret{}), ap) {
			return errors.New("the platform does not own it")
		}
		return nil
	})
	deletePlatform(t, ap)
}

// The certificate outlives its platform like other data: the one that is made again needs no new one.
func TestCertificateIsRetained(t *testing.T) {
	t.Parallel()
	needCRDs(t)
	spec := specOf(t, "networking: {host: assets.example.com, tls: {issuerRef: {kind: ClusterIssuer, name: nobody}}}")
	ap := newPlatform(t, spec)
	waitMessage(t, ap, assetv1.ConditionCertificateReady, metav1.ConditionFalse, assetv1.ReasonIssuerNotReady, "ClusterIssuer nobody does not exist")
	issue(t, ap, "studio-tls")
	waitReady(t, ap)
	secret := get(t, ap, "studio-tls", &corev1.Secret{})
	deletePlatform(t, ap, append([]string{"Secret studio-auth", "Secret studio-postgres", "Secret studio-redis", "Secret studio-s3", "Secret studio-tls"}, retained[4:]...)...)
	again := newPlatformIn(t, ap.Namespace, spec)
	issue(t, again, "studio-tls")
	waitReady(t, again)
	if got := get(t, again, "studio-tls", &corev1.Secret{}); got.UID != secret.UID {
		t.Error("the Secret is another one now")
	}
	update(t, again, func(ap *assetv1.AssetPlatform) { ap.Spec.Networking = assetv1.NetworkingSpec{} })
	waitReady(t, again)
	get(t, again, "studio-tls", &corev1.Secret{})
}

// issue does what cert-manager does with a Certificate: the Secret as its template says, then the status.
func issue(t *testing.T, ap *assetv1.AssetPlatform, name string) {
	t.Helper()
	certificate := newOptional(manifests.KindCertificate)
	eventually(t, func() error {
		return admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, certificate)
	})
	if err := issueFor(t.Context(), certificate); err != nil {
		t.Fatal(err)
	}
}

func issueFor(ctx context.Context, certificate *unstructured.Unstructured) error {
	labels, _, _ := unstructured.NestedStringMap(certificate.Object, "spec", "secretTemplate", "labels")
	annotations, _, _ := unstructured.NestedStringMap(certificate.Object, "spec", "secretTemplate", "annotations")
	name, _, _ := unstructured.NestedString(certificate.Object, "spec", "secretName")
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: certificate.GetNamespace(), Labels: labels, Annotations: annotations},
		Type:       corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("k")},
	}
	if err := admin.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	certificate.Object["status"] = map[string]any{"notBefore": "2026-01-01T00:00:00Z", "notAfter": "2099-01-01T00:00:00Z", "conditions": []any{map[string]any{
		"type": "Ready", "status": "True", "reason": "Ready", "message": "Certificate is up to date and has not expired",
		"observedGeneration": certificate.GetGeneration(), "lastTransitionTime": "2026-01-01T00:00:00Z",
	}}}
	return admin.Status().Update(ctx, certificate)
}
