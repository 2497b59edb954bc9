package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// maxName is the length that every kind we create allows: Services, and label
// values made from Job and Pod names, take 63 characters.
const maxName = 63

// maxSetName leaves room for what the StatefulSet controller appends: its revision's
// name, "-" and ten characters more, is the value of a label.
const maxSetName = maxName - 11

// ServiceName is the name of the API's Service.
func ServiceName(ap *assetv1.AssetPlatform) string { return ap.Name }

// ServerName is the name of the server's Deployment and ServiceAccount.
func ServerName(ap *assetv1.AssetPlatform) string { return childName(ap, "server") }

// PostgresName, RedisName and S3Name are the names of a managed part's
// StatefulSet, Service, volume claim and Secret.
func PostgresName(ap *assetv1.AssetPlatform) string { return cutName(ap, "postgres", maxSetName) }

// RedisName: see PostgresName.
func RedisName(ap *assetv1.AssetPlatform) string { return cutName(ap, "redis", maxSetName) }

// S3Name: see PostgresName.
func S3Name(ap *assetv1.AssetPlatform) string { return cutName(ap, "s3", maxSetName) }

// AuthSecretName is the name of the Secret with the generated signing key.
func AuthSecretName(ap *assetv1.AssetPlatform) string { return childName(ap, "auth") }

// CertificateName is the name of the Certificate, and of the Secret that cert-manager puts it into.
func CertificateName(ap *assetv1.AssetPlatform) string { return childName(ap, "tls") }

// MetricsServiceName is the name of the Service whose endpoints Prometheus scrapes.
func MetricsServiceName(ap *assetv1.AssetPlatform) string { return childName(ap, "metrics") }

// AlertsName is the name of the PrometheusRule.
func AlertsName(ap *assetv1.AssetPlatform) string { return childName(ap, "alerts") }

// DashboardName is the name of the ConfigMap with the dashboard.
func DashboardName(ap *assetv1.AssetPlatform) string { return childName(ap, "dashboard") }

// MigrateJobName is the name of the one Job of a migration attempt.
func MigrateJobName(ap *assetv1.AssetPlatform, target string, attempt int64) string {
	return childName(ap, "migrate-"+hash(target, attempt))
}

// maxCronName leaves room for what the CronJob controller appends to the names of Jobs: "-" and ten characters
// (kubernetes.io/docs/concepts/workloads/controllers/cron-jobs).
const maxCronName = maxName - 11

// CronJobName is the name of the CronJob that makes, scrubs or drills the sets of a destination.
func CronJobName(ap *assetv1.AssetPlatform, c Component, destination string) string {
	return cutName(ap, string(c)+"-"+destination, maxCronName)
}

// AssetBackupJobName is the name of the Job of an AssetBackup.
func AssetBackupJobName(ap *assetv1.AssetPlatform, destination string, b *assetv1.AssetBackup) string {
	return childName(ap, "backup-"+destination+"-"+hash(b.UID))
}

// RestoreJobName is the name of the Job of an AssetRestore.
func RestoreJobName(ap *assetv1.AssetPlatform, restore *assetv1.AssetRestore) string {
	return childName(ap, "restore-"+hash(restore.UID))
}

// RestoreFromName is the name of the AssetRestore that a platform with spec.restoreFrom begins with.
func RestoreFromName(ap *assetv1.AssetPlatform) string { return childName(ap, "restore-from") }

// childName is <name>-<suffix>, cut in the middle and marked with a hash where
// that is too long: two long names never become one.
func childName(ap *assetv1.AssetPlatform, suffix string) string { return cutName(ap, suffix, maxName) }

func cutName(ap *assetv1.AssetPlatform, suffix string, longest int) string {
	name := ap.Name + "-" + suffix
	if len(name) <= longest {
		return name
	}
	mark := hash(ap.Name)
	return ap.Name[:longest-len(suffix)-len(mark)-2] + "-" + mark + "-" + suffix
}

// hash is 10 hexadecimal digits that stand for the values' JSON.
func hash(values ...any) string {
	text, err := json.Marshal(values)
	if err != nil {
		panic(fmt.Sprintf("hash of values that are no JSON: %v", err)) // only our own plain types come here
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:5])
}
