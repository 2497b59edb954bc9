package manifests

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// Label keys and the values that are the same on every child
// (kubernetes.io/docs/concepts/overview/working-with-objects/common-labels).
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelPartOf    = "app.kubernetes.io/part-of"

	ManagedBy = "assetplatform-operator"
	appName   = "assetplatform"
)

// Component is a part of the platform, as its pods' label names it.
type Component string

// The components.
const (
	ComponentServer   Component = "server"
	ComponentPostgres Component = "postgres"
	ComponentRedis    Component = "redis"
	ComponentS3       Component = "s3"
	ComponentMigrate  Component = "migrate"
	ComponentBackup   Component = "backup"
	ComponentScrub    Component = "scrub"
	ComponentDrill    Component = "drill"
	ComponentRestore  Component = "restore"
)

// LabelDestination has the name of the destination that a backup's objects are for.
const LabelDestination = "assetplatform.io/destination"

// ManagedSelector selects everything that the operator made.
var ManagedSelector = labels.SelectorFromSet(labels.Set{LabelManagedBy: ManagedBy})

// Selector selects the pods of one component of one platform. It never holds a version.
func Selector(ap *assetv1.AssetPlatform, c Component) map[string]string {
	return map[string]string{LabelName: appName, LabelInstance: ap.Name, LabelComponent: string(c)}
}

// Labels are the labels of every object of a component.
func Labels(ap *assetv1.AssetPlatform, c Component) map[string]string {
	l := maps.Clone(Selector(ap, c))
	l[LabelManagedBy] = ManagedBy
	l[LabelPartOf] = appName
	return l
}

// meta is the metadata of a child that goes away with its platform.
func meta(ap *assetv1.AssetPlatform, c Component, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: ap.Namespace, Labels: Labels(ap, c),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(ap, assetv1.GroupVersion.WithKind("AssetPlatform"))},
	}
}

// dataMeta is the metadata of data: under deletionPolicy Retain it has no owner,
// only the name of the platform that may take it back.
func dataMeta(ap *assetv1.AssetPlatform, c Component, name string) metav1.ObjectMeta {
	m := meta(ap, c, name)
	if ap.Spec.DeletionPolicy != assetv1.DeletionDelete {
		m.OwnerReferences = nil
		m.Annotations = map[string]string{assetv1.AnnotationRetainedFor: RetainedFor(ap)}
	}
	return m
}

// claimMeta is the metadata of a managed part's volume claim. It names the image that can read
// the volume, for a platform that is made again has no status that would.
func claimMeta(ap *assetv1.AssetPlatform, c Component, name, image string) metav1.ObjectMeta {
	m := dataMeta(ap, c, name)
	if image != "" {
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		m.Annotations[assetv1.AnnotationImage] = image
	}
	return m
}

// RetainedFor is the value of the annotation that marks data as this platform's.
func RetainedFor(ap *assetv1.AssetPlatform) string { return ap.Namespace + "/" + ap.Name }
