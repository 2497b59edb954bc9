package controllers

import (
	"context"
	"net/http"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// What the operator may do is just what it does; a test runs it with these rights and no others.
// Whoever makes an object that exists go with its owner must be allowed to delete it
// (OwnerReferencesPermissionEnforcement), so adoption needs that right on every kind.
//
// +kubebuilder:rbac:groups=assetplatform.io,resources=assetplatforms,verbs=get;list;watch
// +kubebuilder:rbac:groups=assetplatform.io,resources=assetplatforms/status,verbs=patch
// +kubebuilder:rbac:groups=assetplatform.io,resources=assetplatforms/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=configmaps;persistentvolumeclaims;secrets;serviceaccounts;services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=list
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=replicasets,verbs=list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups=batch,resources=cronjobs,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses;networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingressclasses,verbs=list;watch
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gateways,verbs=list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificaterequests,verbs=list
// +kubebuilder:rbac:groups=cert-manager.io,resources=issuers;clusterissuers,verbs=get
// +kubebuilder:rbac:groups=acme.cert-manager.io,resources=orders;challenges,verbs=list
// +kubebuilder:rbac:groups=monitoring.coreos.com,resources=prometheusrules;servicemonitors,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=list;watch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// NewScheme knows every kind that the operator reads or writes.
func NewScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(assetv1.AddToScheme(scheme))
	return scheme
}

// ownedKinds are the kinds that the operator writes, beside manifests.OptionalKinds.
func ownedKinds() []client.Object {
	return []client.Object{
		&appsv1.Deployment{}, &appsv1.StatefulSet{}, &batchv1.Job{}, &batchv1.CronJob{}, &corev1.Service{}, &corev1.ServiceAccount{},
		&corev1.ConfigMap{}, &corev1.Secret{}, &corev1.PersistentVolumeClaim{},
		&autoscalingv2.HorizontalPodAutoscaler{}, &networkingv1.NetworkPolicy{}, &networkingv1.Ingress{}, &policyv1.PodDisruptionBudget{},
	}
}

// seenKinds are the kinds that others make from ours.
func seenKinds() []client.Object { return []client.Object{&appsv1.ReplicaSet{}, &corev1.Pod{}} }

// CacheOptions keep the cache as small as our own objects: it holds the platforms, and of all other kinds what carries our label.
func CacheOptions() cache.Options {
	options := cache.Options{
		DefaultLabelSelector: manifests.ManagedSelector, DefaultTransform: keepOwned,
		ByObject: map[client.Object]cache.ByObject{
			&assetv1.AssetPlatform{}: {Label: labels.Everything(), Transform: cache.TransformStripManagedFields()},
			&assetv1.AssetBackup{}:   {Label: labels.Everything(), Transform: cache.TransformStripManagedFields()},
			&assetv1.AssetRestore{}:  {Label: labels.Everything(), Transform: cache.TransformStripManagedFields()},
		},
		// A kind that the cluster has lost meanwhile must not be watched again for being asked about.
		ReaderFailOnMissingInformer: true,
	}
	for _, kind := range seenKinds() {
		options.ByObject[kind] = cache.ByObject{Transform: cache.TransformStripManagedFields()}
	}
	return options
}

// ClientOptions let the client read the optional kinds, which have no Go types, from the cache as well.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{Unstructured: true}}
}

// SetupWithManager registers the watches. mgr's cache and client must have been made with CacheOptions and ClientOptions.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, concurrency int) error {
	others, err := newOthersCache(mgr.GetConfig(), mgr.GetHTTPClient(), mgr.GetScheme(), mgr.GetRESTMapper())
	if err != nil {
		return err
	}
	if err := mgr.Add(others); err != nil {
		return err
	}
	if r.optional, err = newOptionalKinds(mgr.GetConfig(), mgr.GetHTTPClient()); err != nil {
		return err
	}
	r.optional.own, r.optional.others, r.optional.platforms = mgr.GetCache(), others, r.Client
	r.applier.client, r.applier.uncached, r.applier.secrets = r.Client, r.APIReader, others
	r.applier.optional, r.applier.clock = r.optional, r.now
	r.secrets.metadata, r.secrets.uncached = others, r.APIReader
	r.others = others.Cache

	metrics.Registry.Unregister(platformCollector{}) // of an operator that ran before in this process
	if err := metrics.Registry.Register(platformCollector{r.Client}); err != nil {
		return err
	}
	edited := predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
	b := ctrl.NewControllerManagedBy(mgr).
		Named("assetplatform").
		For(&assetv1.AssetPlatform{}, builder.WithPredicates(edited)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			// First come, first served. The priority queue serves what was there when the operator
			// started only when nothing else is left to do, which may be never.
			UsePriorityQueue: ptr.To(false),
			EnableWarmup:     ptr.To(true), // a new leader starts with warm caches
		})
	for _, kind := range slices.Concat(ownedKinds(), seenKinds()) {
		b = b.Watches(kind, handler.EnqueueRequestsFromMapFunc(platformOf))
	}
	r.optional.controller, err = b.
		Watches(&assetv1.AssetRestore{}, handler.EnqueueRequestsFromMapFunc(platformRestored)).
		WatchesRawSource(source.Kind(others, secretMetadata(), handler.TypedEnqueueRequestsFromMapFunc(r.platformsNaming))).
		WatchesRawSource(source.Kind(others, &networkingv1.IngressClass{}, handler.TypedEnqueueRequestsFromMapFunc(r.platformsOfClass))).
		WatchesRawSource(source.Channel(r.optional.wake, &handler.EnqueueRequestForObject{})).
		Build(r)
	if err != nil {
		return err
	}
	if err := r.setupOneTime(mgr); err != nil {
		return err
	}
	r.optional.handle = map[schema.GroupVersionKind]handler.EventHandler{kindGateway: handler.EnqueueRequestsFromMapFunc(r.platformsBehind)}
	for _, kind := range manifests.OptionalKinds {
		r.optional.handle[kind] = handler.EnqueueRequestsFromMapFunc(platformOf)
	}
	return r.optional.setup(mgr)
}

// setupOneTime registers the reconcilers of AssetBackups and AssetRestores.
func (r *Reconciler) setupOneTime(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).Named("assetbackup").For(&assetv1.AssetBackup{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(ownerOf("AssetBackup"))).
		Complete(reconcile.Func(r.reconcileBackup))
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("assetrestore").For(&assetv1.AssetRestore{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(ownerOf("AssetRestore"))).
		Watches(&assetv1.AssetPlatform{}, handler.EnqueueRequestsFromMapFunc(r.restoresIn)).
		Complete(reconcile.Func(r.reconcileRestore))
}

// ownerOf is the object of a kind that controls another.
func ownerOf(kind string) handler.MapFunc {
	return func(_ context.Context, o client.Object) []reconcile.Request {
		if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == kind {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: owner.Name}}}
		}
		return nil
	}
}

// platformRestored is the platform of an AssetRestore.
func platformRestored(_ context.Context, o client.Object) []reconcile.Request {
	name := o.(*assetv1.AssetRestore).Spec.Platform
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// restoresIn are the AssetRestores of a platform that have not ended.
func (r *Reconciler) restoresIn(ctx context.Context, o client.Object) (requests []reconcile.Request) {
	restores, err := r.restoresOf(ctx, o.(*assetv1.AssetPlatform))
	if err != nil {
		return nil // the cache has stopped
	}
	for i := range restores {
		if !hasEnded(&restores[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&restores[i])})
		}
	}
	return requests
}

// RegisterInformers makes both caches know every kind, and how it is looked for, before they start: only then does
// "synced" mean that everything is there.
func (r *Reconciler) RegisterInformers(ctx context.Context, mgr ctrl.Manager) error {
	for _, kind := range slices.Concat(ownedKinds(), seenKinds()) {
		if err := indexChildren(ctx, mgr.GetCache(), kind); err != nil {
			return err
		}
	}
	if err := indexPlatforms(ctx, mgr.GetCache()); err != nil {
		return err
	}
	for _, kind := range []client.Object{&assetv1.AssetBackup{}, &assetv1.AssetRestore{}} {
		if _, err := mgr.GetCache().GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return err
		}
	}
	for _, kind := range []client.Object{secretMetadata(), definitionMetadata(), &networkingv1.IngressClass{}} {
		if _, err := r.others.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return err
		}
	}
	return r.optional.lookAround(ctx)
}

// Synced says whether both caches hold everything.
func (r *Reconciler) Synced(ctx context.Context, mgr ctrl.Manager) bool {
	return mgr.GetCache().WaitForCacheSync(ctx) && r.others.WaitForCacheSync(ctx)
}

func secretMetadata() *metav1.PartialObjectMetadata {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return secret
}

func definitionMetadata() *metav1.PartialObjectMetadata {
	definition := &metav1.PartialObjectMetadata{}
	definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return definition
}

// platformOf is the platform whose name a child's label holds. Owner references would
// miss retained data.
func platformOf(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[manifests.LabelInstance]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// platformsNaming are the platforms whose spec names a Secret, or that make or made one of this
// name: somebody else's may be in the way, or one that was lost come back without our label.
func (r *Reconciler) platformsNaming(ctx context.Context, secret *metav1.PartialObjectMetadata) []reconcile.Request {
	return r.platformsWhere(ctx, nil, client.InNamespace(secret.Namespace), client.MatchingFields{bySecret: secret.Name})
}

// platformsOfClass are the platforms whose Ingress may be of a class, which is the default one where they name none.
func (r *Reconciler) platformsOfClass(ctx context.Context, class *networkingv1.IngressClass) []reconcile.Request {
	return r.platformsWhere(ctx, func(ap *assetv1.AssetPlatform) bool {
		in := ap.Spec.Networking.Ingress
		return in != nil && (in.ClassName == "" || in.ClassName == class.Name)
	})
}

// platformsBehind are the platforms that a Gateway leads to.
func (r *Reconciler) platformsBehind(ctx context.Context, gateway client.Object) []reconcile.Request {
	return r.platformsWhere(ctx, func(ap *assetv1.AssetPlatform) bool {
		g := ap.Spec.Networking.Gateway
		return g != nil && slices.ContainsFunc(g.ParentRefs, func(ref assetv1.GatewayRef) bool {
			return gatewayKey(ap, ref) == client.ObjectKeyFromObject(gateway)
		})
	})
}

// platformsWhere are the platforms that the options select and for which holds is true; nil: for all.
func (r *Reconciler) platformsWhere(ctx context.Context, holds func(*assetv1.AssetPlatform) bool, options ...client.ListOption) []reconcile.Request {
	var platforms assetv1.AssetPlatformList
	if err := r.List(ctx, &platforms, options...); err != nil {
		return nil // the cache has stopped
	}
	var requests []reconcile.Request
	for i := range platforms.Items {
		if holds == nil || holds(&platforms.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&platforms.Items[i])})
		}
	}
	return requests
}

// othersCache holds what is not ours, of every namespace: the metadata of Secrets and of definitions, IngressClasses and Gateways.
type othersCache struct{ cache.Cache }

// GetCache makes the manager treat it as a cache: started before the controllers, and
// on replicas that do not lead as well.
func (c othersCache) GetCache() cache.Cache { return c.Cache }

func newOthersCache(cfg *rest.Config, http *http.Client, scheme *runtime.Scheme, mapper meta.RESTMapper) (othersCache, error) {
	c, err := cache.New(cfg, cache.Options{HTTPClient: http, Scheme: scheme, Mapper: mapper, DefaultTransform: keepIdentity, ReaderFailOnMissingInformer: true})
	return othersCache{c}, err
}

// keepIdentity leaves of metadata only what their readers compare.
func keepIdentity(in any) (any, error) {
	if o, ok := in.(*metav1.PartialObjectMetadata); ok {
		o.ObjectMeta = metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, ResourceVersion: o.ResourceVersion, UID: o.UID, DeletionTimestamp: o.DeletionTimestamp}
		return in, nil
	}
	return cache.TransformStripManagedFields()(in)
}
