package controllers

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// podOf is a pod of a component as its controller makes it.
func podOf(c manifests.Component, status corev1.ContainerStatus) corev1.Pod {
	status.Name, status.Image = string(c), "example.com/assets:1.401"
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "studio-server-5d9c7b8f46-x2k9q", GenerateName: "studio-server-5d9c7b8f46-", Labels: map[string]string{
			manifests.LabelComponent: string(c), "pod-template-hash": "5d9c7b8f46",
		}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "injected"}, {Name: string(c), Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{status}},
	}
	if c == manifests.ComponentPostgres {
		pod.Name, pod.GenerateName = "studio-postgres-0", "studio-postgres-"
		pod.Labels["statefulset.kubernetes.io/pod-name"] = pod.Name
	}
	return pod
}

func waits(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func ended(code int32, reason, message string) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}
}

// Each state of a pod has one cause, and the remedy names the field to change.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	crash := waits("CrashLoopBackOff", "back-off 5m0s restarting failed container")
	crash.RestartCount, crash.LastTerminationState.Terminated = 4, ended(2, "Error", "line one\ncannot open redis://:sesame@r/0 with password=sesame")
	between := corev1.ContainerStatus{RestartCount: 4, State: corev1.ContainerState{Terminated: crash.LastTerminationState.Terminated}}
	running := corev1.ContainerStatus{RestartCount: 4, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: crash.LastTerminationState}
	ours := waits("CrashLoopBackOff", "")
	ours.LastTerminationState.Terminated = ended(1, "Error", `{"code":"CONFIG_INVALID","message":"PORT is no port","remedy":"set it to 3000"}`)
	memory := waits("CrashLoopBackOff", "")
	memory.LastTerminationState.Terminated = ended(137, "OOMKilled", "")
	const server, postgres = manifests.ComponentServer, manifests.ComponentPostgres
	for name, test := range map[string]struct {
		pod    corev1.Pod
		reason string
		says   []string
	}{
		"bad tag":        {podOf(server, waits("ImagePullBackOff", `Back-off pulling image "example.com/assets:1.401": ErrImagePull: rpc error: code = NotFound desc = failed to resolve reference: not found`)), assetv1.ReasonImagePull, []string{"example.com/assets:1.401", "set spec.image to a tag that exists"}},
		"no pull secret": {podOf(server, waits("ErrImagePull", "failed to authorize: 401 Unauthorized")), assetv1.ReasonImagePull, []string{"spec.imagePullSecrets"}},
		"denied":         {podOf(server, waits("ErrImagePull", "pull access denied, repository does not exist or may require authorization: insufficient_scope: authorization failed")), assetv1.ReasonImagePull, []string{"spec.imagePullSecrets"}},
		"bad name":       {podOf(server, waits("InvalidImageName", "invalid reference format")), assetv1.ReasonImagePull, []string{"write spec.image like"}},
		"database image": {podOf(postgres, waits("ErrImagePull", "not found")), assetv1.ReasonImagePull, []string{"Pod studio-postgres-0", "spec.database.managed.image"}},
		"no config":      {podOf(server, waits("CreateContainerConfigError", `secret "studio-server-1234567890" not found`)), assetv1.ReasonContainerConfig, []string{"studio-server-1234567890"}},
		"crash":          {podOf(server, crash), assetv1.ReasonCrashLoop, []string{"exit code 2", "redis://…@r/0", "kubectl logs"}},
		"between":        {podOf(server, between), assetv1.ReasonCrashLoop, []string{"exit code 2", "redis://…@r/0", "kubectl logs"}},
		"running again":  {podOf(server, running), assetv1.ReasonCrashLoop, []string{"exit code 2", "redis://…@r/0", "kubectl logs"}},
		"own words":      {podOf(server, ours), assetv1.ReasonCrashLoop, []string{"PORT is no port: set it to 3000"}},
		"memory":         {podOf(server, memory), assetv1.ReasonOutOfMemory, []string{"limit of 256Mi", "spec.resources.limits.memory, for example to 512Mi"}},
		"its memory":     {podOf(postgres, memory), assetv1.ReasonOutOfMemory, []string{"limit of 256Mi", "spec.database.secretRef"}},
	} {
		found := diagnose([]corev1.Pod{test.pod, test.pod})
		if len(found) != 1 || found[0].reason != test.reason {
			t.Errorf("%s: %+v", name, found)
			continue
		}
		message := found[0].message()
		for _, part := range test.says {
			if !strings.Contains(message, part) {
				t.Errorf("%s: %q does not say %q", name, message, part)
			}
		}
		if strings.Contains(message, "sesame") || strings.Contains(message, "x2k9q") || randomName.MatchString(message) {
			t.Errorf("%s: %q", name, message)
		}
	}
	// The states that a crash loop alternates between are one and the same message.
	if a, b, c := podOf(server, crash), podOf(server, between), podOf(server, running); len(diagnose([]corev1.Pod{a, b, c})) != 1 {
		t.Error("a crash loop has more than one message")
	}
	pod := podOf(server, corev1.ContainerStatus{})
	pod.Status.ContainerStatuses = nil
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available."}}
	if found := diagnose([]corev1.Pod{pod}); len(found) != 1 || found[0].message() != "Pod studio-server-… fits on no node (0/3 nodes are available: 3 Insufficient cpu): add nodes, or lower spec.resources.requests or spec.replicas" {
		t.Errorf("unschedulable: %v", found)
	}
	for words, want := range map[string]string{
		"0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }.":                          "spec.resources.requests or spec.replicas",
		"0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.":                                     "spec.resources.requests or spec.replicas",
		"0/1 nodes are available: 1 node(s) had untolerated taint(s).":                                                          "in spec.pod.tolerations",
		"0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.":                                         "in spec.pod.nodeSelector or spec.pod.affinity",
		"0/2 nodes are available: 1 node(s) had untolerated taint {gpu: true}, 1 node(s) didn't match pod anti-affinity rules.": "in spec.pod.affinity or spec.pod.tolerations",
	} {
		pod.Status.Conditions[0].Message = words
		if found := diagnose([]corev1.Pod{pod}); len(found) != 1 || !strings.HasSuffix(found[0].remedy, want) {
			t.Errorf("%s: %v", words, found)
		}
	}
}

// A container that somebody else has put into our pods is named, and no field of the spec is blamed for it.
func TestDiagnoseOfForeignContainers(t *testing.T) {
	t.Parallel()
	status := waits("CrashLoopBackOff", "")
	status.LastTerminationState.Terminated = ended(3, "Error", "no certificate")
	for name, pod := range map[string]corev1.Pod{"a container": podOf(manifests.ComponentServer, status), "a sidecar": podOf(manifests.ComponentServer, status)} {
		pod.Status.ContainerStatuses[0].Name = "injected"
		if name == "a sidecar" {
			pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses = pod.Status.ContainerStatuses, nil
		}
		const want = "Container injected of Pod studio-server-… ended with exit code 3 (no certificate): correct it where it comes from: container injected of Pod studio-server-… is not the operator's"
		if found := diagnose([]corev1.Pod{pod}); len(found) != 1 || found[0].message() != want {
			t.Errorf("%s: %v", name, found)
		}
	}
}

// Pods that start, run, and end as they should give no finding.
func TestHealthyPodsGiveNoFinding(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	states := []func() corev1.ContainerStatus{
		func() corev1.ContainerStatus { return waits("ContainerCreating", "") },
		func() corev1.ContainerStatus { return waits("PodInitializing", "") },
		func() corev1.ContainerStatus {
			return corev1.ContainerStatus{Started: new(random.IntN(2) == 0), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
		},
		func() corev1.ContainerStatus { // crashed once, long ago
			return corev1.ContainerStatus{Ready: true, RestartCount: 1, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastTerminationState: corev1.ContainerState{Terminated: ended(1, "Error", "x")}}
		},
		func() corev1.ContainerStatus {
			return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: ended(0, "Completed", "")}}
		},
		func() corev1.ContainerStatus { // being deleted: what it says does not count
			return waits("CrashLoopBackOff", "")
		},
	}
	components := []manifests.Component{manifests.ComponentServer, manifests.ComponentPostgres, manifests.ComponentRedis, manifests.ComponentS3, manifests.ComponentMigrate}
	for range 200 {
		var pods []corev1.Pod
		for range 1 + random.IntN(5) {
			n := random.IntN(len(states))
			pod := podOf(components[random.IntN(len(components))], states[n]())
			if n == len(states)-1 {
				pod.DeletionTimestamp = new(metav1.Now())
			}
			if random.IntN(4) == 0 {
				pod.Status.ContainerStatuses = nil // not there yet
			}
			pods = append(pods, pod)
		}
		if found := diagnose(pods); len(found) > 0 {
			t.Fatalf("%v of %+v", found[0], pods)
		}
	}
}

// No password, key or token reaches a status, whoever wrote the text, and a status stays short.
func TestForeignTextsAreRedacted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"dial postgres://backend:sesame@db:5432/x: refused.":       "dial postgres://…@db:5432/x: refused",
		"postgres://backend:se@sa/me@db/x":                         "postgres://…@db/x",
		"redis://:sesame@r/0 and amqp://a:sesame@b":                "redis://…@r/0 and amqp://…@b",
		`level=error password=sesame user=x`:                       `level=error password=… user=x`,
		`{"secretKey": "sesame", "bucket": "b"}`:                   `{"secretKey": …, "bucket": "b"}`,
		"AWS_SECRET_ACCESS_KEY='sesame and more' failed":           "AWS_SECRET_ACCESS_KEY=… failed",
		"Authorization: Bearer sesame":                             "Authorization: …",
		"token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2VzYW1l used": "token … used",
		`pods "studio-server-5d9c7b8f46-x2k9q" is forbidden`:       "pods is forbidden",
		"line one\nline  two":                                      "line one line two",
		"https://yourdomain.com/path is not an origin":             "https://yourdomain.com/path is not an origin",
		"": "",
	} {
		if got := outside(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	if long := outside(strings.Repeat("ä", 4000)); len(long) > outsideLimit+len("…") || !strings.HasSuffix(long, "…") {
		t.Errorf("%d bytes", len(long))
	}
}

// FuzzOutside: the password of a URL is not found in what is shown, wherever the URL stands.
func FuzzOutside(f *testing.F) {
	f.Add("cannot connect to ", "p@ss/w:rd", " now")
	f.Fuzz(func(t *testing.T, before, password, after string) {
		if len(password) < 6 || strings.ContainsAny(password, " \t\r\n\v\f\u0085\u00a0\"'<>") || strings.ToValidUTF8(password, "") != password || len(strings.Fields(password)) != 1 || strings.Contains(before+after, password) {
			return
		}
		text := fmt.Sprintf("%s postgres://user:%s@host/name %s", before, password, after)
		if got := outside(text); strings.Contains(got, password) && !strings.Contains("postgres://…@host/name", password) {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
