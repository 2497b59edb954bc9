package manifests

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// ManagedDatabase is the spec of the managed database, nil where the platform has its own.
func ManagedDatabase(ap *assetv1.AssetPlatform) *assetv1.ManagedVolumeSpec {
	d := ap.Spec.Database
	if d == nil {
		return &assetv1.ManagedVolumeSpec{}
	}
	return d.Managed
}

// ManagedCache is like ManagedDatabase, for the cache.
func ManagedCache(ap *assetv1.AssetPlatform) *assetv1.ManagedVolumeSpec {
	c := ap.Spec.Cache
	if c == nil {
		return &assetv1.ManagedVolumeSpec{}
	}
	return c.Managed
}

// ManagedStorage is like ManagedDatabase, for the bucket.
func ManagedStorage(ap *assetv1.AssetPlatform) *assetv1.ManagedVolumeSpec {
	s := ap.Spec.Storage
	if s == nil {
		return &assetv1.ManagedVolumeSpec{}
	}
	return s.Managed
}

// Part is one of those that the operator can run itself; Spec is nil where it does not.
type Part struct {
	Component Component
	Name      string // of its objects
	Spec      *assetv1.ManagedVolumeSpec
}

// Parts are all of them.
func Parts(ap *assetv1.AssetPlatform) []Part {
	return []Part{
		{ComponentPostgres, PostgresName(ap), ManagedDatabase(ap)},
		{ComponentRedis, RedisName(ap), ManagedCache(ap)},
		{ComponentS3, S3Name(ap), ManagedStorage(ap)},
	}
}

// managedPart is a server of one pod with a volume of its own.
type managedPart struct {
	component   Component
	name        string
	spec        assetv1.ManagedVolumeSpec
	image       string
	storage     string                        // size of the volume where the spec names none
	claim       *corev1.PersistentVolumeClaim // as it is, if it has its volume
	port        int32
	env         []corev1.EnvVar
	dataPath    string
	resources   corev1.ResourceRequirements
	probe       *corev1.Probe // startup and readiness
	liveness    *corev1.Probe
	graceSecond int64
}

// objects are the part's Service, volume claim and StatefulSet. The StatefulSet
// gives at most one pod at a time; the claim is its own object because claim
// templates cannot be changed, and a volume must be able to grow.
func (p managedPart) objects(ap *assetv1.AssetPlatform) []client.Object {
	return []client.Object{p.service(ap), p.volumeClaim(ap), p.statefulSet(ap)}
}

func (p managedPart) service(ap *assetv1.AssetPlatform) *corev1.Service {
	return service(ap, p.component, p.name, corev1.ServicePort{
		Name: string(p.component), Port: p.port, TargetPort: intstr.FromString(string(p.component)), Protocol: corev1.ProtocolTCP,
	})
}

// volumeClaim leaves a volume as it is in what the spec does not name: retained data may be
// from a time when it did.
func (p managedPart) volumeClaim(ap *assetv1.AssetPlatform) *corev1.PersistentVolumeClaim {
	size, class := resource.MustParse(p.storage), p.spec.StorageClassName
	if p.claim != nil {
		size = p.claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if class == nil {
			class = p.claim.Spec.StorageClassName
		}
	}
	if p.spec.Storage != nil {
		size = *p.spec.Storage
	}
	return &corev1.PersistentVolumeClaim{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "PersistentVolumeClaim"),
		ObjectMeta: claimMeta(ap, p.component, p.name, PinnedImage(ap, p.component)),
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: class,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
		},
	}
}

func (p managedPart) statefulSet(ap *assetv1.AssetPlatform) *appsv1.StatefulSet {
	pod := podTemplate(ap, p.component, corev1.Container{
		Name:           string(p.component),
		Image:          p.image,
		Env:            p.env,
		Ports:          []corev1.ContainerPort{{Name: string(p.component), ContainerPort: p.port, Protocol: corev1.ProtocolTCP}},
		Resources:      p.resources,
		StartupProbe:   p.probe,
		ReadinessProbe: p.probe,
		LivenessProbe:  p.liveness,
		VolumeMounts:   []corev1.VolumeMount{{Name: "data", MountPath: p.dataPath}},
	})
	replicas := int32(1)
	if ap.Spec.Hibernate {
		replicas = 0
	}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(p.graceSecond)
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: p.name},
	}})
	return &appsv1.StatefulSet{
		TypeMeta:   typeMeta(appsv1.SchemeGroupVersion, "StatefulSet"),
		ObjectMeta: meta(ap, p.component, p.name),
		Spec: appsv1.StatefulSetSpec{
			Replicas:    &replicas,
			ServiceName: p.name,
			// With the default, a pod that never became ready is never replaced by a newer revision:
			// a wrong image put right would stay wrong (kubernetes.io: StatefulSet, forced rollback).
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:            &metav1.LabelSelector{MatchLabels: Selector(ap, p.component)},
			Template:            pod,
		},
	}
}

// fromSecret is a variable read from one key of a Secret.
func fromSecret(name, secret, key string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key,
	}}}
}

// credentialsMark changes with the credentials that a part starts with, so that its pod
// follows when a lost Secret was generated again. PostgreSQL has none: it keeps its
// password in its volume.
func credentialsMark(credentials ...string) corev1.EnvVar {
	return corev1.EnvVar{Name: "CREDENTIALS_MARK", Value: hash(credentials)}
}
