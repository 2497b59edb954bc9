package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// fieldManager owns every field that the operator applies.
const fieldManager = "assetplatform-operator"

// noVersion is a resource version that no object has: etcd begins to count at 1, before the first object. Applied with it, an
// object is made; where one of its name is there, the apiserver answers with a conflict.
const noVersion = "1"

// applier is the only writer of children. It applies server-side, and only what is
// not already proved to be as wanted: a settled platform costs no request.
type applier struct {
	client client.Client
	// uncached sees what the cache of our own objects cannot: somebody else's object of the same name.
	uncached client.Reader
	// secrets knows every Secret there is, if little of it.
	secrets  client.Reader
	optional *optionalKinds
	clock    func() time.Time

	mu sync.Mutex
	// fights are the objects that had to be repaired of late, of any platform.
	fights map[objectKey]*fight
	// proved remembers, per platform and object, the resource version at which an intent changed nothing.
	proved map[types.NamespacedName]map[objectKey]proof
}

type objectKey struct {
	kind string
	name types.NamespacedName
}

type proof struct {
	resourceVersion string
	intent          string    // its digest
	applied         time.Time // the last time; not when it was merely seen to be so
}

// errNotSeen says that the cache does not show yet what was applied a moment ago. Until it does, another apply of the same would
// be a guess: it could not be told from a repair of what somebody else has changed since.
var errNotSeen = errors.New("the cache is behind")

// apply makes the cluster hold desired. It says whether the cached object was
// already proved to be so; if not, what the cache holds may be older than desired.
// A namesake that is not the platform's is left alone: the error is a finding.
func (a *applier) apply(ctx context.Context, ap *assetv1.AssetPlatform, desired client.Object) (settled bool, err error) {
	c, err := a.compare(ctx, ap, desired)
	if err != nil {
		return false, err
	}
	if c.awaited {
		return false, errors.Join(errNotSeen, asError(a.fought(c.key, describe(c.intent))))
	}
	if c.same {
		return c.live.GetDeletionTimestamp() == nil, asError(a.fought(c.key, describe(c.intent)))
	}
	if c.uid == "" && isGenerated(desired) {
		if err := a.secrets.Get(ctx, c.key.name, secretMetadata()); apierrors.IsNotFound(err) {
			return false, nil // without a request
		}
		if c.uid, err = a.namesake(because(ctx, "lookup"), ap, c.intent); err != nil || c.uid == "" {
			return false, err // deleted a moment ago: applied, it would come back without its values
		}
	}
	ctx = because(ctx, c.cause())
	may, rival, err := a.mayRepair(ctx, c)
	if err != nil {
		return false, err
	}
	if !may {
		return false, asError(a.fought(c.key, describe(c.intent)))
	}
	if d, ok := c.live.(*appsv1.Deployment); ok && c.uid != "" {
		if err := a.handOverReplicas(ctx, d, c.intent); err != nil {
			return false, err
		}
	}
	applied, err := a.write(ctx, ap, c)
	if err != nil {
		return false, err
	}
	if placeTaken(applied.Object, c.intent.Object) { // now that ours is beside it, the other can go
		_, err := a.resetPlaces(ctx, applied.GetUID(), c.intent, nil)
		return false, err // and the next pass proves what that left
	}
	if c.proved && applied.GetResourceVersion() != c.live.GetResourceVersion() {
		a.repaired(c.key, rival)
	}
	c.want.resourceVersion, c.want.applied = applied.GetResourceVersion(), a.clock()
	a.remember(ap, c.key, c.want)
	return false, asError(a.fought(c.key, describe(c.intent)))
}

// write makes the object of a comparison, or changes just the one that was compared: one that is there after all, was deleted
// meanwhile, or is another now, is a conflict. What the cache does not show is no reason to ask for a namesake first: that is
// one request less for each new object.
func (a *applier) write(ctx context.Context, ap *assetv1.AssetPlatform, c comparison) (applied *unstructured.Unstructured, err error) {
	try := func(uid types.UID) error {
		applied = c.intent.DeepCopy()
		applied.SetUID(uid)
		if uid == "" {
			applied.SetResourceVersion(noVersion)
		}
		return a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(fieldManager), client.ForceOwnership)
	}
	err = try(c.uid)
	if apierrors.IsConflict(err) && c.uid == "" {
		var lookup error
		if c.uid, lookup = a.namesake(because(ctx, "lookup"), ap, c.intent); lookup != nil {
			return nil, lookup
		}
		if c.uid != "" { // else it went meanwhile, or the conflict is another: the next pass finds out
			err = try(c.uid)
		}
	}
	if apierrors.IsInvalid(err) && c.uid != "" {
		var reset bool
		if reset, err = a.resetPlaces(ctx, c.uid, c.intent, err); reset {
			err = try(c.uid)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", describe(c.intent), err)
	}
	return applied, nil
}

// asError keeps a finding that is none from becoming an error that is.
func asError(f *finding) error {
	if f == nil {
		return nil
	}
	return f
}

// comparison is an object as it is wanted beside the one that is there.
type comparison struct {
	key    objectKey
	intent *unstructured.Unstructured
	want   proof
	live   client.Object
	uid    types.UID // of the object that an apply would change; empty while the cache shows none
	same   bool      // live is proved to be as wanted
	proved bool      // it was so before, with the same intent
	// awaited says that just this was applied a moment ago, and that the cache does not show it yet.
	awaited bool
}

// cause is why an apply is needed, for the metrics.
func (c comparison) cause() string {
	switch {
	case c.proved:
		return "drift"
	case c.uid == "":
		return "create"
	}
	return "spec"
}

// compare finds out, mostly without a request, whether applying desired would change anything.
func (a *applier) compare(ctx context.Context, ap *assetv1.AssetPlatform, desired client.Object) (c comparison, err error) {
	if c.intent, err = manifests.Intent(desired); err != nil {
		return c, err
	}
	c.key, c.want, c.live = objectKeyOf(c.intent), proof{intent: digestOf(c.intent.Object)}, newLike(desired)
	known, applied := a.proof(ap, c.key)
	switch err := a.client.Get(ctx, c.key.name, c.live); {
	case apierrors.IsNotFound(err):
		if applied { // and is not in the cache yet, or was deleted
			c.uid, err = a.namesake(because(ctx, "lookup"), ap, c.intent)
			return c, err
		}
		return c, nil
	case err != nil:
		return c, fmt.Errorf("read cached %s: %w", describe(c.intent), err)
	case !belongsTo(ap, c.live):
		return c, conflict(ap, c.intent, c.live)
	}
	c.uid = c.live.GetUID()
	if applied && olderThan(c.live, known.resourceVersion) {
		c.awaited = known.intent == c.want.intent && a.clock().Sub(known.applied) < cacheDelay
		return c, nil // the cache does not show our last apply yet: it proves nothing
	}
	c.proved = applied && known.intent == c.want.intent
	c.want.resourceVersion, c.want.applied = c.live.GetResourceVersion(), known.applied
	c.same = c.proved && known.resourceVersion == c.want.resourceVersion
	if !c.same {
		if c.same, err = ownsExactly(c.live, c.intent); err != nil {
			return c, err
		}
	}
	if c.same {
		a.remember(ap, c.key, c.want)
	}
	return c, nil
}

// namesake looks for an object of this name outside of the cache and returns its UID.
func (a *applier) namesake(ctx context.Context, ap *assetv1.AssetPlatform, intent *unstructured.Unstructured) (types.UID, error) {
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(intent.GroupVersionKind())
	switch err := a.uncached.Get(ctx, client.ObjectKeyFromObject(intent), found); {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for a namesake of %s: %w", describe(intent), err)
	case !belongsTo(ap, found):
		return "", conflict(ap, intent, found)
	}
	return found.UID, nil
}

func (a *applier) proof(ap *assetv1.AssetPlatform, key objectKey) (proof, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.proved[client.ObjectKeyFromObject(ap)][key]
	return p, ok
}

func (a *applier) remember(ap *assetv1.AssetPlatform, key objectKey, p proof) {
	a.mu.Lock()
	defer a.mu.Unlock()
	platform := client.ObjectKeyFromObject(ap)
	if a.proved == nil {
		a.proved = map[types.NamespacedName]map[objectKey]proof{}
	}
	if a.proved[platform] == nil {
		a.proved[platform] = map[objectKey]proof{}
	}
	a.proved[platform][key] = p
}

// retain drops what is remembered of objects that a platform wants no longer.
func (a *applier) retain(ap *assetv1.AssetPlatform, wanted []client.Object) {
	keep := keysOf(wanted)
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.proved[client.ObjectKeyFromObject(ap)], func(key objectKey, _ proof) bool { return !keep[key] })
}

// forget drops what is remembered of a platform that is gone.
func (a *applier) forget(platform types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.proved, platform)
	maps.DeleteFunc(a.fights, func(_ objectKey, f *fight) bool { return f.forgotten(a.clock()) })
}

// olderThan says whether an object is from before a resource version.
func olderThan(o client.Object, version string) bool {
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), version)
	return err == nil && order < 0
}

// isGenerated says whether desired is a Secret whose values are made elsewhere (manifests.GeneratedSecrets).
func isGenerated(desired client.Object) bool {
	secret, ok := desired.(*corev1.Secret)
	return ok && secret.Data == nil
}

// belongsTo says whether the platform may write an object: it owns it, the data was
// retained for a platform of this name, or the object's owner said that it may be adopted.
func belongsTo(ap *assetv1.AssetPlatform, o client.Object) bool {
	if owner := metav1.GetControllerOf(o); owner != nil {
		return owner.UID == ap.UID
	}
	notes := o.GetAnnotations()
	return notes[assetv1.AnnotationRetainedFor] == manifests.RetainedFor(ap) || notes[assetv1.AnnotationAdopt] == "true"
}

// conflict is the finding that wanted exists and is not the platform's.
func conflict(ap *assetv1.AssetPlatform, wanted, found client.Object) *finding {
	where := describe(wanted)
	f := &finding{reason: assetv1.ReasonNameConflict, where: where}
	owner := metav1.GetControllerOf(found)
	switch {
	case owner == nil:
		f.problem = where + " exists and is not this platform's"
		f.remedy = fmt.Sprintf("rename or delete it, or annotate it with %s=true to hand it over", assetv1.AnnotationAdopt)
	case owner.Kind == "AssetPlatform" && owner.Name == ap.Name:
		f.problem = where + " is left of an earlier platform of this name"
		f.remedy = "wait for the cluster to remove it; if it stays, delete it"
	default:
		f.problem = fmt.Sprintf("%s exists and belongs to %s %s", where, owner.Kind, owner.Name)
		f.remedy = "give this platform or that object another name"
	}
	return f
}

func objectKeyOf(o client.Object) objectKey {
	return objectKey{kind: kindOf(o), name: client.ObjectKeyFromObject(o)}
}

func keysOf(objects []client.Object) map[objectKey]bool {
	keys := map[objectKey]bool{}
	for _, o := range objects {
		keys[objectKeyOf(o)] = true
	}
	return keys
}
