//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// shellImage is in every local cluster.
const shellImage = "assetplatform.local/shell:1"

// From every pod to every other, just the flows are open that the platform consists of.
func TestNetworkPolicies(t *testing.T) {
	ap := small(newNamespace(t, "network"), "studio")
	create(t, ap)
	waitReady(t, ap)
	elsewhere := newNamespace(t, "elsewhere")
	// A migration's own pod has ended: one with its labels is subject to its policy.
	migrate := prober(ap.Namespace, "migrate", map[string]string{"app.kubernetes.io/name": "assetplatform", "app.kubernetes.io/instance": "studio", "app.kubernetes.io/component": "migrate"})
	neighbour := prober(ap.Namespace, "neighbour", nil)
	stranger := prober(elsewhere, "stranger", map[string]string{"role": "proxy"})
	for _, pod := range []*corev1.Pod{migrate, neighbour, stranger} {
		create(t, pod)
	}
	pods := map[string]corev1.Pod{
		"server": serverPods(t, ap)[0], "operator": onePod(t, operatorNamespace, "app.kubernetes.io/name="+operatorName),
		"migrate": running(t, migrate), "neighbour": running(t, neighbour), "stranger": running(t, stranger),
	}
	for _, part := range []string{"postgres", "redis", "s3"} {
		pods[part] = onePod(t, ap.Namespace, "app.kubernetes.io/component="+part)
	}
	targets := map[string]string{
		"server:3000": "", "server:9090": "", "postgres:5432": "", "redis:6379": "", "s3:7070": "", "neighbour:8080": "", "stranger:8080": "",
	}
	for name := range targets {
		pod, port, _ := strings.Cut(name, ":")
		targets[name] = pods[pod].Status.PodIP + "/" + port
	}
	other := serverPods(t, ap)[1].Status.PodIP // no policy stands between a pod and itself
	targets["server:3000"], targets["server:9090"] = other+"/3000", other+"/9090"
	var kubernetes corev1.Service
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: "default", Name: "kubernetes"}, &kubernetes); err != nil {
		t.Fatal(err)
	}
	targets["kubernetes:443"] = kubernetes.Spec.ClusterIP + "/443"

	own := []string{"server -> postgres:5432", "server -> redis:6379", "server -> s3:7070", "migrate -> postgres:5432"}
	var others []string // who are no business of ours, and reach each other
	for _, from := range []string{"operator", "neighbour", "stranger"} {
		for _, to := range []string{"neighbour:8080", "stranger:8080", "kubernetes:443"} {
			if !strings.HasPrefix(to, from+":") {
				others = append(others, from+" -> "+to)
			}
		}
	}
	everybody := []string{
		"operator -> server:3000", "neighbour -> server:3000", "stranger -> server:3000",
		"operator -> server:9090", "neighbour -> server:9090", "stranger -> server:9090",
	}
	wantFlows(t, pods, targets, slices.Concat(own, others, everybody))

	edit(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Networking.NetworkPolicy.IngressFrom = []assetv1.NetworkPeer{{
			NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"role": "proxy"}},
		}}
		ap.Spec.Networking.NetworkPolicy.MetricsFrom = []assetv1.NetworkPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"name": "neighbour"}}}}
	})
	waitReady(t, ap)
	wantFlows(t, pods, targets, slices.Concat(own, others, []string{"operator -> server:3000", "stranger -> server:3000", "neighbour -> server:9090"}))
	waitReady(t, ap) // the operator still hears the pods

	edit(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Networking.NetworkPolicy = assetv1.NetworkPolicySpec{Enabled: new(false)}
	})
	waitReady(t, ap)
	var all []string
	for from := range pods {
		for to := range targets {
			if from == "server" || !strings.HasPrefix(to, from+":") {
				all = append(all, from+" -> "+to)
			}
		}
	}
	wantFlows(t, pods, targets, all)
}

// wantFlows waits until just these flows are open: a change of policies takes a moment to be in force.
func wantFlows(t *testing.T, pods map[string]corev1.Pod, targets map[string]string, want []string) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	eventually(t, func() error {
		got := flows(t, pods, targets)
		if !slices.Equal(got, want) {
			missing := slices.DeleteFunc(slices.Clone(want), func(f string) bool { return slices.Contains(got, f) })
			extra := slices.DeleteFunc(got, func(f string) bool { return slices.Contains(want, f) })
			return fmt.Errorf("blocked: %q, open and should not be: %q", missing, extra)
		}
		return nil
	})
	t.Logf("%d of %d flows are open, as they should be", len(want), len(pods)*len(targets))
}

// flows tries every pair at the same time, and returns those that are open. A packet that is dropped shows as a time-out.
func flows(t *testing.T, pods map[string]corev1.Pod, targets map[string]string) []string {
	t.Helper()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		open []string
	)
	for from, pod := range pods {
		all.Go(func() {
			script := ""
			for _, to := range slices.Sorted(maps.Keys(targets)) {
				if from != "server" && strings.HasPrefix(to, from+":") {
					continue // itself
				}
				script += fmt.Sprintf("(timeout 3 bash -c '</dev/tcp/%s' 2>/dev/null && echo '%s -> %s') &\n", targets[to], from, to)
			}
			out, err := kubectl("", "-n", pod.Namespace, "exec", pod.Name, "-c", pod.Spec.Containers[0].Name, "--", "bash", "-c", script+"wait")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			open = append(open, strings.Split(strings.TrimSpace(out), "\n")...)
		})
	}
	all.Wait()
	return slices.Sorted(slices.Values(slices.DeleteFunc(open, func(flow string) bool { return flow == "" })))
}

// prober is a pod from which a test can connect, and which listens on port 8080.
func prober(namespace, name string, labels map[string]string) *corev1.Pod {
	if labels == nil {
		labels = map[string]string{}
	}
	labels["name"] = name
	restricted := &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(1001)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			TerminationGracePeriodSeconds: new(int64(0)),
			Containers: []corev1.Container{
				{Name: "prober", Image: firstImage, Command: []string{"sleep", "infinity"}, SecurityContext: restricted},
				{Name: "listener", Image: shellImage, Command: []string{"nc", "-ll", "-p", "8080", "-e", "/bin/true"}, SecurityContext: restricted},
			},
		},
	}
}

func running(t *testing.T, pod *corev1.Pod) corev1.Pod {
	t.Helper()
	eventually(t, func() error {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
			return fmt.Errorf("pod %s is %s", pod.Name, pod.Status.Phase)
		}
		return nil
	})
	return *pod
}

// onePod is the only pod with a label, key=value.
func onePod(t *testing.T, namespace, label string) corev1.Pod {
	t.Helper()
	key, value, _ := strings.Cut(label, "=")
	var pods corev1.PodList
	eventually(t, func() error {
		if err := cluster.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{key: value}); err != nil {
			return err
		}
		pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning })
		if len(pods.Items) != 1 {
			return fmt.Errorf("%d pods have the label %s", len(pods.Items), label)
		}
		return nil
	})
	return pods.Items[0]
}
