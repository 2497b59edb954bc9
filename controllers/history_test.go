package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// history holds every version of every platform and Deployment that anybody could see.
type history struct {
	mu          sync.Mutex
	platforms   map[types.UID][]assetv1.AssetPlatform
	deployments map[types.NamespacedName][]appsv1.Deployment
	stop        context.CancelFunc
}

func recordHistory(cfg *rest.Config) (*history, error) {
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: NewScheme()})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &history{platforms: map[types.UID][]assetv1.AssetPlatform{}, deployments: map[types.NamespacedName][]appsv1.Deployment{}, stop: stop}
	for _, list := range []client.ObjectList{&assetv1.AssetPlatformList{}, &appsv1.DeploymentList{}} {
		w, err := c.Watch(ctx, list)
		if err != nil {
			stop()
			return nil, err
		}
		go func() {
			for event := range w.ResultChan() {
				h.add(event)
			}
		}()
	}
	return h, nil
}

func (h *history) add(event watch.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch o := event.Object.(type) {
	case *assetv1.AssetPlatform:
		h.platforms[o.UID] = append(h.platforms[o.UID], *o)
	case *appsv1.Deployment:
		name := client.ObjectKeyFromObject(o)
		h.deployments[name] = append(h.deployments[name], *o)
	}
}

// versions are those of one platform until now, the oldest first.
func (h *history) versions(ap *assetv1.AssetPlatform) []assetv1.AssetPlatform {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.platforms[ap.UID])
}

// check says what was wrong with any status that was ever visible.
func (h *history) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var wrong []error
	for _, versions := range h.platforms {
		appeared := int64(0) // the resource version at which the present generation appeared
		for i, ap := range versions {
			if i == 0 || ap.Generation != versions[i-1].Generation {
				appeared = revision(&ap)
			}
			wrong = append(wrong, checkConditions(&ap), checkKstatus(&ap), h.checkReady(&ap, appeared))
		}
	}
	return errors.Join(wrong...)
}

// checkReady: Ready=True of the present generation is only visible after the Deployment
// has fully rolled out what that generation asks for.
func (h *history) checkReady(ap *assetv1.AssetPlatform, appeared int64) error {
	ready := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != ap.Generation || ap.DeletionTimestamp != nil {
		return nil
	}
	versions := h.deployments[types.NamespacedName{Namespace: ap.Namespace, Name: manifests.ServerName(ap)}]
	if ap.Spec.Hibernate && (len(versions) == 0 || revision(&versions[0]) > revision(ap)) {
		return nil
	}
	for i, d := range versions {
		replaced := i+1 < len(versions) && revision(&versions[i+1]) < appeared
		if !replaced && revision(&d) < revision(ap) && rolledOut(ap, &d) {
			return nil
		}
	}
	return fmt.Errorf("%s/%s is Ready in generation %d (version %s), and its Deployment had not rolled out what that asks for: %s", ap.Namespace, ap.Name, ap.Generation, ap.ResourceVersion, describeVersions(ap, versions))
}

func describeVersions(ap *assetv1.AssetPlatform, versions []appsv1.Deployment) string {
	spec, err := json.Marshal(ap.Spec)
	if err != nil {
		return err.Error()
	}
	text := string(spec)
	for _, d := range versions {
		text += fmt.Sprintf("\n  version %s: generation %d, %d replicas of %s, %+v", d.ResourceVersion, d.Generation, ptr.Deref(d.Spec.Replicas, 1), d.Spec.Template.Spec.Containers[0].Image, d.Status)
	}
	return text
}

func rolledOut(ap *assetv1.AssetPlatform, d *appsv1.Deployment) bool {
	n := ptr.Deref(d.Spec.Replicas, 1)
	image := d.Spec.Template.Spec.Containers[0].Image
	s := d.Status
	switch a := ap.Spec.Autoscaling; {
	case !metav1.IsControlledBy(d, ap) || s.ObservedGeneration != d.Generation || s.UpdatedReplicas != s.Replicas:
		return false
	case ap.Spec.Hibernate:
		return n == 0 && s.Replicas == 0
	case ap.Spec.Image != "" && ap.Spec.Image != image:
		return false
	case a != nil:
		return n >= a.MinReplicas && s.AvailableReplicas >= a.MinReplicas
	}
	return n == ptr.Deref(ap.Spec.Replicas, 3) && s.Replicas == n && s.AvailableReplicas == n
}

// checkKstatus: Current if and only if Ready, Failed if and only if Stalled, else InProgress.
func checkKstatus(ap *assetv1.AssetPlatform) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(ap)
	if err != nil {
		return err
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		return err
	}
	want := status.InProgressStatus
	observed := ap.Status.ObservedGeneration == ap.Generation
	switch {
	case ap.DeletionTimestamp != nil:
		want = status.TerminatingStatus
	case observed && meta.IsStatusConditionTrue(ap.Status.Conditions, assetv1.ConditionReady):
		want = status.CurrentStatus
	case observed && meta.IsStatusConditionTrue(ap.Status.Conditions, assetv1.ConditionStalled):
		want = status.FailedStatus
	case len(ap.Status.Conditions) == 0:
		return nil // made a moment ago: kstatus has nothing to go by
	}
	if observed || want == status.TerminatingStatus {
		if result.Status != want {
			return fmt.Errorf("%s/%s: kstatus says %s (%s), want %s; status is %s", ap.Namespace, ap.Name, result.Status, result.Message, want, describeStatus(ap))
		}
	} else if result.Status == status.CurrentStatus {
		return fmt.Errorf("%s/%s: kstatus says %s of a generation that was not looked at", ap.Namespace, ap.Name, result.Status)
	}
	return nil
}

// randomName finds names that controllers make up for pods and ReplicaSets.
var randomName = regexp.MustCompile(`-(server|migrate-[0-9a-f]{10})-([0-9a-z]{8,10}-)?[bcdfghjklmnpqrstvwxz2456789]{5}\b`)

func checkConditions(ap *assetv1.AssetPlatform) error {
	var wrong []error
	for _, c := range ap.Status.Conditions {
		switch {
		case c.ObservedGeneration != ap.Status.ObservedGeneration:
			wrong = append(wrong, fmt.Errorf("%s/%s: condition %s speaks of generation %d, the status of %d", ap.Namespace, ap.Name, c.Type, c.ObservedGeneration, ap.Status.ObservedGeneration))
		case c.Message == "" || c.Reason == "":
			wrong = append(wrong, fmt.Errorf("%s/%s: condition %s says nothing", ap.Namespace, ap.Name, c.Type))
		case randomName.MatchString(c.Message):
			wrong = append(wrong, fmt.Errorf("%s/%s: condition %s names what changes by itself: %s", ap.Namespace, ap.Name, c.Type, c.Message))
		case strings.Contains(c.Message, ": : ") || strings.HasSuffix(c.Message, ": ") || strings.Contains(c.Message, "%!"):
			wrong = append(wrong, fmt.Errorf("%s/%s: condition %s is badly put: %s", ap.Namespace, ap.Name, c.Type, c.Message))
		}
	}
	if ap.Status.ObservedGeneration != ap.Generation {
		return errors.Join(wrong...)
	}
	want, n := 11, ap.Spec.Networking
	if b := ap.Spec.Backup; b != nil {
		want++
		if b.Objectives.RPO != nil {
			want++
		}
	}
	if n.TLS != nil {
		want++
	}
	if n.Ingress != nil || n.Gateway != nil {
		want++
	}
	if manifests.WantsServiceMonitor(ap) || manifests.WantsRules(ap) {
		want++
	}
	if ap.Spec.Autoscaling != nil && !ap.Spec.Hibernate {
		want++
	}
	if got := len(ap.Status.Conditions); got != want {
		wrong = append(wrong, fmt.Errorf("%s/%s has %d conditions, want %d or none", ap.Namespace, ap.Name, got, want))
	}
	return errors.Join(wrong...)
}

// revision is an object's resource version, which is one counter for the whole cluster.
func revision(o client.Object) int64 {
	n, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
