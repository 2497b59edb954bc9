package manifests

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// Certificate has cert-manager issue and renew the host's certificate; nil where the spec names no issuer, or the cluster
// has no cert-manager. Its Secret is marked as the platform's, so that it goes and stays with it like other data: an
// authority limits how often it issues one anew.
func Certificate(ap *assetv1.AssetPlatform, f Facts) *unstructured.Unstructured {
	n := ap.Spec.Networking
	if n.TLS == nil || n.TLS.IssuerRef == nil || !f.Installed[KindCertificate] {
		return nil
	}
	labels := map[string]any{}
	for key, value := range Labels(ap, ComponentServer) {
		labels[key] = value
	}
	return optional(KindCertificate, meta(ap, ComponentServer, CertificateName(ap)), map[string]any{
		"secretName": CertificateName(ap),
		"secretTemplate": map[string]any{
			"labels": labels, "annotations": map[string]any{assetv1.AnnotationRetainedFor: RetainedFor(ap)},
		},
		"dnsNames":   []any{n.Host},
		"issuerRef":  map[string]any{"group": cmp.Or(n.TLS.IssuerRef.Group, KindCertificate.Group), "kind": cmp.Or(n.TLS.IssuerRef.Kind, "Issuer"), "name": n.TLS.IssuerRef.Name},
		"privateKey": map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Always"},
		"usages":     []any{"digital signature", "server auth"},
	})
}

// TLSSecretName is the Secret with the host's certificate; empty where the spec asks for no TLS.
func TLSSecretName(ap *assetv1.AssetPlatform) string {
	switch tls := ap.Spec.Networking.TLS; {
	case tls == nil:
		return ""
	case tls.IssuerRef != nil:
		return CertificateName(ap)
	default:
		return tls.SecretName
	}
}

// ServesTLS says whether the API's pods end TLS themselves: where nothing before them does.
func ServesTLS(ap *assetv1.AssetPlatform) bool {
	n := ap.Spec.Networking
	return n.TLS != nil && n.Ingress == nil && n.Gateway == nil
}

// addKeyPair gives API pods the certificate that they serve with. The kubelet holds a pod back until it is there, and
// swaps the files when it is renewed.
func addKeyPair(ap *assetv1.AssetPlatform, pod *corev1.PodSpec) {
	if !ServesTLS(ap) {
		return
	}
	server := &pod.Containers[0]
	server.Ports = append(server.Ports, corev1.ContainerPort{Name: httpsPort, ContainerPort: config.TLSPort, Protocol: corev1.ProtocolTCP})
	server.VolumeMounts = append(server.VolumeMounts, corev1.VolumeMount{Name: "tls", MountPath: config.TLSDirectory, ReadOnly: true})
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "tls", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: TLSSecretName(ap)},
	}})
}
