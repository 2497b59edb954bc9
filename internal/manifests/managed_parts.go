package manifests

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// What the images of the managed parts (hack/images) listen on and are told.
const (
	postgresUser     = "assets"
	postgresDatabase = "assets"
	postgresPort     = 5432
	redisPort        = 6379
	s3Port           = 7070
	s3Bucket         = "assets"

	postgresData = "/var/lib/postgresql/data"
)

// postgresProbe asks over TCP: while the data directory is being made, PostgreSQL answers on its socket only.
func postgresProbe() *corev1.Probe {
	return execProbe(3, 100, "pg_isready", "--quiet", "--host=127.0.0.1", "--username="+postgresUser, "--dbname="+postgresDatabase)
}

// Postgres is the managed database; nothing where the platform names its own.
func Postgres(ap *assetv1.AssetPlatform, f Facts) []client.Object {
	spec := ManagedDatabase(ap)
	if spec == nil {
		return nil
	}
	name := PostgresName(ap)
	return managedPart{
		component: ComponentPostgres, name: name, spec: *spec, image: f.Images.Postgres, storage: "10Gi", claim: f.Claims[name], port: postgresPort,
		env: []corev1.EnvVar{
			{Name: "POSTGRES_USER", Value: postgresUser},
			{Name: "POSTGRES_DB", Value: postgresDatabase},
			fromSecret("POSTGRES_PASSWORD", name, KeyPassword),
		},
		dataPath:    postgresData,
		resources:   resources("100m", "256Mi", "", "1Gi"),
		probe:       postgresProbe(),
		graceSecond: 60,
	}.objects(ap)
}

// Redis is the managed cache; nothing where the platform names its own.
func Redis(ap *assetv1.AssetPlatform, f Facts) []client.Object {
	spec := ManagedCache(ap)
	if spec == nil {
		return nil
	}
	name := RedisName(ap)
	return managedPart{
		component: ComponentRedis, name: name, spec: *spec, image: f.Images.Redis, storage: "1Gi", claim: f.Claims[name], port: redisPort,
		env:       []corev1.EnvVar{fromSecret("REDIS_PASSWORD", name, KeyPassword), credentialsMark(f.Credentials.RedisURL)},
		dataPath:  "/data",
		resources: resources("50m", "64Mi", "", "256Mi"),
		// Any answer will do, also "authentication required": the probe needs no password then.
		probe:       execProbe(3, 20, "redis-cli", "-h", "127.0.0.1", "ping"),
		liveness:    execProbe(10, 6, "redis-cli", "-h", "127.0.0.1", "ping"),
		graceSecond: 30,
	}.objects(ap)
}

// S3 is the managed bucket; nothing where the platform names its own.
func S3(ap *assetv1.AssetPlatform, f Facts) []client.Object {
	spec := ManagedStorage(ap)
	if spec == nil {
		return nil
	}
	name := S3Name(ap)
	return managedPart{
		component: ComponentS3, name: name, spec: *spec, image: f.Images.S3, storage: "20Gi", claim: f.Claims[name], port: s3Port,
		env: []corev1.EnvVar{
			{Name: "S3_BUCKET", Value: s3Bucket},
			fromSecret("ROOT_ACCESS_KEY_ID", name, KeyS3AccessKey),
			fromSecret("ROOT_SECRET_ACCESS_KEY", name, KeyS3SecretKey),
			credentialsMark(f.Credentials.S3AccessKey, f.Credentials.S3SecretKey),
		},
		dataPath:    "/data",
		resources:   resources("50m", "64Mi", "", "512Mi"),
		probe:       httpProbe("/health", string(ComponentS3), 3, 20),
		liveness:    httpProbe("/health", string(ComponentS3), 10, 6),
		graceSecond: 30,
	}.objects(ap)
}
