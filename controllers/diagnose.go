package controllers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// diagnose says what keeps pods from running, each cause once, the worst first.
// Names of pods are left out where they are random: a status that names them would
// change with every restart.
func diagnose(pods []corev1.Pod) []*finding {
	var all []*finding
	for i := range pods {
		if pods[i].DeletionTimestamp != nil || pods[i].Status.Phase == corev1.PodSucceeded {
			continue
		}
		if f := diagnosePod(&pods[i]); f != nil && !slices.ContainsFunc(all, func(g *finding) bool { return *g == *f }) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b *finding) int {
		return cmp.Or(cmp.Compare(severity(a), severity(b)), cmp.Compare(a.problem, b.problem))
	})
	return all
}

var severities = []string{
	assetv1.ReasonImagePull, assetv1.ReasonContainerConfig, assetv1.ReasonOutOfMemory,
	assetv1.ReasonCrashLoop, assetv1.ReasonUnschedulable,
}

func severity(f *finding) int { return slices.Index(severities, f.reason) }

func diagnosePod(pod *corev1.Pod) *finding {
	where := "Pod " + stablePodName(pod)
	for _, c := range pod.Status.ContainerStatuses {
		if f := diagnoseContainer(pod, c, where); f != nil {
			return f
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return &finding{
				reason: assetv1.ReasonUnschedulable, where: where,
				problem: fmt.Sprintf("%s fits on no node (%s)", where, strings.TrimSuffix(schedulerWords(c.Message), ".")),
				remedy:  "add nodes, or lower " + resourcesField(pod),
			}
		}
	}
	return nil
}

func diagnoseContainer(pod *corev1.Pod, c corev1.ContainerStatus, where string) *finding {
	if w := c.State.Waiting; w != nil {
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			return imageFinding(pod, c, w, where)
		case "CreateContainerConfigError", "CreateContainerError":
			return &finding{
				reason: assetv1.ReasonContainerConfig, where: where,
				problem: fmt.Sprintf("%s cannot start (%s)", where, w.Message), remedy: "put back what it names",
			}
		}
	}
	ended := c.LastTerminationState.Terminated
	if c.State.Terminated != nil {
		ended = c.State.Terminated
	}
	if ended == nil || ended.ExitCode == 0 || c.Ready {
		return nil
	}
	if ended.Reason == "OOMKilled" {
		limit := pod.Spec.Containers[0].Resources.Limits.Memory()
		double := limit.DeepCopy()
		double.Add(*limit)
		return &finding{
			reason: assetv1.ReasonOutOfMemory, where: where,
			problem: fmt.Sprintf("%s was killed at its memory limit of %s", where, limit.String()),
			remedy:  fmt.Sprintf("raise the memory limit in %s, for example to %s", resourcesField(pod), double.String()),
		}
	}
	if c.RestartCount == 0 && c.State.Terminated == nil {
		return nil
	}
	return crashFinding(c, ended, where)
}

func imageFinding(pod *corev1.Pod, c corev1.ContainerStatus, w *corev1.ContainerStateWaiting, where string) *finding {
	f := &finding{reason: assetv1.ReasonImagePull, where: where, problem: fmt.Sprintf("%s cannot pull %s", where, c.Image)}
	text := strings.ToLower(w.Message)
	field := imageField(pod)
	switch {
	case w.Reason == "InvalidImageName":
		f.remedy = "write " + field + " like ghcr.io/assetplatform/assetplatform:v0.1.0"
	case strings.Contains(text, "unauthorized"), strings.Contains(text, "forbidden"), strings.Contains(text, "authentication required"), strings.Contains(text, "403"), strings.Contains(text, "401"):
		f.problem += " (the registry wants credentials, or has no such repository)"
		f.remedy = "name a pull secret in spec.imagePullSecrets, or correct " + field
	default:
		f.remedy = "set " + field + " to a tag that exists and that the nodes can reach"
	}
	return f
}

func crashFinding(c corev1.ContainerStatus, ended *corev1.ContainerStateTerminated, where string) *finding {
	f := &finding{reason: assetv1.ReasonCrashLoop, where: where}
	if said, ok := config.ReadTermination(ended.Message); ok {
		f.problem, f.remedy = fmt.Sprintf("%s failed: %s", where, said.Message), said.Remedy
		return f
	}
	f.problem = fmt.Sprintf("%s ends with exit code %d again and again", where, ended.ExitCode)
	if last := lastLine(ended.Message); last != "" {
		f.problem += fmt.Sprintf(" (%s)", last)
	}
	f.remedy = "read its log with kubectl logs --previous"
	return f
}

// stablePodName is a pod's name without the part that changes with each restart.
func stablePodName(pod *corev1.Pod) string {
	if pod.GenerateName == "" {
		return pod.Name
	}
	name := strings.TrimSuffix(pod.GenerateName, "-")
	if hash := pod.Labels["pod-template-hash"]; hash != "" {
		name = strings.TrimSuffix(strings.TrimSuffix(name, hash), "-")
	}
	if _, ofSet := pod.Labels["statefulset.kubernetes.io/pod-name"]; ofSet {
		return pod.Name
	}
	return name + "-…"
}

// schedulerWords drops the advice on preemption, which repeats the first half.
func schedulerWords(message string) string {
	words, _, _ := strings.Cut(message, " preemption:")
	return strings.TrimSpace(words)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

func imageField(pod *corev1.Pod) string {
	switch manifests.Component(pod.Labels[manifests.LabelComponent]) {
	case manifests.ComponentPostgres:
		return "spec.database.managed.image"
	case manifests.ComponentRedis:
		return "spec.cache.managed.image"
	case manifests.ComponentS3:
		return "spec.storage.managed.image"
	}
	return "spec.image"
}

func resourcesField(pod *corev1.Pod) string {
	if manifests.Component(pod.Labels[manifests.LabelComponent]) == manifests.ComponentServer {
		return "spec.resources"
	}
	return "what else runs there"
}
