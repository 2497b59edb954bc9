//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// A platform on a database, a cache and a bucket of the studio's own, with the Secret
// of its deployment guide. Everything that people get wrong is wrong at first, is
// named by a condition, and is mended without touching the platform.
func TestExternalServices(t *testing.T) {
	t.Parallel()
	services := small(newNamespace(t, "services"), "theirs")
	services.Spec.Replicas = new(int32(0))                      // only its database, cache and S3 server are of use here,
	services.Spec.Networking.NetworkPolicy.Enabled = new(false) // and to others
	create(t, services)
	waitReady(t, services)
	database := newDatabase(t, services)

	ap := small(newNamespace(t, "external"), "production")
	ref := func(key string) *assetv1.SecretKeyRef {
		return &assetv1.SecretKeyRef{Name: "backend-secrets", Key: key}
	}
	ap.Spec.Database = &assetv1.DatabaseSpec{SecretRef: ref("database-url")}
	ap.Spec.Cache = &assetv1.CacheSpec{SecretRef: ref("redis-url")}
	ap.Spec.Auth.JWTSecretRef = ref("jwt-secret")
	ap.Spec.Storage = &assetv1.StorageSpec{
		Bucket: "game-assets", Endpoint: "http://theirs-s3.services.svc:7070",
		CredentialsSecretRef: &assetv1.S3CredentialsRef{Name: "backend-secrets"},
	}
	ap.Spec.Migrations.BackoffLimit = new(int32(0))
	create(t, ap)

	waitFor(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionFalse, "backend-secrets", "spec.database.secretRef")

	s3Keys := secretOf(t, services, "theirs-s3")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: "backend-secrets"}, Data: map[string][]byte{
		"database-url":  []byte(database.url("backend", "wrong", "theirs-postgres.services.svc")),
		"jwt-secret":    []byte(strings.Repeat("k", 40) + "\n"),
		"s3-access-key": s3Keys["s3-access-key"],
		"s3-secret-key": s3Keys["s3-secret-key"],
	}}
	create(t, secret)
	waitFor(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionFalse, "redis-url", "spec.cache.secretRef")

	set := func(key, value string) {
		t.Helper()
		patch := client.MergeFrom(secret.DeepCopy())
		secret.Data[key] = []byte(value)
		if err := cluster.Patch(ctx, secret, patch); err != nil {
			t.Fatal(err)
		}
	}
	redisURL := fmt.Sprintf("redis://:%s@theirs-redis.services.svc:6379/1", secretOf(t, services, "theirs-redis")["password"])
	set("redis-url", redisURL)
	waitFor(t, ap, assetv1.ConditionDatabaseReady, metav1.ConditionFalse, "password")

	set("database-url", database.url("backend", database.password, "nowhere.services.svc"))
	waitFor(t, ap, assetv1.ConditionDatabaseReady, metav1.ConditionFalse, "nowhere.services.svc")

	set("database-url", database.url("backend", database.password, "theirs-postgres.services.svc"))
	waitFor(t, ap, assetv1.ConditionMigrated, metav1.ConditionTrue)
	waitFor(t, ap, assetv1.ConditionStorageReady, metav1.ConditionFalse, "game-assets")

	createBucket(t, bucketClient(t, services, s3Keys), "game-assets")
	waitReady(t, ap)
	u := register(t, ap, "artist")
	content := picture(t)
	id := u.upload(t, "hero.png", content)
	u.mustDownload(t, id, content)

	t.Run("a migration that fails blocks the rollout", func(t *testing.T) {
		database.run(t, database.name, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM backend")
		t.Cleanup(func() { database.run(t, database.name, "GRANT ALL ON ALL TABLES IN SCHEMA public TO backend") })
		edit(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = nextImage })
		waitFor(t, ap, assetv1.ConditionMigrated, metav1.ConditionFalse, nextImage, "permission denied")
		if got := deployment(t, ap).Spec.Template.Spec.Containers[0].Image; got != firstImage {
			t.Errorf("the server runs %s although its migration failed", got)
		}
		database.run(t, database.name, "GRANT ALL ON ALL TABLES IN SCHEMA public TO backend")
		mustKubectl(t, "-n", ap.Namespace, "annotate", "ap/production", assetv1.AnnotationRetry+"=1")
		waitReady(t, ap)
		if got := deployment(t, ap).Spec.Template.Spec.Containers[0].Image; got != nextImage {
			t.Errorf("the server runs %s", got)
		}
		u.mustDownload(t, id, content)
	})
	t.Run("the cache goes and comes back", func(t *testing.T) {
		set("redis-url", strings.Replace(redisURL, "@theirs-redis", "@no-redis", 1))
		waitFor(t, ap, assetv1.ConditionCacheReady, metav1.ConditionFalse, "no-redis")
		u.mustDownload(t, id, content) // the cache holds only what may be lost
		set("redis-url", redisURL)
		waitReady(t, ap)
	})
}

// externalDatabase is a database of its own in another platform's PostgreSQL, whose
// owner is no superuser: rights can be taken from it.
type externalDatabase struct {
	platform       *assetv1.AssetPlatform
	name, password string
}

func newDatabase(t *testing.T, platform *assetv1.AssetPlatform) externalDatabase {
	t.Helper()
	d := externalDatabase{platform: platform, name: "game_assets", password: "s3cret-enough"}
	d.run(t, "assets", "CREATE ROLE backend LOGIN PASSWORD '"+d.password+"'")
	d.run(t, "assets", "CREATE DATABASE "+d.name+" OWNER backend")
	return d
}

// run executes SQL as the superuser, inside of the database's pod.
func (d externalDatabase) run(t *testing.T, database, sql string) {
	t.Helper()
	mustKubectl(t, "-n", d.platform.Namespace, "exec", d.platform.Name+"-postgres-0", "--", "psql", "-h", "/tmp", "-U", "assets", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", sql)
}

func (d externalDatabase) url(user, password, host string) string {
	return fmt.Sprintf("postgres://%s:%s@%s:5432/%s?sslmode=disable", user, password, host, d.name)
}

func secretOf(t *testing.T, ap *assetv1.AssetPlatform, name string) map[string][]byte {
	t.Helper()
	var secret corev1.Secret
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, &secret); err != nil {
		t.Fatal(err)
	}
	return secret.Data
}

// bucketClient talks to the S3 server of a platform.
func bucketClient(t *testing.T, ap *assetv1.AssetPlatform, keys map[string][]byte) *s3.Client {
	t.Helper()
	var service corev1.Service
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: ap.Name + "-s3"}, &service); err != nil {
		t.Fatal(err)
	}
	return s3.New(s3.Options{
		Region: "us-east-1", UsePathStyle: true, BaseEndpoint: aws.String("http://" + service.Spec.ClusterIP + ":7070"),
		Credentials: credentials.NewStaticCredentialsProvider(string(keys["s3-access-key"]), string(keys["s3-secret-key"]), ""),
	})
}

func createBucket(t *testing.T, store *s3.Client, bucket string) {
	t.Helper()
	if _, err := store.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
}
