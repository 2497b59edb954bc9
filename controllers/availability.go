package controllers

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// availableVerdict is true when just the wanted pods run and all are ready.
func availableVerdict(ap *assetv1.AssetPlatform, o *observed) verdict {
	if o.server == nil {
		if o.facts.ServingImage == "" {
			return waiting(assetv1.ReasonNotCreated, "The server starts after the migration")
		}
		return waiting(assetv1.ReasonNotCreated, "The server's Deployment is being made")
	}
	if f := refusedServer(o); f != nil {
		return no(f)
	}
	wanted, rolled := ptr.Deref(o.server.Spec.Replicas, 1), isRolledOut(ap, o)
	accepting := o.rotation != nil && o.rotation.accepting && o.facts.Held == nil
	switch {
	case rolled && accepting && !o.server.Spec.Paused:
		return waiting(assetv1.ReasonRollingOut, "Every new pod accepts the new signing key; once the old ones have ended, they are rolled again to sign with it")
	case accepting:
	case rolled && wanted == 0:
		return yes(assetv1.ReasonScaledToZero, "Scaled to zero: nothing serves, as asked")
	case rolled && ap.Spec.Autoscaling != nil:
		return yes(assetv1.ReasonRolledOut, "The replicas that the autoscaler wants serve, or are on their way")
	case rolled:
		return yes(assetv1.ReasonRolledOut, fmt.Sprintf("%d of %d replicas serve", wanted, wanted))
	}
	if f := rolloutProblem(o); f != nil {
		return no(f)
	}
	return waiting(assetv1.ReasonRollingOut, rolloutProgress(o, wanted))
}

// rolloutProgress says how far the server's rollout has come.
func rolloutProgress(o *observed, wanted int32) string {
	have := o.server.Status
	switch former := have.Replicas - have.UpdatedReplicas; {
	case !o.serverSettled || have.ObservedGeneration < o.server.Generation:
		return "The server's pods are about to be replaced, or their number to change"
	case wanted == 0:
		return "Scaled to zero: " + counted(have.Replicas, "pod") + " left"
	case former > 0 && have.UpdatedReplicas >= wanted:
		return fmt.Sprintf("%s updated; %s from before still to end", counted(wanted, "replica"), counted(former, "pod"))
	case have.UpdatedReplicas > wanted:
		return fmt.Sprintf("%s of %d to end", counted(have.UpdatedReplicas-wanted, "pod"), have.UpdatedReplicas)
	}
	return fmt.Sprintf("%d of %d replicas are updated, %d serve", have.UpdatedReplicas, wanted, have.AvailableReplicas)
}

// refusedServer is why the cluster would not have the server's Deployment as it is wanted; nil if it would.
func refusedServer(o *observed) *finding {
	for _, f := range o.applyProblems {
		if f.where == describe(o.server) && f.reason != assetv1.ReasonFieldConflict {
			return f
		}
	}
	return nil
}

// isRolledOut says whether just the wanted pods run, and all are ready.
func isRolledOut(ap *assetv1.AssetPlatform, o *observed) bool {
	wanted, have := ptr.Deref(o.server.Spec.Replicas, 1), o.server.Status
	seen := o.serverSettled && have.ObservedGeneration >= o.server.Generation
	if have.UpdatedReplicas != have.Replicas {
		return false
	}
	if a := ap.Spec.Autoscaling; a != nil {
		// Pods that the autoscaler has just asked for are not missed, nor those that it dismissed; and a
		// change that is not ours is its.
		last := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionAvailable)
		unchanged := last != nil && last.Status == metav1.ConditionTrue && last.ObservedGeneration == ap.Generation
		return have.AvailableReplicas >= a.MinReplicas && (seen || o.serverSettled && unchanged)
	}
	return have.Replicas == wanted && have.AvailableReplicas == wanted && seen
}

// rolloutProblem is what keeps the server's rollout from its end; nil while it only takes its time.
func rolloutProblem(o *observed) *finding {
	where := "Deployment " + o.server.Name
	for _, f := range o.podFindings {
		if strings.HasPrefix(f.where, "Pod "+o.server.Name) {
			return f
		}
	}
	if c := deploymentCondition(o.server, appsv1.DeploymentReplicaFailure); c != nil && c.Status == corev1.ConditionTrue {
		return podsRefused(where, serverPods, c.Message)
	}
	for _, r := range o.readiness {
		if r.Status == config.StatusUnavailable && r.Checks.Schema.Reason != "" {
			return &finding{
				reason: assetv1.ReasonNotReady, where: where,
				problem: "A server pod cannot serve (" + own(r.Checks.Schema.Reason) + ")", remedy: "set spec.image to one that fits the database's schema or, where the database was emptied or restored, migrate it again with a new value of the annotation " + assetv1.AnnotationRetry,
			}
		}
	}
	if o.server.Spec.Paused {
		return &finding{
			reason: assetv1.ReasonUpdateNotCompleted, where: where,
			problem: "The server's rollout is paused", remedy: "kubectl rollout resume deployment/" + o.server.Name,
		}
	}
	if c := deploymentCondition(o.server, appsv1.DeploymentProgressing); c != nil && c.Status == corev1.ConditionFalse && o.server.Status.ObservedGeneration >= o.server.Generation {
		return &finding{
			reason: assetv1.ReasonUpdateNotCompleted, where: where,
			problem: "The server's rollout has made no progress for 10 minutes",
			remedy:  "look at its pods with kubectl describe, or set spec.image back",
		}
	}
	return nil
}

func deploymentCondition(d *appsv1.Deployment, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == t {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}
