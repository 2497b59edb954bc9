package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// While another database cannot be migrated, what serves goes on as it was, on the old one, and is kept: scaled,
// repaired, made again.
func TestServerIsKeptWhileAnotherDatabaseIsNotMigrated(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{}, controlplane.Image{Exits: true, ExitCode: 1, Message: said(config.CodeDatabaseUnreachable)})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { oneAttempt(s); s.Image = image[0] })
	waitReady(t, ap)
	before := serving(t, ap).Spec.Template.Spec.Containers[0]

	secret := get(t, ap, "backend-secrets", &corev1.Secret{})
	if err := retryUpdate(secret, func() {
		secret.Data["database-url"] = []byte("postgres://backend:sesame@new.example.com:6432/game_assets")
	}); err != nil {
		t.Fatal(err)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Image, ap.Spec.Replicas, ap.Spec.Server.LogLevel = image[1], new(int32(4)), "debug"
	})
	waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonMigrationFailed)
	kept := func(what string) {
		t.Helper()
		repaired(t, what, func() error {
			d := &appsv1.Deployment{}
			if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: "studio-server"}, d); err != nil {
				return err
			}
			c := d.Spec.Template.Spec.Containers[0]
			if c.Image != before.Image || fmt.Sprint(c.EnvFrom) != fmt.Sprint(before.EnvFrom) || d.Status.AvailableReplicas != 4 {
				return fmt.Errorf("%d replicas of %s with %v", d.Status.AvailableReplicas, c.Image, c.EnvFrom)
			}
			return nil
		})
	}
	kept("the number of pods")
	if got := databasePorts(t, ap); got != "[6432 5432]" {
		t.Errorf("pods that serve with the old database may reach the ports %s", got)
	}
	server := serving(t, ap)
	if err := retryUpdate(server, func() { server.Spec.Template.Spec.Containers[0].Image = "example.com/other:1" }); err != nil {
		t.Fatal(err)
	}
	kept("an image set by hand")
	if err := admin.Delete(ctx, server); err != nil {
		t.Fatal(err)
	}
	kept("a Deployment that was deleted")

	plane.Kubelet.SetImage(image[1], controlplane.Image{})
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Annotations = map[string]string{assetv1.AnnotationRetry: "1"} })
	waitReady(t, ap)
	repaired(t, "the way to the old database", func() error {
		if got := databasePorts(t, ap); got != "[6432]" {
			return fmt.Errorf("the ports %s are open", got)
		}
		return nil
	})
	if c := serving(t, ap).Spec.Template.Spec.Containers[0]; c.Image != image[1] || fmt.Sprint(c.EnvFrom) == fmt.Sprint(before.EnvFrom) {
		t.Errorf("after the migration %s serves with %v", c.Image, c.EnvFrom)
	}
}

// A managed part that the spec wants no longer serves until no pod uses it any more: a database that cannot be reached
// must not cost the one that can.
func TestManagedPartsStayWhileOldPodsServe(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{}, controlplane.Image{Exits: true, ExitCode: 1, Message: said(config.CodeDatabaseUnreachable)})
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { oneAttempt(s); s.Image = image[0] })
	waitReady(t, ap)
	if err := admin.Create(ctx, backendSecrets(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		externalSpec(&ap.Spec)
		ap.Spec.Image = image[1]
	})
	waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonMigrationFailed)
	parts := []string{"studio-postgres", "studio-redis", "studio-s3"}
	for _, part := range parts {
		get(t, ap, part, &appsv1.StatefulSet{})
		get(t, ap, part, &corev1.Service{})
	}
	plane.Kubelet.SetImage(image[1], controlplane.Image{})
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Annotations = map[string]string{assetv1.AnnotationRetry: "1"} })
	waitReady(t, ap)
	for _, part := range parts {
		wantGone(t, ap, part, &appsv1.StatefulSet{})
		wantGone(t, ap, part, &corev1.Service{})
		get(t, ap, part, &corev1.PersistentVolumeClaim{})
	}
}

// A migration that ends by its deadline leaves no pods: what was wrong with them is still said.
func TestDeadlineKeepsTheCause(t *testing.T) {
	t.Parallel()
	image := images(t, controlplane.Image{PullError: "not found"})
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		oneAttempt(s)
		s.Image, s.Migrations.Timeout = image[0], &metav1.Duration{Duration: 10 * time.Second}
	})
	c := waitCondition(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, assetv1.ReasonMigrationFailed)
	for _, words := range []string{"cannot pull " + image[0], "DeadlineExceeded", "spec.image"} {
		if !strings.Contains(c.Message, words) {
			t.Errorf("message %q does not say %q", c.Message, words)
		}
	}
}

// A platform whose Service should have an address outside is not ready before it has one.
func TestLoadBalancerWithoutAnAddress(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.Networking.Service.Type = corev1.ServiceTypeLoadBalancer })
	waitCondition(t, ap, assetv1.ConditionAvailable, metav1.ConditionTrue, "")
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonProgressing)
	eventually(t, func() error {
		if c = waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonProgressing); !strings.Contains(c.Message, "Service studio has no address yet") {
			return fmt.Errorf("message %q", c.Message)
		}
		return nil
	})
	service := get(t, ap, "studio", &corev1.Service{})
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}}
	if err := admin.Status().Update(ctx, service); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
	if ap.Status.URL != "http://192.0.2.7" {
		t.Errorf("url %s", ap.Status.URL)
	}
}

// What a webhook gives a pod beside its settings, and what is not there, does not hide what it depends on.
func TestUpstreamsBesideOthers(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	from := serving(t, ap).Spec.Template.Spec.Containers[0].EnvFrom
	configMaps := []string{"missing", from[0].ConfigMapRef.Name, "kube-root-ca.crt", "studio-dashboard", "missing"}
	secrets := []string{"missing", from[1].SecretRef.Name, "studio-auth"}
	settings, secret, err := operator.reconciler.environment(ctx, &pass{ap: ap}, configMaps, secrets)
	if err != nil || settings == nil || secret == nil || !strings.Contains(manifests.UpstreamsOf(settings, secret).DatabaseURL, "studio-postgres") {
		t.Errorf("%v, %v: %v", settings, secret, err)
	}
	if settings, _, err := operator.reconciler.environment(ctx, &pass{ap: ap}, nil, secrets); err != nil || settings != nil {
		t.Errorf("of a pod without our settings: %v, %v", settings, err)
	}
}

// databasePorts are the ports of addresses outside that the server's pods may reach for their database.
func databasePorts(t *testing.T, ap *assetv1.AssetPlatform) string {
	t.Helper()
	var ports []int
	for _, rule := range get(t, ap, "studio-server", &networkingv1.NetworkPolicy{}).Spec.Egress {
		if len(rule.To) > 0 && rule.To[0].IPBlock != nil {
			if port := rule.Ports[0].Port.IntValue(); port != 6379 && port != 443 {
				ports = append(ports, port)
			}
		}
	}
	return fmt.Sprint(ports)
}
