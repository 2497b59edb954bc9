package controllers

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// monitoringVerdict says whether Prometheus can know of the platform by the objects that its operator reads; nil where the
// spec asks for none of them.
func monitoringVerdict(ap *assetv1.AssetPlatform, o *observed) *verdict {
	var missing, made []string
	for _, wanted := range []struct {
		kind schema.GroupVersionKind
		is   bool
	}{
		{manifests.KindServiceMonitor, manifests.WantsServiceMonitor(ap)}, {manifests.KindPrometheusRule, manifests.WantsRules(ap)},
	} {
		if wanted.is && o.facts.Installed[wanted.kind] {
			made = append(made, wanted.kind.Kind)
		} else if wanted.is {
			missing = append(missing, wanted.kind.Kind)
		}
	}
	var v verdict
	switch {
	case len(missing) > 0:
		v = waiting(assetv1.ReasonCRDNotInstalled, "The cluster has no "+strings.Join(missing, ", no ")+
			": install the Prometheus operator, or set spec.monitoring.serviceMonitor and rules to false")
	case len(made) > 0:
		v = yes(assetv1.ReasonApplied, "Made for the Prometheus operator: "+strings.Join(made, " and "))
	default:
		return nil
	}
	return &v
}
