package controllers

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// route is a way to the API from outside of the cluster, as last seen.
type route struct {
	url       string // that people type
	pending   string // what is still waited for, a sentence
	problem   *finding
	addresses []string // host:port at which it should answer
}

// routes that answer no more are asked again this soon at first; later with each pass.
const (
	routeRecheck = 5 * time.Second
	routeHope    = time.Minute
)

// observeRoutes finds out what became of the Ingress and the HTTPRoute, and whether the API answers through them.
func (r *Reconciler) observeRoutes(ctx context.Context, p *pass, o *observed) error {
	n := p.ap.Spec.Networking
	if n.Ingress != nil {
		in, err := r.ingressRoute(ctx, p)
		if err != nil {
			return err
		}
		o.routes = append(o.routes, in)
	}
	if n.Gateway != nil {
		through, err := r.gatewayRoutes(ctx, p)
		if err != nil {
			return err
		}
		o.routes = append(o.routes, through...)
	}
	if !p.facts.NothingServes(p.ap) {
		r.askRoutes(ctx, p, o.routes)
	}
	if slices.ContainsFunc(o.routes, func(found *route) bool { return found.problem != nil }) {
		p.requeueIn(r.routeInterval(p.ap))
	}
	return nil
}

// askRoutes makes it a problem of a route if the API does not answer through it. One silence after an answer is let pass: a
// proxy is reloaded, a pod ends.
func (r *Reconciler) askRoutes(ctx context.Context, p *pass, routes []*route) {
	silent := map[*route]*finding{}
	for _, found := range routes {
		if found.problem != nil || found.pending != "" {
			continue
		}
		for _, address := range found.addresses {
			if err := askRoute(ctx, found.url, address); err != nil {
				silent[found] = &finding{
					reason: assetv1.ReasonRouteSilent, where: "Host " + p.ap.Spec.Networking.Host,
					problem: fmt.Sprintf("%s does not answer at %s (%s)", found.url, address, err),
					remedy:  "see what its controller says, and let the operator's pods reach that address",
				}
				break
			}
		}
	}
	platform := client.ObjectKeyFromObject(p.ap)
	if len(silent) == 0 {
		r.silent.Delete(platform)
		return
	}
	_, before := r.silent.LoadOrStore(platform, true)
	if !before && meta.IsStatusConditionTrue(p.ap.Status.Conditions, assetv1.ConditionRoutesReady) {
		p.requeueIn(time.Second)
		return
	}
	for found, problem := range silent {
		found.problem = problem
	}
}

// routeInterval is how soon a route that does not answer is asked again.
func (r *Reconciler) routeInterval(ap *assetv1.AssetPlatform) time.Duration {
	c := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionRoutesReady)
	if c == nil || r.now().Sub(c.LastTransitionTime.Time) < routeHope {
		return min(routeRecheck, r.interval())
	}
	return r.interval()
}

func (r *Reconciler) ingressRoute(ctx context.Context, p *pass) (*route, error) {
	n := p.ap.Spec.Networking
	scheme, port := "http", "80"
	if n.TLS != nil {
		scheme, port = "https", "443"
	}
	found := &route{url: scheme + "://" + n.Host}
	ingress, err := child(ctx, r, p, manifests.ServerName(p.ap), &networkingv1.Ingress{})
	if err != nil {
		return nil, err
	}
	if ingress == nil {
		found.pending = "The Ingress is being made"
		return found, nil
	}
	for _, in := range ingress.Status.LoadBalancer.Ingress {
		if host := in.IP + in.Hostname; host != "" {
			found.addresses = append(found.addresses, net.JoinHostPort(host, port))
		}
	}
	switch {
	case len(found.addresses) > 0:
	case p.facts.IngressController != "":
		found.pending = fmt.Sprintf("Ingress %s has no address yet: if that lasts, see that its controller (%s) runs and publishes its address", ingress.Name, outside(p.facts.IngressController))
	case ptr.Deref(ingress.Spec.IngressClassName, n.Ingress.ClassName) != "":
		class := ptr.Deref(ingress.Spec.IngressClassName, n.Ingress.ClassName)
		found.problem = &finding{
			reason: assetv1.ReasonNoController, where: "Ingress " + ingress.Name,
			problem: fmt.Sprintf("There is no IngressClass %s, and nobody serves Ingress %s", class, ingress.Name),
			remedy:  "install its ingress controller, or set spec.networking.ingress.className to a class that kubectl get ingressclass shows",
		}
	default:
		found.problem = &finding{
			reason: assetv1.ReasonNoController, where: "Ingress " + ingress.Name,
			problem: fmt.Sprintf("The cluster has no default IngressClass, and nobody serves Ingress %s", ingress.Name),
			remedy:  "install an ingress controller, or set spec.networking.ingress.className to a class that kubectl get ingressclass shows",
		}
	}
	return found, nil
}

// gatewayRoutes are the ways through each of the spec's Gateways.
func (r *Reconciler) gatewayRoutes(ctx context.Context, p *pass) ([]*route, error) {
	n := p.ap.Spec.Networking
	if !p.facts.Installed[manifests.KindHTTPRoute] || !p.facts.Installed[kindGateway] {
		return []*route{{url: "http://" + n.Host, problem: &finding{
			reason: assetv1.ReasonCRDNotInstalled, where: "HTTPRoute " + manifests.ServerName(p.ap),
			problem: "The cluster has no Gateway API (gateway.networking.k8s.io/v1), which spec.networking.gateway needs",
			remedy:  "install it with a controller that implements it (gateway-api.sigs.k8s.io/implementations), or use spec.networking.ingress",
		}}}, nil
	}
	object, err := child(ctx, r, p, manifests.ServerName(p.ap), newOptional(manifests.KindHTTPRoute))
	if err != nil {
		return nil, err
	}
	if object == nil {
		return []*route{{url: "http://" + n.Host, pending: "The HTTPRoute is being made"}}, nil
	}
	var status routeStatus
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &status); err != nil {
		return nil, fmt.Errorf("status of %s: %w", describe(object), err)
	}
	var routes []*route
	for _, ref := range n.Gateway.ParentRefs {
		found, err := r.gatewayRoute(ctx, p, ref, status.Status.Parents)
		if err != nil {
			return nil, err
		}
		routes = append(routes, found)
	}
	return routes, nil
}

// routeStatus and gateway are what is read of the kinds of the Gateway API
// (gateway-api.sigs.k8s.io/reference/spec).
type routeStatus struct {
	Status struct {
		Parents []parentStatus `json:"parents"`
	} `json:"status"`
}

type parentStatus struct {
	ParentRef  assetv1.GatewayRef `json:"parentRef"`
	Conditions []metav1.Condition `json:"conditions"`
}

type gateway struct {
	Spec struct {
		Listeners []listener `json:"listeners"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Value string `json:"value"`
		} `json:"addresses"`
	} `json:"status"`
}

type listener struct {
	Name     string `json:"name"`
	Hostname string `json:"hostname"`
	Protocol string `json:"protocol"`
	Port     int32  `json:"port"`
}

func gatewayKey(ap *assetv1.AssetPlatform, ref assetv1.GatewayRef) client.ObjectKey {
	key := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
	if key.Namespace == "" {
		key.Namespace = ap.Namespace
	}
	return key
}

func (r *Reconciler) gatewayRoute(ctx context.Context, p *pass, ref assetv1.GatewayRef, parents []parentStatus) (*route, error) {
	key, host := gatewayKey(p.ap, ref), p.ap.Spec.Networking.Host
	where := "Gateway " + key.String()
	found := &route{url: "http://" + host}
	object := newOptional(kindGateway)
	switch err := r.others.Get(ctx, key, object); {
	case apierrors.IsNotFound(err):
		found.problem = &finding{
			reason: assetv1.ReasonGatewayNotFound, where: where, problem: where + " does not exist",
			remedy: "create it, or correct spec.networking.gateway.parentRefs",
		}
		return found, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", where, err)
	}
	var g gateway
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &g); err != nil {
		return nil, fmt.Errorf("read %s: %w", where, err)
	}
	serving := listenersFor(g.Spec.Listeners, ref, host)
	if len(serving) > 0 {
		found.url = listenerURL(serving[0], host)
		for _, address := range g.Status.Addresses {
			found.addresses = append(found.addresses, net.JoinHostPort(address.Value, strconv.Itoa(int(serving[0].Port))))
		}
	}
	said := slices.IndexFunc(parents, func(s parentStatus) bool {
		of := s.ParentRef
		return of.Name == ref.Name && (of.Namespace == key.Namespace || of.Namespace == "" && key.Namespace == p.ap.Namespace) && of.SectionName == ref.SectionName && of.Port == ref.Port
	})
	if said < 0 {
		found.pending = where + " has not taken the route yet: if that lasts, see that the controller of its class runs"
		return found, nil
	}
	for _, c := range parents[said].Conditions {
		if (c.Type == "Accepted" || c.Type == "ResolvedRefs") && c.Status == metav1.ConditionFalse {
			found.problem = &finding{
				reason: assetv1.ReasonRouteRefused, where: where,
				problem: fmt.Sprintf("%s refuses the route (%s: %s)", where, outside(c.Reason), outside(strings.TrimSuffix(c.Message, "."))),
				remedy:  "let a listener of it admit routes of this namespace for this host, or correct spec.networking.gateway.parentRefs",
			}
			return found, nil
		}
	}
	if len(found.addresses) == 0 {
		found.pending = where + " has no address yet: if that lasts, see that the controller of its class runs"
	}
	return found, nil
}

// listenersFor are the listeners of a Gateway that serve a host, those with TLS first.
func listenersFor(all []listener, ref assetv1.GatewayRef, host string) []listener {
	listeners := slices.DeleteFunc(slices.Clone(all), func(l listener) bool {
		other := ref.SectionName != "" && l.Name != ref.SectionName || ref.Port != 0 && l.Port != ref.Port
		return other || l.Protocol != "HTTP" && l.Protocol != "HTTPS" || !admitsHost(l.Hostname, host)
	})
	slices.SortStableFunc(listeners, func(a, b listener) int { return strings.Compare(b.Protocol, a.Protocol) })
	return listeners
}

// admitsHost says whether a listener's hostname, which may begin with a wildcard or be empty, takes a host.
func admitsHost(pattern, host string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	return pattern == "" || pattern == host || wild && strings.HasSuffix(host, suffix) && len(host) > len(suffix)
}

func listenerURL(l listener, host string) string {
	scheme, usual := "http", int32(80)
	if l.Protocol == "HTTPS" {
		scheme, usual = "https", 443
	}
	if l.Port == usual {
		return scheme + "://" + host
	}
	return fmt.Sprintf("%s://%s:%d", scheme, host, l.Port)
}

// routesVerdict is what all routes together amount to; nil where the spec asks for none.
func routesVerdict(ap *assetv1.AssetPlatform, o *observed) *verdict {
	if len(o.routes) == 0 {
		return nil
	}
	v := yes(assetv1.ReasonAnswers, o.routes[0].url+" answers")
	for _, found := range o.routes {
		if found.pending != "" {
			v = waiting(assetv1.ReasonProgressing, found.pending)
			break
		}
	}
	for _, found := range o.routes {
		if found.problem != nil {
			v = no(found.problem)
			break
		}
	}
	if ap.Spec.Hibernate {
		v = unknown("Nothing runs that could answer: the platform hibernates")
	} else if o.facts.Restoring {
		v = unknown("Nothing runs that could answer: the platform is being restored")
	}
	return &v
}
