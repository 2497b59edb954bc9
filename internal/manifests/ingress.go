package manifests

import (
	"maps"
	"strconv"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// Ingress leads the host to the API; nil where the spec asks for none.
func Ingress(ap *assetv1.AssetPlatform, f Facts) *networkingv1.Ingress {
	n := ap.Spec.Networking
	if n.Ingress == nil {
		return nil
	}
	ingress := &networkingv1.Ingress{
		TypeMeta:   typeMeta(networkingv1.SchemeGroupVersion, "Ingress"),
		ObjectMeta: meta(ap, ComponentServer, ServerName(ap)),
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: n.Host,
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: ptr.To(networkingv1.PathTypePrefix),
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: ServiceName(ap), Port: networkingv1.ServiceBackendPort{Name: httpPort},
				}},
			}}}},
		}}},
	}
	if n.Ingress.ClassName != "" {
		ingress.Spec.IngressClassName = &n.Ingress.ClassName
	}
	if n.TLS != nil {
		ingress.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{n.Host}, SecretName: TLSSecretName(ap)}}
	}
	annotations := uploadAnnotations(ap, f.IngressController)
	maps.Copy(annotations, n.Ingress.Annotations)
	if len(annotations) > 0 {
		ingress.Annotations = annotations
	}
	return ingress
}

// slowUploadSeconds is how long a proxy should wait for an answer: the API gives none before it has the whole file, and
// 50 MB take seven minutes at one Mbit/s.
const slowUploadSeconds = 600

// formOverhead is how much larger than its file the body of an upload may be: names, tags, boundaries.
const formOverhead = 1 << 20

// uploadAnnotations are what an ingress controller, known by the spec.controller of its class, needs so that it passes
// uploads of the size that the API takes. The controllers that are not here limit no bodies unless they are told to.
func uploadAnnotations(ap *assetv1.AssetPlatform, controller string) map[string]string {
	size := strconv.FormatInt(max(maxFileSize(ap.Spec.Server.MaxFileSize.Image, config.MaxFileSizeImage), maxFileSize(ap.Spec.Server.MaxFileSize.Audio, config.MaxFileSizeAudio))+formOverhead, 10)
	seconds := strconv.Itoa(slowUploadSeconds)
	switch controller {
	case "k8s.io/ingress-nginx": // kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations
		const prefix = "nginx.ingress.kubernetes.io/"
		return map[string]string{
			prefix + "proxy-body-size": size, prefix + "proxy-read-timeout": seconds, prefix + "proxy-send-timeout": seconds,
			prefix + "proxy-request-buffering": "off", // or every upload is written to the controller's disk first
		}
	case "nginx.org/ingress-controller": // docs.nginx.com/nginx-ingress-controller/configuration/ingress-resources/advanced-configuration-with-annotations
		const prefix = "nginx.org/"
		return map[string]string{prefix + "client-max-body-size": size, prefix + "proxy-read-timeout": seconds + "s", prefix + "proxy-send-timeout": seconds + "s"}
	case "ingress.k8s.aws/alb": // kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations
		const prefix = "alb.ingress.kubernetes.io/"
		return map[string]string{prefix + "load-balancer-attributes": "idle_timeout.timeout_seconds=" + seconds, prefix + "healthcheck-path": config.PathHealth}
	}
	return map[string]string{}
}
