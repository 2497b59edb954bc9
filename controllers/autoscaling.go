package controllers

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// defaultReplicas is what the apiserver writes where a spec names no number.
const defaultReplicas = 3

// autoscalerPatience is for how long an autoscaler may know no measurements before that is a problem: those of new pods
// come after a minute or so.
const autoscalerPatience = 2 * time.Minute

// observeAutoscaling says whether the autoscaler can do its work; nil where the spec asks for none. It does not hurt Ready: the
// pods that are there serve.
func (r *Reconciler) observeAutoscaling(ctx context.Context, p *pass) (*verdict, error) {
	a := p.ap.Spec.Autoscaling
	if a == nil || p.facts.NothingServes(p.ap) {
		return nil, nil
	}
	scaler, err := child(ctx, r, p, manifests.ServerName(p.ap), &autoscalingv2.HorizontalPodAutoscaler{})
	if err != nil {
		return nil, err
	}
	server, err := child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{})
	if err != nil {
		return nil, err
	}
	v := waiting(assetv1.ReasonProgressing, "The autoscaler has measured nothing yet")
	switch c := cannotScale(scaler); {
	case server == nil || scaler == nil || len(scaler.Status.Conditions) == 0:
	case c == nil:
		v = yes(assetv1.ReasonScales, fmt.Sprintf("Scales from %d to %s at %d %% of the CPU that they request", a.MinReplicas, counted(a.MaxReplicas, "replica"), a.TargetCPUUtilizationPercentage))
		if n := p.ap.Spec.Replicas; n != nil && *n != defaultReplicas {
			v.message += fmt.Sprintf("; spec.replicas (%d), which kubectl scale sets, counts again without spec.autoscaling", *p.ap.Spec.Replicas)
		}
	case r.now().Sub(c.LastTransitionTime.Time) < autoscalerPatience:
		p.requeueIn(autoscalerPatience - r.now().Sub(c.LastTransitionTime.Time))
	default:
		v = no(&finding{
			reason: assetv1.ReasonCannotScale, where: "HorizontalPodAutoscaler " + scaler.Name,
			problem: fmt.Sprintf("The autoscaler cannot scale (%s)", outside(podNames.ReplaceAllString(c.Message, "${1}-…"))), remedy: scalingRemedy(c.Message),
		})
	}
	return &v, nil
}

// podNames matches the random part of them: a status that has it would change with every restart.
var podNames = regexp.MustCompile(`(Pod \S+)-[a-z0-9]+-[a-z0-9]{5}\b`)

// cannotScale is what an autoscaler says that keeps it from its work; nil while nothing does.
func cannotScale(scaler *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerCondition {
	if scaler == nil {
		return nil
	}
	for i, c := range scaler.Status.Conditions {
		if (c.Type == autoscalingv2.ScalingActive || c.Type == autoscalingv2.AbleToScale) && c.Status == corev1.ConditionFalse {
			return &scaler.Status.Conditions[i]
		}
	}
	return nil
}

// scalingRemedy is what helps against what an autoscaler says.
func scalingRemedy(message string) string {
	switch {
	case strings.Contains(message, "missing request for cpu"):
		return "set spec.resources.requests.cpu; a container that others add to the pods needs a request of its own"
	case strings.Contains(message, "metrics.k8s.io"), strings.Contains(message, "metrics API"):
		return "install what serves the API metrics.k8s.io, such as metrics-server, or see why it does not answer with kubectl top pods"
	}
	return "see kubectl describe hpa"
}
