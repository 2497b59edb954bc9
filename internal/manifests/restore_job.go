package manifests

import (
	"cmp"
	"maps"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// RestoreFacts are what a restore needs to know beside the spec and the platform's own credentials.
type RestoreFacts struct {
	Object      *assetv1.AssetRestore
	Bucket      assetv1.BackupBucket // that has the sets
	Credentials DestinationCredentials
	Identity    string // of age; empty: nothing can be decrypted
	VerifyKey   string // PEM; empty: that of SigningKey, if there is one
	SigningKey  string // PEM, for the set of what is overwritten; empty where none is made and the bucket is named by itself
}

// RestoreSecret holds the secret variables of the restore that is under way; nil if none is.
func RestoreSecret(ap *assetv1.AssetPlatform, f Facts) *corev1.Secret {
	r := f.Restore
	if r == nil {
		return nil
	}
	c := f.Credentials
	v := variables{
		config.DatabaseURL: c.DatabaseURL, config.DatabaseDirectURL: c.DatabaseDirectURL,
		config.S3AccessKey: c.S3AccessKey, config.S3SecretKey: c.S3SecretKey, config.S3CA: c.S3CA,
		config.BackupAccessKey: r.Credentials.AccessKey, config.BackupSecretKey: r.Credentials.SecretKey, config.BackupCA: r.Credentials.CA,
		config.BackupIdentity: r.Identity, config.BackupSigningKey: r.SigningKey,
	}
	maps.Copy(v, proxyVariables(ap, c))
	return environmentSecret(ap, ComponentRestore, v)
}

// RestoreJob is the one Job of an AssetRestore, which it goes with. Its pods may be more than one, one after the other: a restore that was
// interrupted goes on, and one that is done is not done again.
func RestoreJob(ap *assetv1.AssetPlatform, f Facts) *batchv1.Job {
	r := f.Restore
	settings := bucketVariables(ap)
	maps.Copy(settings, archiveVariables(r.Bucket))
	settings[config.BackupVerifyKey] = r.VerifyKey
	image := f.TargetImage
	if b := ap.Spec.Backup; b != nil {
		image = cmp.Or(b.Image, image)
		if b.Encryption != nil {
			settings[config.BackupRecipients] = strings.Join(b.Encryption.Recipients, ",")
		}
	}
	w := work{
		name: string(ComponentRestore), subcommand: "restore", args: restoreArguments(r.Object), settings: settings, secret: RestoreSecret(ap, f),
		resources: resources("100m", "128Mi", "", "512Mi"),
	}
	pod := podTemplate(ap, ComponentRestore, w.container(ap, image))
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	if f.Credentials.S3AccessKey == "" || r.Credentials.AccessKey == "" {
		pod.Spec.ServiceAccountName = ServiceAccountName(ap)
	}
	owner := metav1.NewControllerRef(r.Object, assetv1.GroupVersion.WithKind("AssetRestore"))
	owner.BlockOwnerDeletion = nil // for which the operator would need another right
	job := &batchv1.Job{
		TypeMeta:   typeMeta(batchv1.SchemeGroupVersion, "Job"),
		ObjectMeta: meta(ap, ComponentRestore, RestoreJobName(ap, r.Object)),
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To[int32](3), ActiveDeadlineSeconds: ptr.To[int64](48 * 3600), PodReplacementPolicy: ptr.To(batchv1.Failed), PodFailurePolicy: failFast(), Template: pod,
		},
	}
	job.OwnerReferences = []metav1.OwnerReference{*owner}
	return job
}

func restoreArguments(r *assetv1.AssetRestore) []string {
	arguments := []string{"--id=" + string(r.UID)}
	if r.Spec.Set != "" {
		arguments = append(arguments, "--set="+r.Spec.Set)
	}
	before := r.Spec.Before
	if r.Spec.Set == "" && before == nil {
		// What comes after the request may be of the very state that is to be undone, and another try is to choose the same. A second more, for
		// the API server leaves out parts of seconds, and a set may have been made just before.
		before = ptr.To(metav1.NewTime(r.CreationTimestamp.Add(time.Second)))
	}
	if before != nil {
		arguments = append(arguments, "--before="+before.UTC().Format(time.RFC3339))
	}
	if r.Spec.AllowMissing {
		arguments = append(arguments, "--allow-missing")
	}
	if r.Spec.RereadObjects {
		arguments = append(arguments, "--reread-objects")
	}
	if r.Spec.Overwrite != "" {
		arguments = append(arguments, "--overwrite="+r.Spec.Overwrite)
	}
	if r.Spec.NoSafetySet {
		arguments = append(arguments, "--no-safety-set")
	}
	return arguments
}
