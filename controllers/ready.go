package controllers

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// readyVerdict is the sum of the others. What is wrong outweighs what is only under way.
func readyVerdict(ap *assetv1.AssetPlatform, o *observed, verdicts []verdict) verdict {
	if len(o.applyProblems) > 0 {
		return no(o.applyProblems[0])
	}
	if ap.Spec.Hibernate {
		return hibernation(o)
	}
	for _, v := range verdicts {
		if v.finding != nil {
			return v
		}
	}
	idle := ap.Spec.Autoscaling == nil && ptr.Deref(ap.Spec.Replicas, defaultReplicas) == 0 // no pod can report
	for _, v := range verdicts {
		if v.status == metav1.ConditionFalse || v.status == metav1.ConditionUnknown && !idle {
			return waiting(assetv1.ReasonProgressing, v.message)
		}
	}
	for _, m := range o.managed {
		if m.stays {
			return waiting(assetv1.ReasonProgressing, "The managed parts move when the server's pods have shown that there is a place for them")
		}
	}
	message := "Serving with " + wantedReplicas(ap)
	if idle {
		message = "Scaled to zero: nothing serves, as asked"
	}
	if parts := managedParts(ap); parts != "" {
		message += "; " + parts
	}
	return yes(assetv1.ReasonReady, message)
}

// hibernation is the verdict on a platform that should sleep: whether it does.
func hibernation(o *observed) verdict {
	asleep := o.server == nil || o.serverSettled && o.server.Status.ObservedGeneration >= o.server.Generation && o.server.Status.Replicas == 0
	for _, m := range o.managed {
		asleep = asleep && m.seen() && m.set.Status.Replicas == 0
	}
	if asleep && o.pods == 0 {
		return yes(assetv1.ReasonHibernating, "Hibernating: nothing runs, the data is kept; spec.hibernate false wakes it")
	}
	return waiting(assetv1.ReasonProgressing, "Going to sleep: "+counted(o.pods, "pod")+" left")
}

// wantedReplicas says how many API pods the spec asks for.
func wantedReplicas(ap *assetv1.AssetPlatform) string {
	if a := ap.Spec.Autoscaling; a != nil {
		return fmt.Sprintf("%d to %s", a.MinReplicas, counted(a.MaxReplicas, "replica"))
	}
	return counted(ptr.Deref(ap.Spec.Replicas, defaultReplicas), "replica")
}

// managedParts names the parts that the operator runs itself.
func managedParts(ap *assetv1.AssetPlatform) string {
	var parts []string
	if manifests.ManagedDatabase(ap) != nil {
		parts = append(parts, managedNoun(manifests.ComponentPostgres))
	}
	if manifests.ManagedCache(ap) != nil {
		parts = append(parts, managedNoun(manifests.ComponentRedis))
	}
	if manifests.ManagedStorage(ap) != nil {
		parts = append(parts, managedNoun(manifests.ComponentS3))
	}
	if len(parts) == 0 {
		return ""
	}
	return "managed " + strings.Join(parts, ", ")
}

func stalledVerdict(ready verdict) verdict {
	if ready.finding != nil && ready.finding.stalled {
		return verdict{status: metav1.ConditionTrue, reason: ready.reason, message: ready.message, finding: ready.finding}
	}
	return waiting(assetv1.ReasonNotStalled, "Nothing waits for an edit of the platform")
}

func reconcilingVerdict(ready verdict) verdict {
	if ready.status == metav1.ConditionTrue || ready.finding != nil && ready.finding.stalled {
		return waiting(assetv1.ReasonSettled, "Nothing is under way")
	}
	return verdict{status: metav1.ConditionTrue, reason: ready.reason, message: ready.message, finding: ready.finding}
}

func updateVerdict(ap *assetv1.AssetPlatform, o *observed) verdict {
	var offers []string
	if ap.Spec.Image == "" && ap.Status.Image != "" && ap.Status.Image != o.operatorImages.Server {
		offers = append(offers, fmt.Sprintf("%s: set spec.image to it to update", o.operatorImages.Server))
	}
	for _, m := range o.managed {
		image, pinned := o.operatorImages.Of(m.component), manifests.PinnedImage(ap, m.component)
		if m.spec.Image != "" || pinned == "" || pinned == image {
			continue
		}
		text := fmt.Sprintf("%s for the managed %s: set %s.image to it to update", image, managedNoun(m.component), managedField(m.component))
		if m.component == manifests.ComponentPostgres {
			text += ", unless it is another major version of PostgreSQL, which cannot read the volume"
		}
		offers = append(offers, text)
	}
	if len(offers) > 0 {
		return yes(assetv1.ReasonNewerImage, "This operator comes with "+strings.Join(offers, "; with "))
	}
	return waiting(assetv1.ReasonUpToDate, "This operator offers no other image")
}
