package manifests

import (
	"cmp"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// HorizontalPodAutoscaler scales the API with its load; nil where the spec names a number, and
// in hibernation, where there is nothing to measure.
func HorizontalPodAutoscaler(ap *assetv1.AssetPlatform) *autoscalingv2.HorizontalPodAutoscaler {
	a := autoscaling(ap)
	if a == nil || ap.Spec.Hibernate {
		return nil
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   typeMeta(autoscalingv2.SchemeGroupVersion, "HorizontalPodAutoscaler"),
		ObjectMeta: meta(ap, ComponentServer, ServerName(ap)),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: ServerName(ap)},
			MinReplicas:    ptr.To(a.MinReplicas),
			MaxReplicas:    a.MaxReplicas,
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.ResourceMetricSourceType,
				Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{
					Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To(a.TargetCPUUtilizationPercentage),
				}},
			}},
		},
	}
}

// autoscaling is the spec's, with the defaults that the apiserver fills in and a file that is planned offline lacks; nil where
// the spec names a number.
func autoscaling(ap *assetv1.AssetPlatform) *assetv1.AutoscalingSpec {
	a := ap.Spec.Autoscaling
	if a == nil {
		return nil
	}
	return &assetv1.AutoscalingSpec{
		MinReplicas: cmp.Or(a.MinReplicas, 3), MaxReplicas: cmp.Or(a.MaxReplicas, 10),
		TargetCPUUtilizationPercentage: cmp.Or(a.TargetCPUUtilizationPercentage, 75),
	}
}

// serverReplicas is how many API pods the operator asks for; nil where the number is the
// autoscaler's. That one does not wake what is at zero, and a field that nobody owns would
// become 1: a Deployment that is not there yet, or sleeps, is given the least number first.
func serverReplicas(ap *assetv1.AssetPlatform, f Facts) *int32 {
	switch {
	case f.NothingServes(ap):
		return ptr.To[int32](0)
	case ap.Spec.Autoscaling == nil:
		return ptr.To(ptr.Deref(ap.Spec.Replicas, 3))
	case f.ServerReplicas == 0:
		return ptr.To(autoscaling(ap).MinReplicas)
	}
	return nil
}
