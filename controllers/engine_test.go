package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// children are the platform's applied objects as they are in the cluster.
func children(t *testing.T, ap *assetv1.AssetPlatform) []*unstructured.Unstructured {
	t.Helper()
	kinds := slices.Clone(manifests.OptionalKinds)
	for _, kind := range ownedKinds() {
		if _, job := kind.(*batchv1.Job); job {
			continue // created, never applied
		}
		gvk, err := apiutil.GVKForObject(kind, admin.Scheme())
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, gvk)
	}
	var all []*unstructured.Unstructured
	for _, gvk := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk)
		err := admin.List(ctx, list, inPlatform(ap)...)
		if err != nil && !meta.IsNoMatchError(err) {
			t.Fatal(err)
		}
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	}
	return all
}

// Each of the children is repaired when a label that the cache selects by is taken off,
// when a field is edited, and when it is deleted, within a second or two: by its watch,
// not by the interval.
func TestDriftOfEveryKindIsRepaired(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	secrets := generatedData(t, ap)
	for _, child := range children(t, ap) {
		name := describe(child)
		o := child.DeepCopy()
		o.SetLabels(nil)
		if err := retryUpdate(o, func() { o.SetLabels(nil) }); err != nil {
			t.Fatal(name, err)
		}
		repaired(t, name+" without labels", func() error {
			if err := admin.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
				return err
			}
			if got := o.GetLabels(); fmt.Sprint(got) != fmt.Sprint(child.GetLabels()) {
				return fmt.Errorf("labels are %v", got)
			}
			return nil
		})
		if err := retryUpdate(o, func() {
			labels := o.GetLabels()
			labels[manifests.LabelPartOf] = "something else"
			labels["example.com/extra"] = "theirs"
			labels[manifests.LabelPartOf] = "something-else"
			o.SetLabels(labels)
		}); err != nil {
			t.Fatal(name, err)
		}
		repaired(t, name+" with another label", func() error {
			if err := admin.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
				return err
			}
			if got := o.GetLabels(); got[manifests.LabelPartOf] != "assetplatform" || got["example.com/extra"] != "theirs" {
				return fmt.Errorf("labels are %v", got)
			}
			return nil
		})
		if kind := o.GetKind(); kind == "PersistentVolumeClaim" || kind == "Secret" && secrets[o.GetName()] != nil {
			continue // what is deleted there is lost: see data_test.go
		}
		if err := admin.Delete(ctx, child); err != nil {
			t.Fatal(name, err)
		}
		repaired(t, name+" deleted", func() error {
			if err := admin.Get(ctx, client.ObjectKeyFromObject(child), o); err != nil {
				return err
			}
			if o.GetUID() == child.GetUID() {
				return fmt.Errorf("not deleted yet")
			}
			return nil
		})
	}
	if fmt.Sprint(generatedData(t, ap)) != fmt.Sprint(secrets) {
		t.Error("a generated Secret is another now")
	}
	waitReady(t, ap)
}

func retryUpdate(o client.Object, edit func()) error {
	for {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		edit()
		if err := admin.Update(ctx, o); !apierrors.IsConflict(err) {
			return err
		}
	}
}

// repaired is like eventually, and fails if only the next look after an interval helped.
func repaired(t *testing.T, what string, check func() error) {
	t.Helper()
	start := time.Now()
	eventually(t, check)
	if took := time.Since(start); took > 25*time.Second {
		t.Errorf("%s was repaired after %s", what, took)
	}
}

// The fields of the spec that people edit by hand are put back; what another manager adds stays.
func TestDriftOfFieldsIsRepaired(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	server := get(t, ap, "studio-server", &appsv1.Deployment{})
	if err := retryUpdate(server, func() {
		server.Spec.Replicas = new(int32(1))
		server.Spec.Template.Spec.Containers[0].Image = "example.com/other:1"
		server.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "THEIRS", Value: "1"}}
	}); err != nil {
		t.Fatal(err)
	}
	set := get(t, ap, "studio-redis", &appsv1.StatefulSet{})
	if err := retryUpdate(set, func() { set.Spec.Replicas = new(int32(0)) }); err != nil {
		t.Fatal(err)
	}
	service := get(t, ap, "studio", &corev1.Service{})
	if err := retryUpdate(service, func() { service.Spec.Ports[0].TargetPort.StrVal = "metrics" }); err != nil {
		t.Fatal(err)
	}
	repaired(t, "fields", func() error {
		get(t, ap, "studio-server", server)
		get(t, ap, "studio-redis", set)
		get(t, ap, "studio", service)
		container := server.Spec.Template.Spec.Containers[0]
		if n := ptr.Deref(server.Spec.Replicas, 0); n != 3 || container.Image != manifests.DefaultImages.Server {
			return fmt.Errorf("%d replicas of %s", n, container.Image)
		}
		if len(container.Env) != 1 {
			t.Fatalf("what another manager added is gone: %v", container.Env)
		}
		if *set.Spec.Replicas != 1 || service.Spec.Ports[0].TargetPort.StrVal != "http" {
			return fmt.Errorf("%d redis, port %v", *set.Spec.Replicas, service.Spec.Ports[0].TargetPort)
		}
		return nil
	})
	waitReady(t, ap)
}

// The number of a port is a key of its list: one that is edited by hand is put back, as any other field is. What
// others add stays, and a port that the spec changes leaves nothing of the old one behind.
func TestDriftOfPortsIsRepaired(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Networking.Service.Type = corev1.ServiceTypeNodePort })
	waitReady(t, ap)
	service := get(t, ap, "studio", &corev1.Service{})
	nodePort := service.Spec.Ports[0].NodePort
	if err := retryUpdate(service, func() {
		service.Spec.Ports[0].Port = 81
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: "theirs", Port: 99, Protocol: corev1.ProtocolTCP})
	}); err != nil {
		t.Fatal(err)
	}
	set, server := get(t, ap, "studio-redis", &appsv1.StatefulSet{}), get(t, ap, "studio-server", &appsv1.Deployment{})
	if err := retryUpdate(set, func() { set.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort = 1 }); err != nil {
		t.Fatal(err)
	}
	if err := retryUpdate(server, func() {
		server.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort = 1
		server.Spec.Template.Spec.Containers[0].Ports[1].Protocol = corev1.ProtocolUDP
	}); err != nil {
		t.Fatal(err)
	}
	ports := func(template corev1.PodTemplateSpec) string {
		var list []string
		for _, p := range template.Spec.Containers[0].Ports {
			list = append(list, fmt.Sprintf("%s %d/%s", p.Name, p.ContainerPort, p.Protocol))
		}
		return strings.Join(list, ", ")
	}
	servicePorts := func() string {
		get(t, ap, "studio", service)
		var list []string
		for _, p := range service.Spec.Ports {
			list = append(list, fmt.Sprintf("%s %d", p.Name, p.Port))
		}
		return strings.Join(list, ", ")
	}
	repaired(t, "ports", func() error {
		got := []string{servicePorts(), ports(get(t, ap, "studio-redis", set).Spec.Template), ports(get(t, ap, "studio-server", server).Spec.Template)}
		if want := []string{"http 80, theirs 99", "redis 6379/TCP", "http 3000/TCP, metrics 9090/TCP"}; !slices.Equal(got, want) {
			return fmt.Errorf("the ports are %q, want %q", got, want)
		}
		return nil
	})
	if service.Spec.Ports[0].NodePort != nodePort {
		t.Errorf("the node's port was %d and is %d", nodePort, service.Spec.Ports[0].NodePort)
	}
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Networking.Service.Port = 8080 })
	waitReady(t, ap)
	if got := servicePorts(); got != "theirs 99, http 8080" && got != "http 8080, theirs 99" {
		t.Errorf("after a change by the spec the ports are %q", got)
	}
}

// A field beside one of ours makes the two invalid together, and every apply refused: it goes. What somebody scales stays.
func TestDriftThatIsRefusedIsRepaired(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Replicas, s.Autoscaling = nil, &assetv1.AutoscalingSpec{MinReplicas: 2, MaxReplicas: 5}
	})
	waitReady(t, ap)
	server := get(t, ap, "studio-server", &appsv1.Deployment{})
	if err := retryUpdate(server, func() { server.Spec.Replicas = new(int32(4)) }); err != nil {
		t.Fatal(err)
	}
	edit := func(kind, name, patch string) {
		t.Helper()
		mustKubectl(t, "patch", "-n", ap.Namespace, kind, name, "--type=merge", "-p", patch)
	}
	edit("pdb", "studio-server", `{"spec":{"maxUnavailable":null,"minAvailable":2}}`)
	edit("statefulset", "studio-redis", `{"spec":{"template":{"spec":{"containers":[{"name":"redis","image":"x","readinessProbe":{"tcpSocket":{"port":6379}}}]}}}}`)
	edit("deployment", "studio-server", `{"spec":{"template":{"spec":{"containers":[{"name":"server","image":"x","livenessProbe":{"tcpSocket":{"port":3000}}}]}}}}`)
	repaired(t, "the disruption budget", func() error {
		if pdb := get(t, ap, "studio-server", &policyv1.PodDisruptionBudget{}); pdb.Spec.MinAvailable != nil || pdb.Spec.MaxUnavailable == nil {
			return fmt.Errorf("it is %+v", pdb.Spec)
		}
		return nil
	})
	repaired(t, "the probes", func() error {
		redis, server := get(t, ap, "studio-redis", &appsv1.StatefulSet{}).Spec.Template.Spec.Containers[0], get(t, ap, "studio-server", server).Spec.Template.Spec.Containers[0]
		if redis.ReadinessProbe.TCPSocket != nil || redis.Image == "x" || server.LivenessProbe.TCPSocket != nil || server.Image == "x" {
			return fmt.Errorf("they are %+v and %+v", redis, server)
		}
		return nil
	})
	if n := *get(t, ap, "studio-server", server).Spec.Replicas; n != 4 {
		t.Errorf("%d replicas, want those of the autoscaler", n)
	}
	waitReady(t, ap)
	for _, child := range children(t, ap) {
		if child.GetKind() == "Deployment" {
			continue // what is wanted of it depends on who scales
		}
		if same, err := ownsExactly(typed(t, child), intentOf(t, ap, child)); err != nil || !same {
			t.Errorf("%s is not proved to be as applied: %v", describe(child), err)
		}
	}
}

// A container of ours that was renamed by hand is somebody else's for server-side apply: it would stay beside ours, with
// our port. A sidecar that is in nobody's way stays.
func TestRenamedContainersGo(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	set, server := get(t, ap, "studio-redis", &appsv1.StatefulSet{}), get(t, ap, "studio-server", &appsv1.Deployment{})
	sidecar := corev1.Container{Name: "theirs", Image: "example.com/sidecar:1", Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 15090}}}
	for o, template := range map[client.Object]*corev1.PodTemplateSpec{set: &set.Spec.Template, server: &server.Spec.Template} {
		if err := retryUpdate(o, func() {
			template.Spec.Containers[0].Name = "renamed"
			template.Spec.Containers[0].VolumeMounts, template.Spec.Volumes = nil, nil // as a manifest of one's own, put over ours, may be
			if o == server {
				template.Spec.Containers[0].Ports = nil
			}
			template.Spec.Containers = append(template.Spec.Containers, sidecar)
		}); err != nil {
			t.Fatal(err)
		}
	}
	names := func(template corev1.PodTemplateSpec) string {
		var list []string
		for _, c := range template.Spec.Containers {
			list = append(list, c.Name)
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	repaired(t, "containers", func() error {
		got := []string{names(get(t, ap, "studio-redis", set).Spec.Template), names(get(t, ap, "studio-server", server).Spec.Template)}
		if want := []string{"redis theirs", "server theirs"}; !slices.Equal(got, want) {
			return fmt.Errorf("the containers are %q, want %q", got, want)
		}
		return nil
	})
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Server.LogLevel = "debug" })
	waitReady(t, ap)
}

// An annotated namesake is taken over; one that somebody else's controller owns is not.
func TestAnnotatedNamesakeIsAdopted(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, &fakeReadiness{})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: "studio-server", Namespace: namespace, Annotations: map[string]string{assetv1.AnnotationAdopt: "true", "example.com/role": "theirs"},
	}}
	if err := admin.Create(ctx, account); err != nil {
		t.Fatal(err)
	}
	owned := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: "studio-redis", Namespace: namespace, Annotations: map[string]string{assetv1.AnnotationAdopt: "true"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ServiceAccount", Name: account.Name, UID: account.UID, Controller: new(true)}},
	}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}
	if err := admin.Create(ctx, owned); err != nil {
		t.Fatal(err)
	}
	ap := newPlatformIn(t, namespace, nil)
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonNameConflict)
	if !strings.Contains(c.Message, "belongs to ServiceAccount studio-server") || strings.Contains(c.Message, assetv1.AnnotationAdopt) {
		t.Errorf("message %q", c.Message)
	}
	get(t, ap, "studio-server", account)
	if !metav1.IsControlledBy(account, ap) || account.Annotations["example.com/role"] != "theirs" {
		t.Errorf("the annotated ServiceAccount was not taken over: %+v", account.ObjectMeta)
	}
}

// Applying what is there already moves no resource version, and the proof without a
// request says so, for every child.
func TestApplyingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	for name, ap := range map[string]*assetv1.AssetPlatform{"managed": newPlatform(t, nil), "external": newExternalPlatform(t, nil), "routed": newRoutedPlatform(t)} {
		waitCondition(t, ap, assetv1.ConditionAvailable, metav1.ConditionTrue, "")
		for _, child := range children(t, ap) {
			intent := intentOf(t, ap, child)
			live := typed(t, child)
			if same, err := ownsExactly(live, intent); err != nil || !same {
				t.Errorf("%s: %s is not proved to be as applied: %v", name, describe(child), err)
			}
			version := ""
			for range 3 {
				applied := intent.DeepCopy()
				if err := admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
					t.Fatal(err)
				}
				if version != "" && applied.GetResourceVersion() != version {
					t.Errorf("%s: applying %s again moved its resource version", name, describe(child))
				}
				version = applied.GetResourceVersion()
			}
		}
	}
}

// intentOf is what the operator says about a child in the state that its platform is in.
func intentOf(t *testing.T, ap *assetv1.AssetPlatform, child client.Object) *unstructured.Unstructured {
	t.Helper()
	for _, o := range currentObjects(t, ap) {
		if kindOf(o) == kindOf(child) && o.GetName() == child.GetName() {
			intent, err := manifests.Intent(o)
			if err != nil {
				t.Fatal(err)
			}
			return intent
		}
	}
	t.Fatalf("%s is not among what is built", describe(child))
	return nil
}

// uncached is a client that takes what the operator asks its cache, whose indexes the apiserver does not have.
type uncached struct{ client.Client }

func (c uncached) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	asked := &client.ListOptions{}
	asked.ApplyOptions(options).FieldSelector = nil
	return c.Client.List(ctx, list, asked)
}

// currentObjects are what the operator builds for a ready platform.
func currentObjects(t *testing.T, ap *assetv1.AssetPlatform) []client.Object {
	t.Helper()
	ap = ap.DeepCopy()
	r := &Reconciler{Client: uncached{admin}, APIReader: admin, Images: manifests.DefaultImages}
	r.secrets.metadata, r.secrets.uncached, r.applier.client = admin, admin, r.Client
	credentials, problems, err := r.resolveCredentials(context.Background(), ap)
	if err != nil || problems != nil {
		t.Fatal(err, problems)
	}
	images := manifests.TargetImages(ap, manifests.DefaultImages)
	p := &pass{ap: ap, stored: ap, facts: manifests.Facts{Images: images, Credentials: credentials, TargetImage: images.Server, Installed: operator.reconciler.optional.Installed()}}
	if err := r.observeClaims(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	if err := r.rotateKeys(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	if p.facts.Left, err = r.leftData(context.Background(), ap); err != nil {
		t.Fatal(err)
	}
	if err := r.resolveBackup(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	p.facts.ServingImage, p.facts.Attempt = p.facts.TargetImage, ap.Status.Migration.Attempt
	return manifests.Build(ap, p.facts)
}

// typed is an object as the cache holds it.
func typed(t *testing.T, u *unstructured.Unstructured) client.Object {
	t.Helper()
	live := client.Object(newOptional(u.GroupVersionKind()))
	if o, err := admin.Scheme().New(u.GroupVersionKind()); err == nil {
		live = o.(client.Object)
	}
	if err := admin.Get(ctx, client.ObjectKeyFromObject(u), live); err != nil {
		t.Fatal(err)
	}
	if _, err := keepOwned(live); err != nil {
		t.Fatal(err)
	}
	return live
}
