package controllers

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
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
	return serviceURL(ap, o)
}

// serviceURL names the platform's host; where it has none, the Service's address outside of the cluster, or inside of it.
func serviceURL(ap *assetv1.AssetPlatform, o *observed) string {
	s, host := o.service, ap.Spec.Networking.Host
	scheme, usual, port := "http", int32(80), manifests.ServicePort(ap)
	if manifests.ServesTLS(ap) {
		scheme, usual, port = "https", 443, 443
	}
	switch {
	case host != "": // what leads from its usual ports to those of the nodes, say, is somebody else's
	case s.Spec.Type == corev1.ServiceTypeNodePort:
		port, host = nodePort(s, port), nodeAddress(ap, o.nodes, nodePort(s, port))
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		if len(s.Status.LoadBalancer.Ingress) > 0 {
			in := s.Status.LoadBalancer.Ingress[0]
			host = cmp.Or(in.Hostname, in.IP)
		}
	default:
		host = fmt.Sprintf("%s.%s.svc", s.Name, s.Namespace)
	}
	if host == "" || port == 0 {
		return ""
	}
	if port != usual {
		return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return scheme + "://" + host
}

// nodePort is the port of every node that leads to a port of the Service; 0 while it has none.
func nodePort(s *corev1.Service, port int32) int32 {
	for _, p := range s.Spec.Ports {
		if p.Port == port {
			return p.NodePort
		}
	}
	return 0
}

// nodeAddress is the address of one of the nodes, of which each will do: that of the status, as long as it is one of them, or
// none is known and the status has it with this port.
func nodeAddress(ap *assetv1.AssetPlatform, nodes []string, port int32) string {
	u, err := url.Parse(ap.Status.URL)
	if err == nil && (slices.Contains(nodes, u.Hostname()) || len(nodes) == 0 && net.ParseIP(u.Hostname()) != nil && u.Port() == strconv.Itoa(int(port))) {
		return u.Hostname()
	}
	if len(nodes) == 0 {
		return ""
	}
	return nodes[0]
}
