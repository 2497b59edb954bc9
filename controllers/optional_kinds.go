package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// kindGateway is read where the spec names one; it is somebody else's.
var kindGateway = schema.GroupVersionKind{Group: manifests.KindHTTPRoute.Group, Version: "v1", Kind: "Gateway"}

// definitions are the CustomResourceDefinitions of the optional kinds, by name.
var definitions = map[string]schema.GroupVersionKind{
	"certificates.cert-manager.io":          manifests.KindCertificate,
	"httproutes.gateway.networking.k8s.io":  manifests.KindHTTPRoute,
	"gateways.gateway.networking.k8s.io":    kindGateway,
	"servicemonitors.monitoring.coreos.com": manifests.KindServiceMonitor,
	"prometheusrules.monitoring.coreos.com": manifests.KindPrometheusRule,
}

// optionalKinds knows which of the kinds the cluster has that others define, and watches those. They come and go while the
// operator runs: each change wakes all platforms.
type optionalKinds struct {
	discovery discovery.DiscoveryInterface
	own       cache.Cache // of our objects
	others    cache.Cache // of Gateways
	platforms client.Reader
	handle    map[schema.GroupVersionKind]handler.EventHandler
	wake      chan event.GenericEvent

	controller controller.Controller // whose queue the watches feed

	mu        sync.Mutex
	installed map[schema.GroupVersionKind]bool

	tries map[string]int // to find a defined kind served, by definition; for Reconcile alone
}

func newOptionalKinds(cfg *rest.Config, client *http.Client) (*optionalKinds, error) {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("make a discovery client: %w", err)
	}
	return &optionalKinds{
		discovery: d, wake: make(chan event.GenericEvent), installed: map[schema.GroupVersionKind]bool{}, tries: map[string]int{},
	}, nil
}

// Installed are the kinds that the cluster has.
func (k *optionalKinds) Installed() map[schema.GroupVersionKind]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.installed)
}

// lists are empty lists of our kinds that the cluster has.
func (k *optionalKinds) lists() []client.ObjectList {
	var lists []client.ObjectList
	installed := k.Installed()
	for _, kind := range manifests.OptionalKinds {
		if installed[kind] {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(kind)
			lists = append(lists, list)
		}
	}
	return lists
}

// lookAround finds out about all kinds before the first pass, which would take what it does not know for absent.
func (k *optionalKinds) lookAround(ctx context.Context) error {
	for _, kind := range definitions {
		if _, err := k.look(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

// look finds out whether the cluster has a kind, and begins or ends its watch. It says whether that is news.
func (k *optionalKinds) look(ctx context.Context, kind schema.GroupVersionKind) (changed bool, err error) {
	has, err := k.serves(kind)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	had := k.installed[kind]
	k.mu.Unlock()
	if has == had {
		return false, nil
	}
	object, in := newOptional(kind), k.own
	if kind == kindGateway {
		in = k.others
	}
	if !has {
		k.remember(kind, false) // first, so that no pass brings the watch back
		return true, in.RemoveInformer(ctx, object)
	}
	if kind == kindGateway {
		_, err = in.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	} else {
		err = indexChildren(ctx, in, object)
	}
	if err != nil {
		return false, fmt.Errorf("watch %s: %w", kind.GroupKind(), err)
	}
	if err := k.controller.Watch(source.Kind[client.Object](in, object, k.handle[kind])); err != nil {
		return false, fmt.Errorf("watch %s: %w", kind.GroupKind(), err)
	}
	k.remember(kind, true)
	return true, nil
}

func (k *optionalKinds) remember(kind schema.GroupVersionKind, installed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.installed[kind] = installed
}

// serves asks the apiserver.
func (k *optionalKinds) serves(kind schema.GroupVersionKind) (bool, error) {
	list, err := k.discovery.ServerResourcesForGroupVersion(kind.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", kind.GroupKind(), err)
	}
	for _, resource := range list.APIResources {
		if resource.Kind == kind.Kind {
			return true, nil
		}
	}
	return false, nil
}

// Reconcile follows one definition. Nothing tells when a kind that is defined is served: it is looked for again, less and
// less often, for it may also be that another version of it is served for good.
func (k *optionalKinds) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	kind := definitions[req.Name]
	changed, err := k.look(ctx, kind)
	if err != nil {
		return ctrl.Result{}, err
	}
	if changed {
		if err := k.wakeAll(ctx); err != nil {
			return ctrl.Result{}, err
		}
	}
	definition := definitionMetadata()
	err = k.others.Get(ctx, req.NamespacedName, definition)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	if defined := err == nil && definition.DeletionTimestamp == nil; defined == k.Installed()[kind] {
		delete(k.tries, req.Name)
		return ctrl.Result{}, nil
	}
	k.tries[req.Name]++
	return ctrl.Result{RequeueAfter: min(50*time.Millisecond<<min(k.tries[req.Name], 20), 5*time.Minute)}, nil
}

// wakeAll has every platform looked at.
func (k *optionalKinds) wakeAll(ctx context.Context) error {
	var platforms assetv1.AssetPlatformList
	if err := k.platforms.List(ctx, &platforms); err != nil {
		return fmt.Errorf("list platforms: %w", err)
	}
	for i := range platforms.Items {
		select {
		case k.wake <- event.GenericEvent{Object: &platforms.Items[i]}:
		case <-ctx.Done():
		}
	}
	return nil
}

// setup lets every replica follow the definitions: one that comes to lead must know.
func (k *optionalKinds) setup(mgr ctrl.Manager) error {
	leads := false
	ours := predicate.NewTypedPredicateFuncs(func(o client.Object) bool { _, ok := definitions[o.GetName()]; return ok })
	return ctrl.NewControllerManagedBy(mgr).
		Named("optional-kinds").
		WithOptions(controller.Options{NeedLeaderElection: &leads}).
		WatchesRawSource(source.Kind[client.Object](k.others, definitionMetadata(), &handler.EnqueueRequestForObject{}, ours)).
		Complete(k)
}

// kindIsGoing says whether a pass failed because the cluster has lost a kind since it began.
func kindIsGoing(err error) bool {
	var unwatched *cache.ErrResourceNotCached
	return meta.IsNoMatchError(err) || errors.As(err, &unwatched) ||
		apierrors.IsNotFound(err) && strings.Contains(err.Error(), "the server could not find the requested resource")
}

func newOptional(kind schema.GroupVersionKind) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	return o
}
