package manifests

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// MigrateJob is the one Job of a migration attempt. It has no TTL: a finished Job
// that vanished would look like one that never ran, and the migration would run again.
func MigrateJob(ap *assetv1.AssetPlatform, f Facts) *batchv1.Job {
	pod := podTemplate(ap, ComponentMigrate, corev1.Container{
		Name:      string(ComponentMigrate),
		Image:     f.TargetImage,
		Args:      []string{config.CommandMigrate},
		EnvFrom:   environment("", MigrateSecret(ap, f).Name),
		Resources: resources("50m", "64Mi", "", "256Mi"),
	})
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		TypeMeta:   typeMeta(batchv1.SchemeGroupVersion, "Job"),
		ObjectMeta: meta(ap, ComponentMigrate, MigrateJobName(ap, f.MigrationTarget(), f.Attempt)),
		Spec: batchv1.JobSpec{
			BackoffLimit:          ptr.To(ptr.Deref(ap.Spec.Migrations.BackoffLimit, 3)),
			ActiveDeadlineSeconds: ptr.To(int64(migrationTimeout(ap) / time.Second)),
			// A pod that is being deleted may still run: wait for its end before the next starts.
			PodReplacementPolicy: ptr.To(batchv1.Failed),
			Template:             pod,
		},
	}
}

func migrationTimeout(ap *assetv1.AssetPlatform) time.Duration {
	if t := ap.Spec.Migrations.Timeout; t != nil {
		return t.Duration
	}
	return 10 * time.Minute
}
