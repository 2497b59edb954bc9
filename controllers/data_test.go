package controllers

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// left are the objects of a namespace that carry the platform's label, as Kind name.
func left(t *testing.T, ap *assetv1.AssetPlatform) []string {
	t.Helper()
	var names []string
	for _, o := range children(t, ap) {
		names = append(names, describe(o))
	}
	var pods corev1.PodList
	if err := admin.List(ctx, &pods, inPlatform(ap)...); err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		names = append(names, describe(&pod))
	}
	return names
}

// deletePlatform deletes it and waits until just the objects named are left.
func deletePlatform(t *testing.T, ap *assetv1.AssetPlatform, want ...string) {
	t.Helper()
	if err := admin.Delete(ctx, ap); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := left(t, ap); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("left are %v, want %v", got, want)
		}
		return nil
	})
}

// retained are what deletionPolicy Retain leaves: the data, and what opens it.
var retained = []string{
	"Secret studio-auth", "Secret studio-postgres", "Secret studio-redis", "Secret studio-s3",
	"PersistentVolumeClaim studio-postgres", "PersistentVolumeClaim studio-redis", "PersistentVolumeClaim studio-s3",
}

// A platform that is deleted leaves its data, marked as its own, and takes it back when it is made again.
func TestRetainedDataIsTakenBack(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	secrets := generatedData(t, ap)
	claim := get(t, ap, "studio-postgres", &corev1.PersistentVolumeClaim{})
	deletePlatform(t, ap, retained...)
	for _, o := range children(t, ap) {
		if o.GetAnnotations()[assetv1.AnnotationRetainedFor] != ap.Namespace+"/studio" || len(o.GetOwnerReferences()) > 0 {
			t.Errorf("%s is not marked as retained: %v", describe(o), o.GetAnnotations())
		}
	}

	again := newPlatformIn(t, ap.Namespace, nil)
	waitReady(t, again)
	if fmt.Sprint(generatedData(t, again)) != fmt.Sprint(secrets) {
		t.Error("the generated Secrets are others now")
	}
	if got := get(t, again, "studio-postgres", &corev1.PersistentVolumeClaim{}); got.UID != claim.UID {
		t.Error("the database's volume is another one now")
	}

	other := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: ap.Namespace}}
	if err := admin.Create(ctx, other); err != nil {
		t.Fatal(err)
	}
	waitReady(t, other) // and takes nothing of its neighbour's
}

// A volume is read by the image that has written it, also where the platform was made again: an operator of another
// version comes with others.
func TestVolumeKeepsItsImage(t *testing.T) {
	t.Parallel()
	const image = "example.com/postgres:14"
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Database = &assetv1.DatabaseSpec{Managed: &assetv1.ManagedVolumeSpec{Image: image}}
	})
	waitReady(t, ap)
	repaired(t, "the claim's mark", func() error {
		if got := get(t, ap, "studio-postgres", &corev1.PersistentVolumeClaim{}).Annotations[assetv1.AnnotationImage]; got != image {
			return fmt.Errorf("the claim is for %q", got)
		}
		return nil
	})
	deletePlatform(t, ap, retained...)
	if err := admin.Create(ctx, backendSecrets(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	ap = newPlatformIn(t, ap.Namespace, externalSpec) // for a while it is left data
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Database = nil })
	waitReady(t, ap)
	if got := get(t, ap, "studio-postgres", &appsv1.StatefulSet{}).Spec.Template.Spec.Containers[0].Image; got != image {
		t.Errorf("the volume is given to %s", got)
	}
}

// Taken back, a volume keeps what the spec no longer names; so does one in use.
func TestVolumeKeepsWhatTheSpecDoesNotName(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Database = &assetv1.DatabaseSpec{Managed: &assetv1.ManagedVolumeSpec{Storage: new(quantity("2Gi")), StorageClassName: new(controlplane.StorageClass)}}
		s.Cache = &assetv1.CacheSpec{Managed: &assetv1.ManagedVolumeSpec{Storage: new(quantity("100Mi"))}}
	})
	waitReady(t, ap)
	deletePlatform(t, ap, retained...)
	ap = newPlatformIn(t, ap.Namespace, nil)
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Database = &assetv1.DatabaseSpec{Managed: &assetv1.ManagedVolumeSpec{Storage: new(quantity("3Gi"))}}
	})
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Database = nil })
	waitReady(t, ap)
	for name, size := range map[string]string{"studio-postgres": "3Gi", "studio-redis": "100Mi"} {
		claim := get(t, ap, name, &corev1.PersistentVolumeClaim{})
		if got := claim.Spec.Resources.Requests[corev1.ResourceStorage]; got.String() != size || *claim.Spec.StorageClassName != controlplane.StorageClass {
			t.Errorf("%s asks for %s of class %s", name, &got, *claim.Spec.StorageClassName)
		}
	}
}

func TestDeletionPolicyDeleteLeavesNothing(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.DeletionPolicy = assetv1.DeletionDelete })
	waitReady(t, ap)
	deletePlatform(t, ap)
}

// The policy that is in force at the deletion counts, whatever it was before.
func TestDeletionPolicyCanBeSwitched(t *testing.T) {
	t.Parallel()
	for policy, want := range map[assetv1.DeletionPolicy][]string{assetv1.DeletionRetain: retained, assetv1.DeletionDelete: nil} {
		t.Run("to "+string(policy), func(t *testing.T) {
			t.Parallel()
			ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) {
				s.DeletionPolicy = map[assetv1.DeletionPolicy]assetv1.DeletionPolicy{assetv1.DeletionRetain: assetv1.DeletionDelete, assetv1.DeletionDelete: assetv1.DeletionRetain}[policy]
			})
			waitReady(t, ap)
			update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.DeletionPolicy = policy })
			waitOwned(t, ap, policy == assetv1.DeletionDelete, "studio-postgres")
			waitReady(t, ap)
			deletePlatform(t, ap, want...)
		})
	}
}

// Leaving managed parts removes what runs them and keeps their data, which goes on to obey the
// deletion policy: a volume of the time of another policy is not lost with its platform.
func TestLeftDataObeysThePolicy(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { s.DeletionPolicy = assetv1.DeletionDelete })
	waitReady(t, ap)
	if err := admin.Create(ctx, backendSecrets(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { externalSpec(&ap.Spec) })
	waitReady(t, ap)
	eventually(t, func() error {
		got := fmt.Sprint(left(t, ap))
		for _, gone := range []string{"StatefulSet", "Service studio-postgres", "Service studio-redis", "Service studio-s3"} {
			if strings.Contains(got, gone) {
				return fmt.Errorf("%s is still there: %s", gone, got)
			}
		}
		for _, kept := range retained {
			if !strings.Contains(got, kept) {
				t.Fatalf("%s is gone: %s", kept, got)
			}
		}
		return nil
	})
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.DeletionPolicy = assetv1.DeletionRetain })
	waitOwned(t, ap, false, "studio-postgres", "studio-redis", "studio-s3")
	waitReady(t, ap)
	deletePlatform(t, ap, retained...)
}

// waitOwned waits until the volume claims, and the Secrets of the same names, go with their platform or stay.
func waitOwned(t *testing.T, ap *assetv1.AssetPlatform, owned bool, names ...string) {
	t.Helper()
	eventually(t, func() error {
		for _, name := range names {
			for _, o := range []client.Object{&corev1.PersistentVolumeClaim{}, &corev1.Secret{}} {
				if get(t, ap, name, o); metav1.IsControlledBy(o, ap) != owned {
					return fmt.Errorf("%s: owners %v", describe(o), o.GetOwnerReferences())
				}
			}
		}
		return nil
	})
}

// A database's password that is lost comes back from the copy that the server reads.
func TestLostDatabasePasswordComesBack(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	secret, before := get(t, ap, "studio-postgres", &corev1.Secret{}), serving(t, ap)
	if err := admin.Delete(ctx, secret); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		again := &corev1.Secret{}
		if err := admin.Get(ctx, client.ObjectKeyFromObject(secret), again); err != nil {
			return err
		}
		if fmt.Sprint(again.Data) != fmt.Sprint(secret.Data) {
			t.Fatal("the password is another one now")
		}
		return nil
	})
	waitReady(t, ap)
	if serving(t, ap).Generation != before.Generation {
		t.Error("the server was rolled")
	}
}

// A database whose password is gone is not given another one: the status says what to do.
func TestLostDatabasePassword(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	secret := get(t, ap, "studio-postgres", &corev1.Secret{})
	deletePlatform(t, ap, retained...)
	if err := admin.Delete(ctx, secret); err != nil {
		t.Fatal(err)
	}
	ap = newPlatformIn(t, ap.Namespace, nil)
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonSecretLost)
	if !strings.Contains(c.Message, "restore the Secret from a backup") {
		t.Errorf("message %q", c.Message)
	}
	if err := admin.Get(ctx, client.ObjectKeyFromObject(secret), &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("a password was made up: %v", err)
	}
	restored := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: secret.Name, Namespace: secret.Namespace, Annotations: secret.Annotations, // and no label: as from somebody's notes
	}, Data: secret.Data}
	if err := admin.Create(ctx, restored); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)

	get(t, ap, "studio-postgres", secret)
	if err := retryUpdate(secret, func() { secret.Data = nil }); err != nil {
		t.Fatal(err)
	}
	waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonSecretKeyMissing)

	// The other way out: an empty database.
	for _, o := range []client.Object{secret, &appsv1.StatefulSet{}, &corev1.PersistentVolumeClaim{}} {
		o.SetName("studio-postgres")
		o.SetNamespace(ap.Namespace)
		if err := admin.Delete(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	waitReady(t, ap)
}

// Content that an old ReplicaSet starts from stays, and goes with the ReplicaSet.
func TestContentStaysWhileAReplicaSetNamesIt(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	first := manifests.ServerConfigMap(ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Server.LogLevel = "debug" })
	waitReady(t, ap)
	get(t, ap, first.Name, &corev1.ConfigMap{})
	var sets appsv1.ReplicaSetList
	if err := admin.List(ctx, &sets, inPlatform(ap)...); err != nil {
		t.Fatal(err)
	}
	for _, set := range sets.Items {
		if set.Spec.Template.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name == first.Name {
			if err := admin.Delete(ctx, &set); err != nil {
				t.Fatal(err)
			}
		}
	}
	repaired(t, "the ConfigMap of a ReplicaSet that is gone", func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(first), &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("ConfigMap %s is still there: %v", first.Name, err)
		}
		return nil
	})
	get(t, ap, manifests.ServerConfigMap(ap).Name, &corev1.ConfigMap{})
}

// A volume cannot shrink: the apiserver's refusal names the claim, and what runs goes on.
func TestVolumeThatCannotShrink(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil) // 10Gi by default
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		size := quantity("1Gi")
		ap.Spec.Database = &assetv1.DatabaseSpec{Managed: &assetv1.ManagedVolumeSpec{Storage: &size}}
	})
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonApplyFailed)
	if !strings.Contains(c.Message, "PersistentVolumeClaim studio-postgres") || !strings.Contains(c.Message, "spec.database.managed") {
		t.Errorf("message %q", c.Message)
	}
	set := get(t, ap, "studio-postgres", &appsv1.StatefulSet{})
	if err := admin.Delete(ctx, set); err != nil {
		t.Fatal(err)
	}
	repaired(t, "what uses the claim", func() error {
		again := &appsv1.StatefulSet{}
		if err := admin.Get(ctx, client.ObjectKeyFromObject(set), again); err != nil {
			return err
		}
		if again.UID == set.UID {
			return fmt.Errorf("the StatefulSet is still there")
		}
		return nil
	})
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		size := quantity("11Gi")
		ap.Spec.Database = &assetv1.DatabaseSpec{Managed: &assetv1.ManagedVolumeSpec{Storage: &size}}
	})
	waitReady(t, ap)
	claim := get(t, ap, "studio-postgres", &corev1.PersistentVolumeClaim{})
	if got := claim.Spec.Resources.Requests[corev1.ResourceStorage]; got.String() != "11Gi" {
		t.Errorf("the claim asks for %s", &got)
	}
}

// A part that is managed again while its former volume is still being deleted waits for a new one: on the old one its pod would
// keep that from going, and lose it one day.
func TestManagedAgainWhileItsVolumeLeaves(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, &fakeReadiness{})
	if err := admin.Create(ctx, backendSecrets(namespace)); err != nil {
		t.Fatal(err)
	}
	ap := newPlatformIn(t, namespace, nil)
	waitReady(t, ap)
	hold := func(finalizers ...string) *corev1.PersistentVolumeClaim {
		t.Helper()
		claim := get(t, ap, "studio-s3", &corev1.PersistentVolumeClaim{})
		if err := retryUpdate(claim, func() { claim.Finalizers = finalizers }); err != nil {
			t.Fatal(err)
		}
		return claim
	}
	was := hold("example.com/hold")
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Storage = &assetv1.StorageSpec{Bucket: "assets", CredentialsSecretRef: &assetv1.S3CredentialsRef{Name: "backend-secrets"}}
	})
	if err := admin.Delete(ctx, was); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "studio-s3"}, &appsv1.StatefulSet{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the S3 server is there: %v", err)
		}
		return nil
	})
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Storage = nil })
	waitSays(t, ap, assetv1.ConditionStorageReady, assetv1.ReasonWaitingForManaged, "starts when its former volume, which is being deleted, is gone")
	if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "studio-s3"}, &appsv1.StatefulSet{}); !apierrors.IsNotFound(err) {
		t.Errorf("the S3 server is there: %v", err)
	}
	hold()
	waitReady(t, ap)
	if now := get(t, ap, "studio-s3", &corev1.PersistentVolumeClaim{}); now.UID == was.UID {
		t.Error("it is on its former volume")
	}
}
