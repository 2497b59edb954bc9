package controllers

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	var foreign *finding
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		f := diagnoseContainer(pod, c, where)
		switch {
		case f == nil:
		case c.Name == string(componentOf(pod)), c.Name == manifests.ContainerPrune:
			return f
		case foreign == nil:
			foreign = foreignContainer(f, c, where)
		}
	}
	if foreign != nil {
		return foreign
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			remedy := "add nodes, or free some"
			if componentOf(pod) == manifests.ComponentServer {
				remedy = "add nodes, or lower spec.resources.requests or spec.replicas"
			}
			if fields := placement(componentOf(pod), c.Message); fields != "" {
				remedy += "; or let other nodes do, in " + fields
			}
			if strings.Contains(c.Message, "unbound immediate PersistentVolumeClaims") {
				remedy = "see why the claim has no volume with kubectl describe pvc"
			}
			return &finding{
				reason: assetv1.ReasonUnschedulable, where: where,
				problem: fmt.Sprintf("%s fits on no node (%s)", where, outside(schedulerWords(c.Message))),
				remedy:  remedy,
			}
		}
	}
	return nil
}

// foreignContainer is the finding about a container that is not ours: that of a sidecar injector, say.
func foreignContainer(f *finding, c corev1.ContainerStatus, where string) *finding {
	name := fmt.Sprintf("container %s of %s", c.Name, where)
	foreign := *f
	foreign.problem = strings.Replace(f.problem, where, "C"+name[1:], 1)
	foreign.remedy = "correct it where it comes from: " + name + " is not the operator's"
	return &foreign
}

func diagnoseContainer(pod *corev1.Pod, c corev1.ContainerStatus, where string) *finding {
	if w := c.State.Waiting; w != nil {
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			return imageFinding(pod, c, w, where)
		case "CreateContainerConfigError", "CreateContainerError":
			return &finding{
				reason: assetv1.ReasonContainerConfig, where: where,
				problem: fmt.Sprintf("%s cannot start (%s)", where, outside(strings.ReplaceAll(w.Message, pod.Name, stablePodName(pod)))),
				remedy:  "put back what it names",
			}
		}
	}
	// A container that crashes again and again is at turns waiting, running and
	// terminated: its last end speaks in all three states.
	ended := c.LastTerminationState.Terminated
	if c.State.Terminated != nil {
		ended = c.State.Terminated
	}
	if ended == nil || ended.ExitCode == 0 || c.Ready {
		return nil
	}
	if ended.Reason == "OOMKilled" {
		return memoryFinding(pod, c, where)
	}
	return crashFinding(ended, where)
}

func memoryFinding(pod *corev1.Pod, c corev1.ContainerStatus, where string) *finding {
	f := &finding{reason: assetv1.ReasonOutOfMemory, where: where, problem: where + " was killed at its memory limit"}
	for _, container := range pod.Spec.Containers {
		limit := container.Resources.Limits.Memory()
		if container.Name != c.Name || limit.IsZero() {
			continue
		}
		f.problem += " of " + limit.String()
		double := limit.DeepCopy()
		double.Add(*limit)
		if componentOf(pod) == manifests.ComponentServer {
			f.remedy = "raise spec.resources.limits.memory, for example to " + double.String()
			return f
		}
	}
	f.remedy = ownServerRemedy(pod)
	if componentOf(pod) == manifests.ComponentServer {
		f.remedy = "raise spec.resources.limits.memory, or free memory on its node"
	}
	return f
}

// ownServerRemedy is what helps where a part that the operator runs is too small: their resources are fixed.
func ownServerRemedy(pod *corev1.Pod) string {
	switch componentOf(pod) {
	case manifests.ComponentPostgres:
		return "name a database server of your own in spec.database.secretRef"
	case manifests.ComponentRedis:
		return "name a Redis of your own in spec.cache.secretRef"
	case manifests.ComponentS3:
		return "name a bucket of your own in spec.storage.bucket"
	}
	return "report it to those who make the image, with the log of the pod"
}

func imageFinding(pod *corev1.Pod, c corev1.ContainerStatus, w *corev1.ContainerStateWaiting, where string) *finding {
	f := &finding{reason: assetv1.ReasonImagePull, where: where, problem: fmt.Sprintf("%s cannot pull %s", where, c.Image)}
	text := strings.ReplaceAll(w.Message, c.Image, "") // whose tag may look like an HTTP status
	field := imageField(pod)
	switch {
	case w.Reason == "InvalidImageName":
		f.remedy = "write " + field + " like ghcr.io/assetplatform/assetplatform:v0.1.0"
	case registryRefuses.MatchString(text):
		f.problem += " (the registry wants credentials, or has no such repository)"
		f.remedy = "name a pull secret in spec.imagePullSecrets, or correct " + field
	default:
		f.remedy = "set " + field + " to a tag that exists and that the nodes can reach"
	}
	return f
}

// registryRefuses matches what registries and container runtimes say where a pull secret is missing.
var registryRefuses = regexp.MustCompile(`(?i)\bunauthori[sz]ed\b|\bforbidden\b|authentication required|authorization failed|access denied|requested access to the resource is denied|\b40[13]\b`)

func crashFinding(ended *corev1.ContainerStateTerminated, where string) *finding {
	f := &finding{reason: assetv1.ReasonCrashLoop, where: where}
	if said, ok := config.ReadTermination(ended.Message); ok {
		f.problem, f.remedy = fmt.Sprintf("%s failed: %s", where, own(said.Message)), own(said.Remedy)
	} else {
		f.problem = fmt.Sprintf("%s ended with exit code %d", where, ended.ExitCode)
		if last := lastLine(ended.Message); last != "" {
			f.problem += fmt.Sprintf(" (%s)", last)
		}
	}
	if f.remedy == "" {
		f.remedy = "read its log with kubectl logs"
	}
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

func imageField(pod *corev1.Pod) string {
	if part := managedField(componentOf(pod)); part != "" {
		return part + ".image"
	}
	switch componentOf(pod) {
	case manifests.ComponentBackup, manifests.ComponentScrub:
		return "spec.backup.image"
	case manifests.ComponentDrill:
		return "spec.backup.drill.image"
	}
	return "spec.image"
}

// componentOf is the part of the platform that an object belongs to.
func componentOf(o client.Object) manifests.Component {
	return manifests.Component(o.GetLabels()[manifests.LabelComponent])
}
