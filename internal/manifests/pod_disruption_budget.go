package manifests

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// PodDisruptionBudget keeps drains of nodes from taking too many API pods at a time. It counts
// what may be missing, not what must be there, which would block every drain of a single pod;
// pods that are not ready anyway never block one.
func PodDisruptionBudget(ap *assetv1.AssetPlatform) *policyv1.PodDisruptionBudget {
	missing := intstr.FromInt32(1)
	if m := ap.Spec.Disruption.MaxUnavailable; m != nil {
		missing = *m
	}
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   typeMeta(policyv1.SchemeGroupVersion, "PodDisruptionBudget"),
		ObjectMeta: meta(ap, ComponentServer, ServerName(ap)),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable:             &missing,
			Selector:                   &metav1.LabelSelector{MatchLabels: Selector(ap, ComponentServer)},
			UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
		},
	}
}
