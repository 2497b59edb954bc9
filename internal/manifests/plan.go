package manifests

import (
	"cmp"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// OfflineFacts stand in for what only a cluster knows: the first migration attempt,
// and credentials of which only the presence shows.
func OfflineFacts(ap *assetv1.AssetPlatform, images Images) Facts {
	targets := TargetImages(ap, images)
	f := Facts{Images: targets, TargetImage: targets.Server, Attempt: 1, Installed: map[schema.GroupVersionKind]bool{}}
	for _, kind := range OptionalKinds {
		f.Installed[kind] = true
	}
	// The name of a class is all that is known of it here, and what it mostly is called after.
	if in := ap.Spec.Networking.Ingress; in != nil && in.ClassName == "nginx" {
		f.IngressController = "k8s.io/ingress-nginx"
	}
	const unknown = "unknown"
	c := Credentials{DatabaseURL: "postgres://" + unknown, RedisURL: "redis://" + unknown, JWTSecret: unknown}
	if d := ap.Spec.Database; d != nil && d.DirectSecretRef != nil {
		c.DatabaseDirectURL = c.DatabaseURL
	}
	for range ap.Spec.Auth.VerifySecretRefs {
		c.JWTVerifySecrets = append(c.JWTVerifySecrets, unknown)
	}
	if ManagedStorage(ap) != nil || ap.Spec.Storage.CredentialsSecretRef != nil {
		c.S3AccessKey, c.S3SecretKey = unknown, unknown
	}
	if s := ap.Spec.Storage; s != nil && s.CASecretRef != nil {
		c.S3CA = unknown
	}
	for _, extra := range ap.Spec.Server.ExtraEnv {
		if extra.ValueFrom != nil {
			c.Extra = map[string]string{extra.Name: unknown}
		}
	}
	f.Credentials = c
	f.Backup = offlineBackupFacts(ap, unknown)
	f.Backup.PostgresImage = cmp.Or(targets.Postgres, images.Postgres)
	return f
}

func offlineBackupFacts(ap *assetv1.AssetPlatform, unknown string) (f BackupFacts) {
	b := ap.Spec.Backup
	if b == nil {
		return f
	}
	f.Migrated, f.Destinations = true, map[string]DestinationCredentials{}
	for _, d := range b.Destinations {
		var c DestinationCredentials
		if d.CredentialsSecretRef != nil {
			c.AccessKey, c.SecretKey = unknown, unknown
		}
		if d.RemoverCredentialsSecretRef != nil {
			c.RemoverAccessKey, c.RemoverSecretKey = unknown, unknown
		}
		if d.CASecretRef != nil {
			c.CA = unknown
		}
		f.Destinations[d.Name] = c
	}
	if e := b.Encryption; e != nil {
		if e.SigningKeySecretRef != nil {
			f.SigningKey = unknown
		}
		if len(e.Recipients) > 0 {
			f.Secrets = map[string]map[string][]byte{unknown: {}}
		}
	}
	if d := b.Drill; d != nil {
		if d.IdentitySecretRef != nil {
			f.Identity = unknown
		}
		if d.DatabaseSecretRef != nil {
			f.DrillDatabaseURL = "postgres://" + unknown
		}
	}
	return f
}

// Plan is what Build makes once the migration has succeeded, and the migration's Job.
func Plan(ap *assetv1.AssetPlatform, f Facts) ([]client.Object, *batchv1.Job) {
	f.ServingImage = f.TargetImage
	return Build(ap, f), MigrateJob(ap, f)
}

// Intent is what the operator says about an object: no status, no nulls, and none of
// the empty structs that typed objects cannot leave out.
func Intent(o client.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("convert %T %s: %w", o, o.GetName(), err)
	}
	delete(content, "status")
	dropUnsaid(content)
	return &unstructured.Unstructured{Object: content}, nil
}

// dropUnsaid removes null values, and empty maps where typed structs have no omitempty.
func dropUnsaid(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			dropUnsaid(item)
			empty, isMap := item.(map[string]any)
			switch key {
			case "resources", "strategy", "updateStrategy", "metadata":
				if isMap && len(empty) == 0 {
					delete(v, key)
				}
			}
			if item == nil {
				delete(v, key)
			}
		}
	case []any:
		for _, item := range v {
			dropUnsaid(item)
		}
	}
}

// PlanYAML shows an object to a reader: Secrets keep their keys and lose their values.
func PlanYAML(o client.Object) ([]byte, error) {
	if secret, ok := o.(*corev1.Secret); ok && secret.Data != nil {
		shown := secret.DeepCopy()
		for key := range shown.Data {
			shown.Data[key] = []byte{}
		}
		o = shown
	}
	intent, err := Intent(o)
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(intent.Object)
}
