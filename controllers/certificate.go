package controllers

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// certificate is the one for the platform's host, as last seen.
type certificate struct {
	problem *finding
	pending string                     // nothing wrong yet: what is waited for, a sentence
	life    *assetv1.CertificateStatus // of the last one, also where it is not in force
}

// issued is what is read of cert-manager's kinds (cert-manager.io/docs/reference/api-docs): what they have in common.
type issued struct {
	Spec struct {
		DNSNames []string `json:"dnsNames"`
	} `json:"spec"`
	Status struct {
		Conditions []metav1.Condition `json:"conditions"`
		NotBefore  *metav1.Time       `json:"notBefore"`
		NotAfter   *metav1.Time       `json:"notAfter"`
		State      string             `json:"state"`  // of Orders and Challenges
		Reason     string             `json:"reason"` // of Orders and Challenges
	} `json:"status"`
}

func (i issued) condition(conditionType string) *metav1.Condition {
	return meta.FindStatusCondition(i.Status.Conditions, conditionType)
}

// observeCertificate finds out whether the host has its certificate; nil where the spec asks for none.
func (r *Reconciler) observeCertificate(ctx context.Context, p *pass) (*certificate, error) {
	switch t := p.ap.Spec.Networking.TLS; {
	case t == nil:
		return nil, nil //nolint:nilnil // documented
	case t.SecretName != "":
		return r.ownCertificate(ctx, p, t.SecretName)
	case !p.facts.Installed[manifests.KindCertificate]:
		return &certificate{problem: &finding{
			reason: assetv1.ReasonCRDNotInstalled, where: "Certificate " + manifests.CertificateName(p.ap),
			problem: "The cluster has no cert-manager (cert-manager.io/v1), which spec.networking.tls.issuerRef needs",
			remedy:  "install it (cert-manager.io/docs/installation), or name a Secret with a certificate of your own in spec.networking.tls.secretName",
		}}, nil
	}
	name := manifests.CertificateName(p.ap)
	object, err := child(ctx, r, p, name, newOptional(manifests.KindCertificate))
	if err != nil {
		return nil, err
	}
	if object == nil || p.unsettled[objectKeyOf(object)] {
		return &certificate{pending: "Certificate " + name + " is being made"}, nil
	}
	var c issued
	if err := fromUnstructured(object, &c); err != nil {
		return nil, err
	}
	ready := c.condition("Ready")
	var life *assetv1.CertificateStatus
	if c.Status.NotAfter != nil && c.Status.NotBefore != nil {
		life = &assetv1.CertificateStatus{NotBefore: *c.Status.NotBefore, NotAfter: *c.Status.NotAfter}
	}
	if ready != nil && ready.ObservedGeneration >= object.GetGeneration() && ready.Status == metav1.ConditionTrue && life != nil {
		return &certificate{life: life}, nil
	}
	p.requeueIn(r.interval()) // what holds it up are objects that are not watched
	problem, err := r.notIssued(ctx, p.ap, name)
	if err != nil || problem != nil {
		return &certificate{problem: problem, life: life}, err
	}
	if ready == nil {
		return &certificate{pending: "Certificate " + name + " is not issued yet: if that lasts, see that cert-manager runs"}, nil
	}
	return &certificate{pending: fmt.Sprintf("Certificate %s is being issued (%s)", name, outside(strings.TrimSuffix(ready.Message, "."))), life: life}, nil
}

// notIssued asks the issuer, and what the issuer was asked, why there is no certificate; nil while nothing is wrong.
func (r *Reconciler) notIssued(ctx context.Context, ap *assetv1.AssetPlatform, name string) (*finding, error) {
	ref := ap.Spec.Networking.TLS.IssuerRef
	where := "Certificate " + name
	if ref.Group == manifests.KindCertificate.Group {
		problem, err := r.issuerProblem(ctx, ap, ref)
		if err != nil || problem != nil {
			return problem, err
		}
	}
	// The most precise cause first: a challenge makes its order fail, and that its request.
	for _, kind := range []schema.GroupVersionKind{
		{Group: "acme.cert-manager.io", Version: "v1", Kind: "Challenge"},
		{Group: "acme.cert-manager.io", Version: "v1", Kind: "Order"},
		{Group: "cert-manager.io", Version: "v1", Kind: "CertificateRequest"},
	} {
		requests := &unstructured.UnstructuredList{}
		requests.SetGroupVersionKind(kind)
		err := r.APIReader.List(ctx, requests, client.InNamespace(ap.Namespace))
		if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
			continue // another issuer than ACME
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", kind.Kind, err)
		}
		for i := range requests.Items {
			object := &requests.Items[i]
			var request issued
			if err := fromUnstructured(object, &request); err != nil {
				return nil, err
			}
			if why := whyNot(object, request, name, ap.Spec.Networking.Host); why != "" {
				return &finding{
					reason: assetv1.ReasonNotIssued, where: where,
					problem: fmt.Sprintf("%s is not issued (%s: %s)", where, kind.Kind, outside(strings.TrimSuffix(why, "."))),
					remedy:  "mend what it names; cert-manager tries again by itself",
				}, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // nothing is wrong
}

// whyNot is why a request, order or challenge for the certificate has not succeeded; empty if it is another's, or nothing is wrong.
func whyNot(object *unstructured.Unstructured, request issued, certificate, host string) string {
	switch object.GetKind() {
	case "Challenge":
		name, _, _ := unstructured.NestedString(object.Object, "spec", "dnsName")
		if name == host && request.Status.State != "valid" {
			return request.Status.Reason
		}
	case "Order":
		if slices.Contains(request.Spec.DNSNames, host) && slices.Contains([]string{"invalid", "errored"}, request.Status.State) {
			return request.Status.Reason
		}
	default:
		ready := request.condition("Ready")
		ours := object.GetAnnotations()["cert-manager.io/certificate-name"] == certificate
		if ours && ready != nil && ready.Status == metav1.ConditionFalse && (ready.Reason == "Failed" || ready.Reason == "Denied") {
			return ready.Message
		}
	}
	return ""
}

// issuerProblem says what is wrong with an issuer of cert-manager; nil if it is ready.
func (r *Reconciler) issuerProblem(ctx context.Context, ap *assetv1.AssetPlatform, ref *assetv1.IssuerRef) (*finding, error) {
	where := ref.Kind + " " + ref.Name
	f := &finding{reason: assetv1.ReasonIssuerNotReady, where: where}
	if ref.Kind != "Issuer" && ref.Kind != "ClusterIssuer" {
		f.problem, f.remedy = where+" is no kind of issuer that cert-manager has", "set spec.networking.tls.issuerRef.kind to Issuer or ClusterIssuer, or group to that of the kind"
		return f, nil
	}
	issuer := newOptional(schema.GroupVersionKind{Group: ref.Group, Version: "v1", Kind: ref.Kind})
	key := client.ObjectKey{Name: ref.Name}
	if ref.Kind == "Issuer" {
		key.Namespace = ap.Namespace
	}
	switch err := r.APIReader.Get(ctx, key, issuer); {
	case apierrors.IsNotFound(err):
		f.problem, f.remedy = where+" does not exist", "create it, or correct spec.networking.tls.issuerRef"
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", where, err)
	}
	var i issued
	if err := fromUnstructured(issuer, &i); err != nil {
		return nil, err
	}
	if ready := i.condition("Ready"); ready != nil && ready.Status == metav1.ConditionFalse {
		f.problem, f.remedy = fmt.Sprintf("%s is not ready (%s)", where, outside(strings.TrimSuffix(ready.Message, "."))), "correct the issuer"
		return f, nil
	}
	return nil, nil //nolint:nilnil // documented
}

// ownCertificate looks at the Secret with the certificate that the spec names.
func (r *Reconciler) ownCertificate(ctx context.Context, p *pass, name string) (*certificate, error) {
	where := "Secret " + name
	f := &finding{reason: assetv1.ReasonSecretNotFound, where: where}
	data, err := r.secrets.data(ctx, client.ObjectKeyFromObject(p.ap), name)
	if apierrors.IsNotFound(err) {
		f.problem, f.remedy = where+" does not exist", "create it with kubectl create secret tls, or correct spec.networking.tls.secretName"
		return &certificate{problem: f}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", where, err)
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(data[key]) == 0 {
			f.reason, f.problem, f.remedy = assetv1.ReasonSecretKeyMissing, fmt.Sprintf("%s has no key %s", where, key), "add it: the Secret is one of type kubernetes.io/tls"
			return &certificate{problem: f}, nil
		}
	}
	host, now := p.ap.Spec.Networking.Host, r.now()
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	f.reason, f.remedy = assetv1.ReasonCertificateUnfit, "put a certificate for "+host+" and its key into it; it is read again at once"
	switch {
	case err != nil:
		f.problem = "The key pair in " + where + " cannot be read, or is no pair"
	case pair.Leaf.VerifyHostname(host) != nil:
		f.problem = fmt.Sprintf("The certificate in %s is not for %s", where, host)
	case !now.Before(pair.Leaf.NotAfter):
		f.problem = fmt.Sprintf("The certificate in %s has expired at %s", where, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		f.problem = fmt.Sprintf("The certificate in %s is not in force before %s", where, pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
		p.requeueIn(pair.Leaf.NotBefore.Sub(now))
	default:
		p.requeueIn(pair.Leaf.NotAfter.Sub(now))
	}
	found := &certificate{}
	if err == nil {
		found.life = &assetv1.CertificateStatus{NotBefore: metav1.NewTime(pair.Leaf.NotBefore), NotAfter: metav1.NewTime(pair.Leaf.NotAfter)}
	}
	if f.problem != "" {
		found.problem = f
	}
	return found, nil
}

func fromUnstructured(o *unstructured.Unstructured, into any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
		return fmt.Errorf("read %s: %w", describe(o), err)
	}
	return nil
}

// certificateVerdict says whether the host has its certificate; nil where the spec asks for none.
func certificateVerdict(c *certificate) *verdict {
	var v verdict
	switch {
	case c == nil:
		return nil
	case c.problem != nil:
		v = no(c.problem)
	case c.pending != "":
		v = waiting(assetv1.ReasonProgressing, c.pending)
	default:
		v = yes(assetv1.ReasonIssued, "The certificate is in force until "+c.life.NotAfter.UTC().Format(time.RFC3339))
	}
	return &v
}
