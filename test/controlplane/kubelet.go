package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Image says how the containers of an image behave.
type Image struct {
	// PullError keeps the container waiting with ImagePullBackOff and these words.
	PullError string
	// Waiting keeps the container waiting with this reason.
	Waiting string
	// Exits makes the container end with ExitCode and Message; otherwise it runs and is ready.
	Exits    bool
	ExitCode int32
	Message  string
	// InitMessage is what init containers say; with InitFails they fail, and the container never starts.
	InitMessage string
	InitFails   bool
	// Hold keeps the pod pending, and without a node, until it is taken back.
	Hold bool
}

// Kubelet plays the scheduler and the nodes: it binds pods and sets their status.
type Kubelet struct {
	client kubernetes.Interface
	pods   cache.SharedIndexInformer
	queue  workqueue.TypedRateLimitingInterface[cache.ObjectName]

	mu     sync.Mutex
	images map[string]Image
	ips    map[string]string // by namespace
}

// SetImage makes an image behave so from now on, also in pods that wait.
func (k *Kubelet) SetImage(image string, i Image) {
	k.mu.Lock()
	k.images[image] = i
	k.mu.Unlock()
	for _, o := range k.pods.GetStore().List() {
		k.queue.Add(cache.MetaObjectToName(o.(*corev1.Pod)))
	}
}

// PodIP is the address that SetPodIP gave the pods of a namespace.
func (k *Kubelet) PodIP(namespace string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ips[namespace]
}

// SetPodIP gives the pods of a namespace an address; without one they get none.
func (k *Kubelet) SetPodIP(namespace, ip string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ips[namespace] = ip
}

func startKubelet(ctx context.Context, cfg *rest.Config) (*Kubelet, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("create a node: %w", err)
	}
	if err := createStorageClass(ctx, client); err != nil {
		return nil, fmt.Errorf("create a storage class: %w", err)
	}
	k := &Kubelet{
		client: client, images: map[string]Image{}, ips: map[string]string{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](5*time.Millisecond, time.Second)),
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	k.pods = factory.Core().V1().Pods().Informer()
	add := func(o any) { k.queue.Add(cache.MetaObjectToName(o.(*corev1.Pod))) }
	_, err = k.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, o any) { add(o) }})
	if err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	context.AfterFunc(ctx, k.queue.ShutDown)
	for range 4 {
		go k.work(ctx)
	}
	return k, nil
}

func (k *Kubelet) work(ctx context.Context) {
	for {
		name, stop := k.queue.Get()
		if stop {
			return
		}
		if err := k.sync(ctx, name); err != nil && ctx.Err() == nil {
			k.queue.AddRateLimited(name)
		} else {
			k.queue.Forget(name)
		}
		k.queue.Done(name)
	}
}

func (k *Kubelet) sync(ctx context.Context, name cache.ObjectName) error {
	o, ok, err := k.pods.GetStore().GetByKey(name.String())
	if err != nil || !ok {
		return err
	}
	pod := o.(*corev1.Pod).DeepCopy()
	pods := k.client.CoreV1().Pods(pod.Namespace)
	switch {
	case pod.DeletionTimestamp != nil:
		now := int64(0)
		return ignoreGone(pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))}))
	case pod.Spec.NodeName == "" && k.image(pod).Hold:
		return nil
	case pod.Spec.NodeName == "":
		if err := k.provision(ctx, pod); err != nil {
			return err
		}
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "node"}}
		return ignoreGone(pods.Bind(ctx, binding, metav1.CreateOptions{}))
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return nil
	}
	k.mu.Lock()
	ip := k.ips[pod.Namespace]
	k.mu.Unlock()
	wanted := status(pod, k.image(pod), ip)
	if wanted == nil || sameStatus(pod.Status, *wanted) {
		return nil
	}
	pod.Status = *wanted
	_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return ignoreGone(err)
}

// image says how a pod behaves.
func (k *Kubelet) image(pod *corev1.Pod) Image {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.images[pod.Spec.Containers[0].Image]
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// status is what a node would report; nil leaves the pod as it is.
func status(pod *corev1.Pod, image Image, ip string) *corev1.PodStatus {
	if image.Hold {
		return nil
	}
	c := corev1.ContainerStatus{Name: pod.Spec.Containers[0].Name, Image: pod.Spec.Containers[0].Image}
	s := &corev1.PodStatus{Phase: corev1.PodPending, PodIP: ip, StartTime: pod.Status.StartTime}
	if s.StartTime == nil {
		s.StartTime = new(metav1.Now())
	}
	if ip != "" {
		s.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	ready := corev1.ConditionFalse
	job := pod.Spec.RestartPolicy != corev1.RestartPolicyAlways
	switch {
	case image.PullError != "":
		c.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: image.PullError}
	case image.Waiting != "":
		c.State.Waiting = &corev1.ContainerStateWaiting{Reason: image.Waiting, Message: image.Message}
	case image.Exits || job && image == (Image{}):
		ended := &corev1.ContainerStateTerminated{ExitCode: image.ExitCode, Message: image.Message, Reason: "Completed", StartedAt: *s.StartTime, FinishedAt: metav1.Now()}
		if image == (Image{}) {
			ended.Message = Migrated(1)
		}
		s.Phase = corev1.PodSucceeded
		if ended.ExitCode != 0 {
			s.Phase, ended.Reason = corev1.PodFailed, "Error"
		}
		if image.InitFails {
			s.Phase = corev1.PodFailed
			c.State.Waiting = &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
			break
		}
		c.State.Terminated = ended
		if !job {
			s.Phase, c.RestartCount = corev1.PodRunning, 3
		}
	default:
		s.Phase, ready = corev1.PodRunning, corev1.ConditionTrue
		c.Ready, c.Started = true, new(true)
		c.State.Running = &corev1.ContainerStateRunning{StartedAt: *s.StartTime}
	}
	s.ContainerStatuses = []corev1.ContainerStatus{c}
	for _, init := range pod.Spec.InitContainers {
		ended := &corev1.ContainerStateTerminated{Message: image.InitMessage, Reason: "Completed", StartedAt: *s.StartTime, FinishedAt: metav1.Now()}
		if image.InitFails {
			ended.ExitCode, ended.Reason = max(image.ExitCode, 1), "Error"
		}
		s.InitContainerStatuses = append(s.InitContainerStatuses, corev1.ContainerStatus{Name: init.Name, Image: init.Image, State: corev1.ContainerState{Terminated: ended}})
	}
	for _, t := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: t, Status: ready, LastTransitionTime: *s.StartTime})
	}
	return s
}

func sameStatus(a, b corev1.PodStatus) bool {
	return a.Phase == b.Phase && len(a.ContainerStatuses) == len(b.ContainerStatuses) && len(a.ContainerStatuses) > 0 &&
		summary(a.ContainerStatuses[0]) == summary(b.ContainerStatuses[0])
}

func summary(c corev1.ContainerStatus) string {
	switch {
	case c.State.Waiting != nil:
		return c.State.Waiting.Reason + c.State.Waiting.Message
	case c.State.Terminated != nil:
		return fmt.Sprint("terminated", c.State.Terminated.ExitCode)
	}
	return fmt.Sprint("running", c.Ready)
}

// Migrated is the termination message of a migration that brought the schema to a version.
func Migrated(schema int64) string {
	text, err := json.Marshal(map[string]any{"code": "OK", "message": "migrated", "result": map[string]int64{"schema": schema, "compatibleFrom": 1}})
	if err != nil {
		panic(err)
	}
	return string(text)
}
