package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// fieldManager owns every field that the operator applies.
const fieldManager = "assetplatform-operator"

// ErrNameConflict: an object of a child's name exists and is not this platform's.
var ErrNameConflict = errors.New("name conflict")

// applier is the only writer of children. It applies server-side, and only what is
// not already proved to be as wanted: a settled platform costs no request.
type applier struct {
	client client.Client
	// uncached sees what the cache of our own objects cannot: somebody else's object of the same name.
	uncached client.Reader
	// proved remembers, per object, the resource version at which an intent was found to change nothing.
	proved sync.Map // objectKey → proof
}

type objectKey struct {
	kind string
	name types.NamespacedName
}

type proof struct {
	resourceVersion string
	intent          [sha256.Size]byte
}

// apply makes the cluster hold desired. It says whether the cached object was
// already proved to be so; if not, what the cache holds may be older than desired.
// A namesake that is not the platform's is left alone: ErrNameConflict.
func (a *applier) apply(ctx context.Context, ap *assetv1.AssetPlatform, desired client.Object) (settled bool, err error) {
	intent, err := manifests.Intent(desired)
	if err != nil {
		return false, err
	}
	key := objectKey{kind: intent.GetKind(), name: client.ObjectKeyFromObject(desired)}
	want := proof{intent: intentHash(intent)}

	live := newLike(desired)
	switch err := a.client.Get(ctx, key.name, live); {
	case apierrors.IsNotFound(err):
		if err := a.checkForeign(ctx, ap, intent); err != nil {
			return false, err
		}
	case err != nil:
		return false, fmt.Errorf("read cached %s: %w", describe(intent), err)
	default:
		if !belongsTo(ap, live) {
			return false, conflict(intent)
		}
		want.resourceVersion = live.GetResourceVersion()
		if seen, ok := a.proved.Load(key); ok && seen == want {
			return true, nil
		}
		if same, err := ownsExactly(live, intent); err != nil {
			return false, err
		} else if same {
			a.proved.Store(key, want)
			return true, nil
		}
	}

	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(intent), client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
		return false, fmt.Errorf("apply %s: %w", describe(intent), err)
	}
	want.resourceVersion = intent.GetResourceVersion()
	a.proved.Store(key, want)
	return false, nil
}

// checkForeign looks for a namesake outside of the cache.
func (a *applier) checkForeign(ctx context.Context, ap *assetv1.AssetPlatform, intent *unstructured.Unstructured) error {
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(intent.GroupVersionKind())
	switch err := a.uncached.Get(ctx, client.ObjectKeyFromObject(intent), found); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("look for a namesake of %s: %w", describe(intent), err)
	case !belongsTo(ap, found):
		return conflict(intent)
	}
	return nil
}

// prune deletes what this platform owns and no longer wants: everything of the
// kinds that Build can make but for data, which outlives its use, and for content
// that an older revision may still start from.
func (a *applier) prune(ctx context.Context, ap *assetv1.AssetPlatform, wanted []client.Object) error {
	keep, err := a.referencedContent(ctx, ap)
	if err != nil {
		return err
	}
	for _, o := range wanted {
		keep[objectKeyOf(o)] = true
	}
	for _, list := range prunedLists() {
		if err := a.client.List(ctx, list, inPlatform(ap)...); err != nil {
			return fmt.Errorf("list children: %w", err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return err
		}
		for _, item := range items {
			o := item.(client.Object)
			if keep[objectKeyOf(o)] || !metav1.IsControlledBy(o, ap) || isData(ap, o) || o.GetDeletionTimestamp() != nil {
				continue
			}
			if err := a.delete(ctx, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *applier) delete(ctx context.Context, o client.Object) error {
	uid := o.GetUID()
	err := a.client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %s %s: %w", kindOf(o), o.GetName(), err)
	}
	a.proved.Delete(objectKeyOf(o))
	return nil
}

// referencedContent are the ConfigMaps and Secrets that retained ReplicaSets name.
// Jobs read theirs from the current facts, which are wanted anyway.
func (a *applier) referencedContent(ctx context.Context, ap *assetv1.AssetPlatform) (map[objectKey]bool, error) {
	keep := map[objectKey]bool{}
	add := func(kind, name string) {
		keep[objectKey{kind: kind, name: types.NamespacedName{Namespace: ap.Namespace, Name: name}}] = true
	}
	var sets appsv1.ReplicaSetList
	if err := a.client.List(ctx, &sets, inPlatform(ap)...); err != nil {
		return nil, fmt.Errorf("list replica sets: %w", err)
	}
	var pods corev1.PodList
	if err := a.client.List(ctx, &pods, inPlatform(ap)...); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	templates := make([]corev1.PodSpec, 0, len(sets.Items)+len(pods.Items))
	for _, set := range sets.Items {
		templates = append(templates, set.Spec.Template.Spec)
	}
	for _, pod := range pods.Items {
		templates = append(templates, pod.Spec)
	}
	for _, template := range templates {
		for _, container := range template.Containers {
			for _, from := range container.EnvFrom {
				if from.ConfigMapRef != nil {
					add("ConfigMap", from.ConfigMapRef.Name)
				}
				if from.SecretRef != nil {
					add("Secret", from.SecretRef.Name)
				}
			}
		}
	}
	return keep, nil
}

// prunedLists are the kinds that Build can make and that may go when it no longer does.
func prunedLists() []client.ObjectList {
	return []client.ObjectList{
		&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{},
		&corev1.ServiceAccountList{}, &corev1.ConfigMapList{}, &corev1.SecretList{},
	}
}

// isData says whether o is data or opens data: it only goes with its platform.
func isData(ap *assetv1.AssetPlatform, o client.Object) bool {
	if _, secret := o.(*corev1.Secret); !secret {
		return false
	}
	switch o.GetName() {
	case manifests.PostgresName(ap), manifests.RedisName(ap), manifests.S3Name(ap), manifests.AuthSecretName(ap):
		return true
	}
	return false
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

func conflict(o client.Object) error {
	return fmt.Errorf("%w: %s exists and is not this platform's: rename or delete it, or annotate it %s=true to hand it over",
		ErrNameConflict, describe(o), assetv1.AnnotationAdopt)
}

func intentHash(intent *unstructured.Unstructured) [sha256.Size]byte {
	text, err := json.Marshal(intent.Object) // map keys are sorted
	if err != nil {
		panic(fmt.Sprintf("an object of ours is no JSON: %v", err))
	}
	return sha256.Sum256(text)
}

func inPlatform(ap *assetv1.AssetPlatform) []client.ListOption {
	return []client.ListOption{client.InNamespace(ap.Namespace), client.MatchingLabels{
		manifests.LabelInstance: ap.Name, manifests.LabelManagedBy: manifests.ManagedBy,
	}}
}

func objectKeyOf(o client.Object) objectKey {
	return objectKey{kind: kindOf(o), name: client.ObjectKeyFromObject(o)}
}

// inventory lists the children that exist, as Kind.group/name, sorted.
func (a *applier) inventory(ctx context.Context, ap *assetv1.AssetPlatform) ([]string, error) {
	var names []string
	for _, list := range append(prunedLists(), &corev1.PersistentVolumeClaimList{}, &batchv1.JobList{}) {
		if err := a.client.List(ctx, list, inPlatform(ap)...); err != nil {
			return nil, fmt.Errorf("list children: %w", err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			o := item.(client.Object)
			if belongsTo(ap, o) {
				gvk, err := a.client.GroupVersionKindFor(o)
				if err != nil {
					return nil, err
				}
				names = append(names, gvk.GroupKind().String()+"/"+o.GetName())
			}
		}
	}
	slices.Sort(names)
	return names, nil
}
