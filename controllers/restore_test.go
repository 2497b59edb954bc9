package controllers

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// waitOneTime waits until an AssetBackup or AssetRestore has a condition with this status and, unless empty, reason.
func waitOneTime(t *testing.T, o client.Object, conditions *[]metav1.Condition, condition string, status metav1.ConditionStatus, reason string) metav1.Condition {
	t.Helper()
	var c *metav1.Condition
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		c = meta.FindStatusCondition(*conditions, condition)
		if c == nil || c.Status != status || c.ObservedGeneration != o.GetGeneration() || reason != "" && c.Reason != reason {
			return fmt.Errorf("want %s=%s %s; conditions are %+v", condition, status, reason, *conditions)
		}
		return nil
	})
	return *c
}

// An AssetBackup makes one set, is complete once that is verified, and stays so when its Job is gone; one that fails is stalled, with what
// the pod said. The platform tells of the set as well.
func TestAssetBackup(t *testing.T) {
	t.Parallel()
	ap, image := backedUpPlatform(t, nil)
	b := &assetv1.AssetBackup{ObjectMeta: metav1.ObjectMeta{Name: "before-the-release", Namespace: ap.Namespace}, Spec: assetv1.AssetBackupSpec{Platform: "other"}}
	if err := admin.Create(ctx, b); err != nil {
		t.Fatal(err)
	}
	waitOneTime(t, b, &b.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionFalse, assetv1.ReasonPlatformNotFound)
	b.Spec.Platform = ap.Name
	if err := admin.Update(ctx, b); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "make another one") {
		t.Errorf("changed: %v", err)
	}

	image("backup", madeSet(t, firstSet, setTime))
	b = &assetv1.AssetBackup{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: ap.Namespace}, Spec: assetv1.AssetBackupSpec{Platform: ap.Name}}
	if err := admin.Create(ctx, b); err != nil { // before there is a database
		t.Fatal(err)
	}
	waitOneTime(t, b, &b.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionTrue, "")
	if s := b.Status; s.Set != firstSet || !s.SnapshotTime.Equal(&metav1.Time{Time: setTime}) || s.VerifiedTime == nil || meta.IsStatusConditionTrue(s.Conditions, assetv1.ConditionReconciling) {
		t.Errorf("%+v", s)
	}
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, "")
	job := get(t, ap, b.Status.Job, &batchv1.Job{})
	if err := admin.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Server.LogLevel = "warn" })
	waitReady(t, ap)
	waitOneTime(t, b, &b.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionTrue, "")

	image("backup", failed(t, config.CodeSourceDamaged, "2 blobs are missing", "bring them back"))
	b = &assetv1.AssetBackup{ObjectMeta: metav1.ObjectMeta{Name: "two", Namespace: ap.Namespace}, Spec: assetv1.AssetBackupSpec{Platform: ap.Name, Destination: "primary"}}
	if err := admin.Create(ctx, b); err != nil {
		t.Fatal(err)
	}
	if c := waitOneTime(t, b, &b.Status.Conditions, assetv1.ConditionStalled, metav1.ConditionTrue, "SourceDamaged"); !strings.Contains(c.Message, "2 blobs are missing): bring them back") {
		t.Error(c.Message)
	}
	waitCondition(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionFalse, "SourceDamaged")
}

// restoredSet are the last words of a restore.
func restoredSet(t *testing.T, id string) controlplane.Image {
	return controlplane.Image{Exits: true, Message: says(t, config.CodeOK, "restored", "", config.BackupResult{Set: id, SnapshotTime: setTime, SafetySet: secondSet})}
}

func newRestore(t *testing.T, ap *assetv1.AssetPlatform, name string, source assetv1.RestoreSource) *assetv1.AssetRestore {
	t.Helper()
	restore := &assetv1.AssetRestore{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ap.Namespace}, Spec: assetv1.AssetRestoreSpec{Platform: ap.Name, RestoreSource: source, Overwrite: ap.Name}}
	if err := admin.Create(ctx, restore); err != nil {
		t.Fatal(err)
	}
	return restore
}

// A restore begins when no pod serves any more; what it brought is migrated before anything serves again. One that fails leaves the platform
// as it was.
func TestAssetRestore(t *testing.T) {
	t.Parallel()
	ap, image := backedUpPlatform(t, nil)
	waitReady(t, ap)
	attempt := ap.Status.Migration.Attempt

	image("backup", controlplane.Image{Hold: true})
	restore := newRestore(t, ap, "back", assetv1.RestoreSource{Set: firstSet})
	if c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, ""); !strings.Contains(c.Message, "AssetRestore back") {
		t.Error(c.Message)
	}
	name := manifests.RestoreJobName(ap, restore)
	eventually(t, func() error {
		return admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, &batchv1.Job{})
	})
	if d := get(t, ap, "studio-server", &appsv1.Deployment{}); *d.Spec.Replicas != 0 || d.Status.Replicas != 0 {
		t.Errorf("it is restored while %d pods serve", d.Status.Replicas)
	}
	if arguments := strings.Join(get(t, ap, name, &batchv1.Job{}).Spec.Template.Spec.Containers[0].Args, " "); arguments !=
		"backup restore --platform="+ap.Namespace+"/studio --id="+string(restore.UID)+" --set="+firstSet+" --overwrite=studio" {
		t.Error(arguments)
	}
	if c := waitOneTime(t, restore, &restore.Status.Conditions, assetv1.ConditionReconciling, metav1.ConditionTrue, ""); c.Message == "" {
		t.Error("it does not say what it does")
	}

	image("backup", restoredSet(t, firstSet))
	if c := waitOneTime(t, restore, &restore.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionTrue, assetv1.ReasonRestored); !strings.Contains(c.Message, secondSet) || restore.Status.Set != firstSet || restore.Status.SafetySet != secondSet {
		t.Errorf("%s; %+v", c.Message, restore.Status)
	}
	waitReady(t, ap)
	if d := get(t, ap, "studio-server", &appsv1.Deployment{}); *d.Spec.Replicas != 3 || ap.Status.Migration.Attempt <= attempt || ap.Status.Restored != string(restore.UID) {
		t.Errorf("%d replicas, migration %+v", *d.Spec.Replicas, ap.Status.Migration)
	}

	attempt = ap.Status.Migration.Attempt
	image("backup", failed(t, config.CodeTargetNotEmpty, "the database of studio is not empty", "say that it is to be overwritten"))
	restore = newRestore(t, ap, "again", assetv1.RestoreSource{Before: &metav1.Time{Time: setTime.Add(time.Hour)}})
	if c := waitOneTime(t, restore, &restore.Status.Conditions, assetv1.ConditionStalled, metav1.ConditionTrue, "TargetNotEmpty"); !strings.Contains(c.Message, "not empty): say that") {
		t.Error(c.Message)
	}
	waitReady(t, ap)
	if d := get(t, ap, "studio-server", &appsv1.Deployment{}); *d.Spec.Replicas != 3 || ap.Status.Migration.Attempt <= attempt {
		t.Errorf("%d replicas, migration %+v", *d.Spec.Replicas, ap.Status.Migration)
	}

	restore = newRestore(t, ap, "nowhere", assetv1.RestoreSource{Destination: "nowhere"})
	waitOneTime(t, restore, &restore.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionFalse, assetv1.ReasonUnknownDestination)
	foreign := assetv1.BackupBucket{Bucket: "others", CredentialsSecretRef: &assetv1.S3CredentialsRef{Name: "backend-secrets"}}
	restore = newRestore(t, ap, "foreign", assetv1.RestoreSource{Bucket: &foreign})
	if c := waitOneTime(t, restore, &restore.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionFalse, assetv1.ReasonInvalidSpec); !strings.Contains(c.Message, "noSafetySet") {
		t.Error(c.Message)
	}
	waitReady(t, ap) // which nothing was stopped for

	// Behind those that wait another one goes on; what becomes of the spec once its Job is there, or of itself, wakes nothing before its end.
	image("backup", controlplane.Image{Hold: true})
	restore = newRestore(t, ap, "once-more", assetv1.RestoreSource{Destination: "primary"})
	name = manifests.RestoreJobName(ap, restore)
	eventually(t, func() error {
		return admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, &batchv1.Job{})
	})
	requested := "--before=" + restore.CreationTimestamp.Add(time.Second).UTC().Format(time.RFC3339)
	if arguments := get(t, ap, name, &batchv1.Job{}).Spec.Template.Spec.Containers[0].Args; !slices.Contains(arguments, requested) {
		t.Errorf("%q; want %s", arguments, requested)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Backup.Destinations[0].Name = "renamed" })
	waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonUnknownDestination)
	if d := get(t, ap, "studio-server", &appsv1.Deployment{}); *d.Spec.Replicas != 0 {
		t.Errorf("%d replicas serve while a set is brought back", *d.Spec.Replicas)
	}
	image("backup", restoredSet(t, firstSet))
	waitOneTime(t, restore, &restore.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionTrue, assetv1.ReasonRestored)
	waitReady(t, ap)
}

// Wherever a restore makes a set of what it overwrites, it signs it like the platform's own sets, also where the AssetRestore names the
// platform's destination as a bucket; while the key is not there nothing is stopped for it.
func TestSafetySetIsSigned(t *testing.T) {
	t.Parallel()
	ap, image := backedUpPlatform(t, func(b *assetv1.BackupSpec) {
		b.Encryption = &assetv1.BackupEncryption{SigningKeySecretRef: &assetv1.SecretKeyRef{Name: "signer", Key: "key"}}
	})
	waitReady(t, ap)
	own := ap.Spec.Backup.Destinations[0].BackupBucket
	restore := newRestore(t, ap, "by-bucket", assetv1.RestoreSource{Bucket: &own, Set: firstSet})
	waitOneTime(t, restore, &restore.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionFalse, assetv1.ReasonSecretNotFound)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	signer := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "signer", Namespace: ap.Namespace}, StringData: map[string]string{"key": key}}
	if err := admin.Create(ctx, signer); err != nil {
		t.Fatal(err)
	}
	image("backup", controlplane.Image{Hold: true})
	var job batchv1.Job
	eventually(t, func() error {
		return admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: manifests.RestoreJobName(ap, restore)}, &job)
	})
	secret := get(t, ap, job.Spec.Template.Spec.Containers[0].EnvFrom[0].SecretRef.Name, &corev1.Secret{})
	if string(secret.Data[config.BackupSigningKey.Name]) != strings.TrimSpace(key) {
		t.Error("the restore has no key with which to sign its set")
	}
	image("backup", restoredSet(t, firstSet))
	waitOneTime(t, restore, &restore.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionTrue, assetv1.ReasonRestored)
	waitReady(t, ap)
}

// An AssetRestore that is deleted takes its Job along; nothing serves as long as a pod of that may still restore, and then everything does.
// Of two the second waits for the first. A platform that is suspended is not touched, and its AssetRestore says what it waits for.
func TestRestoresThatComeAndGo(t *testing.T) {
	t.Parallel()
	ap, image := backedUpPlatform(t, nil)
	waitReady(t, ap)
	image("backup", controlplane.Image{Hold: true})
	first := newRestore(t, ap, "first", assetv1.RestoreSource{Set: firstSet})
	eventually(t, func() error {
		return admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: manifests.RestoreJobName(ap, first)}, &batchv1.Job{})
	})
	second := newRestore(t, ap, "second", assetv1.RestoreSource{Set: secondSet})
	waitOneTime(t, second, &second.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionFalse, assetv1.ReasonProgressing)
	if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: manifests.RestoreJobName(ap, second)}, &batchv1.Job{}); !apierrors.IsNotFound(err) {
		t.Errorf("two restores at once: %v", err)
	}
	if err := admin.Delete(ctx, first, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	image("backup", restoredSet(t, secondSet))
	waitOneTime(t, second, &second.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionTrue, assetv1.ReasonRestored)
	waitReady(t, ap)
	if ap.Status.Restored != string(second.UID) {
		t.Errorf("restored %s", ap.Status.Restored)
	}

	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = true })
	third := newRestore(t, ap, "third", assetv1.RestoreSource{Set: firstSet})
	if c := waitOneTime(t, third, &third.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionFalse, assetv1.ReasonProgressing); !strings.Contains(c.Message, "spec.suspend") {
		t.Error(c.Message)
	}
	if d := get(t, ap, "studio-server", &appsv1.Deployment{}); *d.Spec.Replicas != 3 {
		t.Errorf("%d replicas", *d.Spec.Replicas)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Suspend = false })
	waitOneTime(t, third, &third.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionTrue, assetv1.ReasonRestored)
	waitReady(t, ap)
}

// A platform that begins with a set is neither migrated nor served before that is restored; where that fails it says so, and tries again
// when its AssetRestore is deleted or spec.restoreFrom corrected. One whose volumes were kept begins with them.
func TestRestoreFrom(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]config.Code{"empty": config.CodeSetDamaged, "corrected": config.CodeSetDamaged, "full": config.CodeTargetNotEmpty} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := "restore:" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
			plane.Kubelet.SetImage(image, failed(t, code, "something is wrong", "mend it"))
			ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
				bucket := assetv1.BackupBucket{Bucket: "backups", CredentialsSecretRef: &assetv1.S3CredentialsRef{Name: "backend-secrets"}}
				s.RestoreFrom = &assetv1.RestoreSource{Bucket: &bucket, Set: firstSet}
				s.Backup = &assetv1.BackupSpec{Image: image, Destinations: []assetv1.BackupDestination{{Name: "primary", BackupBucket: bucket}}}
			})
			if name == "full" {
				waitReady(t, ap)
				eventually(t, func() error {
					for _, e := range platformEvents(t, ap) {
						if e.Reason == assetv1.ReasonRestoreSkipped {
							return nil
						}
					}
					return errors.New("no event tells that no set was restored")
				})
				return
			}
			c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, "SetDamaged")
			if !strings.Contains(c.Message, "something is wrong): mend it") || !strings.Contains(c.Message, "delete the AssetRestore") {
				t.Error(c.Message)
			}
			if m := ap.Status.Migration; m != nil && m.Phase != assetv1.MigrationPending {
				t.Errorf("it was migrated: %+v", m)
			}
			restore := get(t, ap, "studio-restore-from", &assetv1.AssetRestore{})
			plane.Kubelet.SetImage(image, restoredSet(t, firstSet))
			if name == "corrected" {
				update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.RestoreFrom.Set = secondSet })
			} else if err := admin.Delete(ctx, restore); err != nil {
				t.Fatal(err)
			}
			waitReady(t, ap)
			again := get(t, ap, "studio-restore-from", &assetv1.AssetRestore{})
			waitOneTime(t, again, &again.Status.Conditions, assetv1.ConditionComplete, metav1.ConditionTrue, "")
			if again.UID == restore.UID || again.Spec.Set != ap.Spec.RestoreFrom.Set || ap.Status.Restored != string(again.UID) {
				t.Errorf("restored %s", ap.Status.Restored)
			}
		})
	}
}

// What another AssetRestore met says nothing about the database of a platform that is to begin with a set.
func TestFoundFull(t *testing.T) {
	t.Parallel()
	ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: "games", UID: "one"}}
	own := metav1.NewControllerRef(ap, assetv1.GroupVersion.WithKind("AssetPlatform"))
	refused := []metav1.Condition{{Type: assetv1.ConditionStalled, Status: metav1.ConditionTrue, Reason: "TargetNotEmpty"}}
	for want, restores := range map[bool][]assetv1.AssetRestore{
		true: {{ObjectMeta: metav1.ObjectMeta{Name: "studio-restore-from", OwnerReferences: []metav1.OwnerReference{*own}}, Status: assetv1.AssetRestoreStatus{Conditions: refused}}},
		false: {
			{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Status: assetv1.AssetRestoreStatus{Conditions: refused}},
			{ObjectMeta: metav1.ObjectMeta{Name: "studio-restore-from"}, Status: assetv1.AssetRestoreStatus{Conditions: refused}}, // of the platform before
			{ObjectMeta: metav1.ObjectMeta{Name: "studio-restore-from", OwnerReferences: []metav1.OwnerReference{*own}}},
		},
	} {
		for _, restore := range restores {
			if foundFull(ap, &restore) != want {
				t.Errorf("%s: want %t", restore.Name, want)
			}
		}
	}
}
