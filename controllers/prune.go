package controllers

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// prune deletes what this platform owns and no longer wants, of the kinds that Build
// leaves out when a part is not wanted. Content that an older revision or a running
// Job may still start from stays, and while old pods serve, so do the parts that they use.
// Data only goes with its platform.
func (a *applier) prune(ctx context.Context, ap *assetv1.AssetPlatform, wanted []client.Object, oldPods bool) error {
	keep := keysOf(wanted)
	var unwanted []client.Object
	err := a.children(ctx, ap, append(prunedLists(), a.optional.lists()...), func(o client.Object) {
		if oldPods && managedField(componentOf(o)) != "" {
			return
		}
		if _, ok := o.(*batchv1.CronJob); ok && slices.Contains(manifests.BackupObjects(ap), o.GetName()) {
			return // with it would go its Jobs, and what they have to say; a Secret that is missing may come back
		}
		if !keep[objectKeyOf(o)] && metav1.IsControlledBy(o, ap) && !isData(o) && o.GetDeletionTimestamp() == nil {
			unwanted = append(unwanted, o)
		}
	})
	if err != nil || len(unwanted) == 0 {
		return err
	}
	referenced, err := a.referencedContent(ctx, ap)
	if err != nil {
		return err
	}
	for _, o := range wanted { // also what is not there at the moment
		eachReference(podSpec(o), func(kind, name string) {
			referenced[objectKey{kind: kind, name: types.NamespacedName{Namespace: ap.Namespace, Name: name}}] = true
		})
	}
	for _, o := range unwanted {
		if !referenced[objectKeyOf(o)] {
			if err := a.delete(ctx, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// prunedLists are the kinds of which a platform may come to want less.
func prunedLists() []client.ObjectList {
	return []client.ObjectList{
		&appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}, &corev1.SecretList{},
		&corev1.ServiceAccountList{}, &autoscalingv2.HorizontalPodAutoscalerList{}, &networkingv1.NetworkPolicyList{},
		&networkingv1.IngressList{}, &batchv1.CronJobList{},
	}
}

// isData says whether o is data or opens data: a volume claim, or a Secret that is not
// content-addressed.
func isData(o client.Object) bool {
	switch o := o.(type) {
	case *corev1.PersistentVolumeClaim:
		return true
	case *corev1.Secret:
		return !ptr.Deref(o.Immutable, false)
	}
	return false
}

func (a *applier) delete(ctx context.Context, o client.Object) error {
	uid := o.GetUID()
	err := a.client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %s: %w", describe(o), err)
	}
	return nil
}

// referencedContent are the ConfigMaps and Secrets from which a retained ReplicaSet,
// a pod or a Job that has not ended starts.
func (a *applier) referencedContent(ctx context.Context, ap *assetv1.AssetPlatform) (map[objectKey]bool, error) {
	keep := map[objectKey]bool{}
	add := func(kind, name string) {
		keep[objectKey{kind: kind, name: types.NamespacedName{Namespace: ap.Namespace, Name: name}}] = true
	}
	lists := []client.ObjectList{&appsv1.ReplicaSetList{}, &corev1.PodList{}, &batchv1.JobList{}, &batchv1.CronJobList{}}
	err := a.children(ctx, ap, lists, func(o client.Object) { eachReference(podSpec(o), add) })
	return keep, err
}

// eachReference calls each with the ConfigMaps, Secrets, volume claims and the account that pods start from.
func eachReference(pod corev1.PodSpec, each func(kind, name string)) {
	if pod.ServiceAccountName != "" {
		each("ServiceAccount", pod.ServiceAccountName)
	}
	for _, volume := range pod.Volumes {
		if volume.PersistentVolumeClaim != nil {
			each("PersistentVolumeClaim", volume.PersistentVolumeClaim.ClaimName)
		}
		if volume.Secret != nil {
			each("Secret", volume.Secret.SecretName)
		}
		if volume.ConfigMap != nil {
			each("ConfigMap", volume.ConfigMap.Name)
		}
	}
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, from := range container.EnvFrom {
			if from.ConfigMapRef != nil {
				each("ConfigMap", from.ConfigMapRef.Name)
			}
			if from.SecretRef != nil {
				each("Secret", from.SecretRef.Name)
			}
		}
		for _, variable := range container.Env {
			if from := variable.ValueFrom; from != nil && from.SecretKeyRef != nil {
				each("Secret", from.SecretKeyRef.Name)
			}
		}
	}
}

// startsFrom says whether pods of o start from one of these objects.
func startsFrom(o client.Object, objects map[objectKey]bool) bool {
	found := false
	eachReference(podSpec(o), func(kind, name string) {
		found = found || objects[objectKey{kind: kind, name: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}]
	})
	return found
}

// podSpec is what the pods of o are made from; empty where none start any more.
func podSpec(o client.Object) corev1.PodSpec {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return o.Spec.Template.Spec
	case *appsv1.StatefulSet:
		return o.Spec.Template.Spec
	case *appsv1.ReplicaSet:
		return o.Spec.Template.Spec
	case *corev1.Pod:
		return o.Spec
	case *batchv1.CronJob:
		return o.Spec.JobTemplate.Spec.Template.Spec
	case *batchv1.Job:
		if finished(o) == nil {
			return o.Spec.Template.Spec
		}
	}
	return corev1.PodSpec{}
}

// children calls each with every cached object of the platform's label, kind by kind. These are the cache's own, only to be read.
func (a *applier) children(ctx context.Context, ap *assetv1.AssetPlatform, lists []client.ObjectList, each func(client.Object)) error {
	for _, list := range lists {
		if err := a.client.List(ctx, list, append(cachedInPlatform(ap), client.UnsafeDisableDeepCopy)...); err != nil {
			return fmt.Errorf("list children: %w", err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			each(item.(client.Object))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inventory lists the children that exist, as Kind.group/name, sorted.
func (a *applier) inventory(ctx context.Context, ap *assetv1.AssetPlatform) ([]string, error) {
	lists := append(append(prunedLists(), a.optional.lists()...), &appsv1.DeploymentList{}, &policyv1.PodDisruptionBudgetList{}, &corev1.PersistentVolumeClaimList{}, &batchv1.JobList{})
	var names []string
	var unknown error
	err := a.children(ctx, ap, lists, func(o client.Object) {
		if !belongsTo(ap, o) {
			return
		}
		gvk, err := a.client.GroupVersionKindFor(o)
		if err != nil {
			unknown = err
		}
		names = append(names, gvk.GroupKind().String()+"/"+o.GetName())
	})
	slices.Sort(names)
	if err == nil {
		err = unknown
	}
	return names, err
}
