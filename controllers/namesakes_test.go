package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// An object of a child's name that is not ours stays as it is, byte for byte; the status
// names it and the annotation that hands it over; when it goes, the platform comes up.
func TestForeignNamesakesAreLeftAlone(t *testing.T) {
	t.Parallel()
	needCRDs(t)
	foreign := func(o client.Object, name string) client.Object {
		o.SetName(name)
		o.SetLabels(map[string]string{"app": "somebody-else"})
		return o
	}
	labels := map[string]string{"app": "somebody-else"}
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/theirs:1"}}}}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	optional := func(kind schema.GroupVersionKind, name string, spec map[string]any) client.Object {
		o := newOptional(kind)
		o.Object["spec"] = spec
		return foreign(o, name)
	}
	ingress := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "x", Port: networkingv1.ServiceBackendPort{Number: 1}}}}}
	autoscaler := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 1, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "x"}}}
	const routes = "networking: {host: assets.example.com, %s}"
	// What they need to be wanted, where an empty spec does not want them.
	specs := map[string]string{
		"HorizontalPodAutoscaler studio-server": "autoscaling: {}", "Ingress studio-server": fmt.Sprintf(routes, "ingress: {}"),
		"HTTPRoute studio-server": fmt.Sprintf(routes, "gateway: {parentRefs: [{name: public}]}"), "Certificate studio-tls": fmt.Sprintf(routes, "tls: {issuerRef: {name: letsencrypt}}"),
	}
	for name, o := range map[string]client.Object{
		"NetworkPolicy studio-server": foreign(&networkingv1.NetworkPolicy{}, "studio-server"), "PodDisruptionBudget studio-server": foreign(&policyv1.PodDisruptionBudget{}, "studio-server"),
		"HorizontalPodAutoscaler studio-server": foreign(autoscaler, "studio-server"), "Ingress studio-server": foreign(ingress, "studio-server"),
		"HTTPRoute studio-server":         optional(manifests.KindHTTPRoute, "studio-server", map[string]any{}),
		"Certificate studio-tls":          optional(manifests.KindCertificate, "studio-tls", map[string]any{"secretName": "x", "dnsNames": []any{"x"}, "issuerRef": map[string]any{"name": "x"}}),
		"ServiceMonitor studio-server":    optional(manifests.KindServiceMonitor, "studio-server", map[string]any{"endpoints": []any{}, "selector": map[string]any{}}),
		"PrometheusRule studio-alerts":    optional(manifests.KindPrometheusRule, "studio-alerts", map[string]any{}),
		"Deployment studio-server":        foreign(&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: new(int32(0)), Selector: selector, Template: pod}}, "studio-server"),
		"StatefulSet studio-postgres":     foreign(&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: new(int32(0)), Selector: selector, Template: pod}}, "studio-postgres"),
		"Service studio":                  foreign(&corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}, "studio"),
		"ServiceAccount studio-server":    foreign(&corev1.ServiceAccount{}, "studio-server"),
		"Secret studio-auth":              foreign(&corev1.Secret{StringData: map[string]string{"jwt-secret": "theirs"}}, "studio-auth"),
		"Secret studio-postgres":          foreign(&corev1.Secret{StringData: map[string]string{"password": "theirs"}}, "studio-postgres"),
		"PersistentVolumeClaim studio-s3": foreign(&corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"}, Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}}}, "studio-s3"),
		"ConfigMap studio-server-":        foreign(&corev1.ConfigMap{Data: map[string]string{"theirs": "1"}}, "studio-server-"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t, &fakeReadiness{})
			o.SetNamespace(namespace)
			if strings.HasSuffix(name, "-") { // content-addressed
				ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: namespace}}
				o.SetName(manifests.ServerConfigMap(ap).Name)
				name = describe(o)
			}
			if err := admin.Create(ctx, o); err != nil {
				t.Fatal(err)
			}
			before := bytesOf(t, o)
			ap := newPlatformIn(t, namespace, specOf(t, specs[name]))
			c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonNameConflict)
			if !strings.Contains(c.Message, name+" exists") || !strings.Contains(c.Message, assetv1.AnnotationAdopt+"=true") {
				t.Errorf("message %q", c.Message)
			}
			if meta.IsStatusConditionTrue(ap.Status.Conditions, assetv1.ConditionStalled) {
				t.Error("Stalled, although its deletion helps")
			}
			if name == "Service studio" && ap.Status.URL != "" {
				t.Errorf("URL %s is that of somebody else's Service", ap.Status.URL)
			}
			if after := bytesOf(t, o); before != after {
				t.Errorf("it was changed:\n%s\n%s", before, after)
			}
			var pods corev1.PodList
			if err := admin.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
			for _, pod := range pods.Items {
				eachReference(pod.Spec, func(kind, used string) {
					if kind+" "+used == name {
						t.Errorf("pod %s of ours starts from it", pod.Name)
					}
				})
			}
			if err := admin.Delete(ctx, o); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error {
				ours := o.DeepCopyObject().(client.Object)
				if err := admin.Get(ctx, client.ObjectKeyFromObject(o), ours); err != nil {
					return err
				}
				if !belongsTo(ap, ours) {
					return errors.New("it is not the platform's")
				}
				return nil
			})
			if specs[name] == "" || strings.HasPrefix(name, "Horizontal") { // nobody serves routes here
				waitReady(t, ap)
			}
		})
	}
}

// bytesOf is what the cluster holds of an object, its status (which controllers write) aside.
func bytesOf(t *testing.T, o client.Object) string {
	t.Helper()
	gvk, err := apiutil.GVKForObject(o, admin.Scheme())
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	if err := admin.Get(ctx, client.ObjectKeyFromObject(o), u); err != nil {
		t.Fatal(err)
	}
	delete(u.Object, "status")
	u.SetResourceVersion("")
	u.SetManagedFields(slices.DeleteFunc(u.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Manager != fieldManager }))
	annotations := u.GetAnnotations()
	delete(annotations, "deployment.kubernetes.io/revision") // the Deployment controller's
	if len(annotations) == 0 {
		annotations = nil
	}
	u.SetAnnotations(annotations)
	text, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// busyClient is the real client, but its first apply is a conflict, as a quota that many use at once answers, and somebody
// else makes an object of that name in the meantime.
type busyClient struct {
	client.Client
	meanwhile client.Object
}

func (c *busyClient) Apply(ctx context.Context, intent runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	if c.meanwhile == nil {
		return c.Client.Apply(ctx, intent, options...)
	}
	if err := c.Create(ctx, c.meanwhile); err != nil {
		return err
	}
	c.meanwhile = nil
	return apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "q", errors.New("the object has been modified"))
}

// Between the look for a namesake and the apply there is no gap in which somebody else's object would be taken over.
func TestNobodysObjectIsAdoptedInAGap(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	for _, late := range []bool{true, false} {
		theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: fmt.Sprintf("of-the-test-%t", late)}, StringData: map[string]string{"k": "theirs"}}
		ours := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: theirs.Name}, Data: map[string][]byte{"k": []byte("ours")}}
		busy := &busyClient{Client: admin, meanwhile: theirs}
		a := &applier{client: busy, uncached: admin, secrets: admin}
		if late { // it comes after the look as well
			a.uncached = readerFunc(func(context.Context, client.ObjectKey, client.Object) error {
				return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, theirs.Name)
			})
		}
		_, err := a.apply(ctx, ap, ours)
		var problem *finding
		if !apierrors.IsConflict(err) && !errors.As(err, &problem) {
			t.Errorf("late %t: %v", late, err)
		}
		if got := get(t, ap, theirs.Name, &corev1.Secret{}).Data["k"]; string(got) != "theirs" {
			t.Errorf("late %t: the Secret holds %q", late, got)
		}
	}
}

// readerFunc reads single objects.
type readerFunc func(context.Context, client.ObjectKey, client.Object) error

func (f readerFunc) Get(ctx context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	return f(ctx, key, into)
}

func (f readerFunc) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }
