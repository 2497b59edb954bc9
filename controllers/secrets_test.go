package controllers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// A Secret or key that is missing, or a value that cannot be right, is named with the
// field that asks for it; when it comes, the platform comes up by itself.
func TestSecretsThatAreMissingOrWrong(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, externalSpec)
	expect := func(reason string, says ...string) {
		t.Helper()
		eventually(t, func() error {
			c := waitCondition(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionFalse, reason)
			for _, part := range says {
				if !strings.Contains(c.Message, part) {
					return fmt.Errorf("message %q does not say %q", c.Message, part)
				}
			}
			if strings.Contains(c.Message, "sesame") {
				t.Fatalf("message %q tells the password", c.Message)
			}
			return nil
		})
	}
	expect(assetv1.ReasonSecretNotFound, "Secret backend-secrets, named by spec.database.secretRef, spec.cache.secretRef, spec.storage.credentialsSecretRef and spec.auth.jwtSecretRef, does not exist",
		"create it with the keys database-url, redis-url, s3-access-key, s3-secret-key and jwt-secret")

	secret := backendSecrets(ap.Namespace)
	delete(secret.StringData, "redis-url")
	secret.StringData["database-url"] = "mysql://u:sesame@h/d"
	if err := admin.Create(ctx, secret); err != nil {
		t.Fatal(err)
	}
	expect(assetv1.ReasonSecretKeyMissing, "no value under the key redis-url, named by spec.cache.secretRef")
	setSecret(t, ap, "redis-url", "http://:sesame@redis.example.com:6379/0")
	expect(assetv1.ReasonSecretInvalid, "key database-url in Secret backend-secrets", `scheme "mysql"`, "key redis-url in Secret backend-secrets", `scheme "http"`)
	if n := len(ap.Status.Problems); n != 2 {
		t.Errorf("%d problems: %+v", n, ap.Status.Problems)
	}
	setSecret(t, ap, "redis-url", "redis://:sesame@redis.example.com:6379/0")
	setSecret(t, ap, "database-url", "postgres://u:ses ame@h/d")
	expect(assetv1.ReasonSecretInvalid, "key database-url in Secret backend-secrets", "is not a URL")
	setSecret(t, ap, "database-url", "postgres://backend:sesame@postgres.example.com:99999/game_assets")
	expect(assetv1.ReasonSecretInvalid, "key database-url in Secret backend-secrets", "has the port 99999")
	setSecret(t, ap, "database-url", "postgres://backend:sesame@postgres.example.com:5432/game_assets\n") // as an editor saves it
	waitReady(t, ap)
	server := get(t, ap, copyOf(serving(t, ap)), &corev1.Secret{})
	if got := string(server.Data["DATABASE_URL"]); strings.HasSuffix(got, "\n") {
		t.Errorf("the server reads %q", got)
	}
}

// A Secret that is there and holds nothing lacks all that it should hold, whether or not the server could do without.
func TestSecretsWithoutData(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Storage.CredentialsSecretRef.Name = "empty"
		s.Database.DirectSecretRef = &assetv1.SecretKeyRef{Name: "empty", Key: "direct-url"}
	})
	if err := admin.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "empty", Namespace: ap.Namespace}}); err != nil {
		t.Fatal(err)
	}
	waitSays(t, ap, assetv1.ConditionSecretsResolved, assetv1.ReasonSecretKeyMissing, "Secret empty has no value under the keys direct-url, s3-access-key and s3-secret-key",
		"named by spec.database.directSecretRef and spec.storage.credentialsSecretRef", "add the keys to the Secret")
}

// What runs goes on while a Secret is away, and is kept as the spec says with the values
// that the Secret had last; a spec that names another one waits for that.
func TestPlatformIsKeptWhileASecretIsAway(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	copied := copyOf(serving(t, ap))
	if err := admin.Delete(ctx, backendSecrets(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	waitCondition(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionFalse, assetv1.ReasonSecretNotFound)
	for _, lost := range []client.Object{serving(t, ap), get(t, ap, "studio", &corev1.Service{}), get(t, ap, "studio-server", &corev1.ServiceAccount{})} {
		if err := admin.Delete(ctx, lost); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			again := newLike(lost)
			if err := admin.Get(ctx, client.ObjectKeyFromObject(lost), again); err != nil {
				return err
			}
			if again.GetUID() == lost.GetUID() {
				return fmt.Errorf("%s is still there", describe(lost))
			}
			return nil
		})
		waitCondition(t, ap, assetv1.ConditionAvailable, metav1.ConditionTrue, "")
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(2)) })
	waitCondition(t, ap, assetv1.ConditionAvailable, metav1.ConditionTrue, "")
	if d := serving(t, ap); d.Status.AvailableReplicas != 2 || copyOf(d) != copied {
		t.Errorf("%d replicas, environment %+v", d.Status.AvailableReplicas, d.Spec.Template.Spec.Containers[0].EnvFrom)
	}

	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Database.SecretRef.Name, ap.Spec.Replicas = "other", new(int32(1))
	})
	waitSays(t, ap, assetv1.ConditionSecretsResolved, assetv1.ReasonSecretNotFound, "Secret other, named by spec.database.secretRef")
	if n := *serving(t, ap).Spec.Replicas; n != 2 {
		t.Errorf("%d replicas with another database's password away", n)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Database.SecretRef.Name = "backend-secrets" })
	if err := admin.Create(ctx, backendSecrets(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
}

// A value that the server reads rolls its pods; one that it does not read moves nothing.
func TestChangedSecretRollsTheServer(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, nil)
	waitReady(t, ap)
	before := serving(t, ap)
	setSecret(t, ap, "unrelated", "x")
	setSecret(t, ap, "s3-secret-key", "open sesame")
	eventually(t, func() error {
		if got := serving(t, ap); got.Generation != before.Generation+1 {
			return fmt.Errorf("generation %d, was %d", got.Generation, before.Generation)
		}
		return nil
	})
	waitReady(t, ap)
	if got := serving(t, ap); got.Generation != before.Generation+1 || ap.Status.Migration.Attempt != 1 {
		t.Errorf("generation %d after %d, attempt %d", got.Generation, before.Generation, ap.Status.Migration.Attempt)
	}
}

// Keys that only verify come along, in their order; one with a comma stays one.
func TestVerifyKeys(t *testing.T) {
	t.Parallel()
	ap := newExternalPlatform(t, func(s *assetv1.AssetPlatformSpec) {
		s.Auth.VerifySecretRefs = []assetv1.SecretKeyRef{{Name: "old", Key: "b"}, {Name: "old", Key: "a"}}
	})
	waitCondition(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionFalse, assetv1.ReasonSecretNotFound)
	old := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: ap.Namespace}, StringData: map[string]string{"a": "one,two", "b": "three"}}
	if err := admin.Create(ctx, old); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
	server := get(t, ap, copyOf(serving(t, ap)), &corev1.Secret{})
	if got := string(server.Data["JWT_VERIFY_SECRETS"]); !slices.Equal(config.SplitKeys(got), []string{"three", "one,two"}) {
		t.Errorf("the server reads %q", got)
	}
}

// A Secret made from a studio's env file is taken as it is: what the spec has fields for comes from these, the rest reaches
// the API's pods, and a change rolls them. One that comes late, or is mended, is picked up.
func TestEnvFrom(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, specOf(t, `server: {logLevel: warn, envFrom: [{secretRef: {name: prod-secrets}}], extraEnv: [
		{name: GOMEMLIMIT, value: 200MiB}, {name: TOKEN, valueFrom: {secretKeyRef: {name: prod-secrets, key: token}}}]}`))
	waitMessage(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionFalse, assetv1.ReasonSecretNotFound, "Secret prod-secrets, named by spec.server.envFrom[0] and spec.server.extraEnv TOKEN, does not exist", "create it with the key token")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "prod-secrets", Namespace: ap.Namespace}, StringData: map[string]string{
		"LOG_LEVEL": "debug", "DATABASE_URL": "mysql://elsewhere", "OPENAI_API_KEY": "one", "GOMEMLIMIT": "1MiB",
	}}
	if err := admin.Create(ctx, secret); err != nil {
		t.Fatal(err)
	}
	waitMessage(t, ap, assetv1.ConditionSecretsResolved, metav1.ConditionFalse, assetv1.ReasonSecretKeyMissing, "no value under the key token", "spec.server.extraEnv TOKEN")
	edit := func(key, value string) {
		t.Helper()
		if err := retryUpdate(secret, func() { secret.StringData = map[string]string{key: value} }); err != nil {
			t.Fatal(err)
		}
	}
	edit("token", "t")
	waitReady(t, ap)
	variables := func() map[string]string {
		t.Helper()
		found := map[string]string{}
		for _, from := range serving(t, ap).Spec.Template.Spec.Containers[0].EnvFrom {
			if from.ConfigMapRef != nil {
				maps.Copy(found, get(t, ap, from.ConfigMapRef.Name, &corev1.ConfigMap{}).Data)
			} else {
				for key, value := range get(t, ap, from.SecretRef.Name, &corev1.Secret{}).Data {
					found[key] = string(value)
				}
			}
		}
		return found
	}
	want := map[string]string{"LOG_LEVEL": "warn", "OPENAI_API_KEY": "one", "GOMEMLIMIT": "200MiB", "TOKEN": "t"}
	for name, value := range want {
		if got := variables(); got[name] != value || !strings.HasPrefix(got["DATABASE_URL"], "postgres://") {
			t.Errorf("%s is %q, want %q; DATABASE_URL is %s", name, got[name], value, got["DATABASE_URL"])
		}
	}
	before := serving(t, ap).Generation
	edit("LOG_LEVEL", "error") // which nobody reads from there
	edit("OPENAI_API_KEY", "two")
	eventually(t, func() error {
		if got := variables()["OPENAI_API_KEY"]; got != "two" {
			return fmt.Errorf("OPENAI_API_KEY is %q", got)
		}
		return nil
	})
	waitReady(t, ap)
	if rolled := serving(t, ap).Generation - before; rolled != 1 {
		t.Errorf("the pods were rolled %d times", rolled)
	}
}
