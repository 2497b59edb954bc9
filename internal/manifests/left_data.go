package manifests

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// IsLeft says whether name is that of data which the platform keeps and does not write: of a
// part that it once ran itself, a key that it once made up, or the certificate.
func IsLeft(ap *assetv1.AssetPlatform, name string) bool {
	switch name {
	case PostgresName(ap):
		return ManagedDatabase(ap) == nil
	case RedisName(ap):
		return ManagedCache(ap) == nil
	case S3Name(ap):
		return ManagedStorage(ap) == nil
	case AuthSecretName(ap):
		return ap.Spec.Auth.JWTSecretRef != nil
	case CertificateName(ap):
		return true // what is in it is cert-manager's business
	}
	return false
}

// LeftData keeps what IsLeft as it is, and under the deletion policy that is in force
// now: an owner from the time of another policy would take it along.
func LeftData(ap *assetv1.AssetPlatform, f Facts) []client.Object {
	var objects []client.Object
	for _, left := range f.Left {
		component := Component(left.GetLabels()[LabelComponent])
		switch o := left.(type) {
		case *corev1.PersistentVolumeClaim:
			objects = append(objects, &corev1.PersistentVolumeClaim{
				TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "PersistentVolumeClaim"),
				ObjectMeta: claimMeta(ap, component, o.Name, o.Annotations[assetv1.AnnotationImage]),
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes:      o.Spec.AccessModes,
					StorageClassName: o.Spec.StorageClassName,
					Resources:        corev1.VolumeResourceRequirements{Requests: o.Spec.Resources.Requests},
				},
			})
		case *corev1.Secret:
			objects = append(objects, &corev1.Secret{TypeMeta: typeMeta(corev1.SchemeGroupVersion, "Secret"), ObjectMeta: dataMeta(ap, component, o.Name)})
		}
	}
	return objects
}
