package controllers

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// platformURL is what a person would type: by the routes where there are any, else by the Service. Empty while that has no address.
func platformURL(ap *assetv1.AssetPlatform, o *observed) string {
	if len(o.routes) > 0 {
		for _, route := range o.routes {
			if strings.HasPrefix(route.url, "https://") {
				return route.url
			}
		}
		return o.routes[0].url
	}
	return serviceURL(ap, o.service)
}

// serviceURL names the platform's host; where it has none, the Service's address outside of the cluster, or inside of it.
func serviceURL(ap *assetv1.AssetPlatform, s *corev1.Service) string {
	host := ap.Spec.Networking.Host
	switch {
	case host != "":
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		if len(s.Status.LoadBalancer.Ingress) == 0 {
			return ""
		}
		in := s.Status.LoadBalancer.Ingress[0]
		host = in.IP
		if in.Hostname != "" {
			host = in.Hostname
		}
	default:
		host = fmt.Sprintf("%s.%s.svc", s.Name, s.Namespace)
	}
	if manifests.ServesTLS(ap) {
		return "https://" + host
	}
	if port := manifests.ServicePort(ap); port != 80 {
		return "http://" + net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "http://" + host
}
