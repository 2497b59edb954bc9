package manifests

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// Keys of the generated Secrets; those of S3 are the ones that the studio's guide uses.
const (
	KeyPassword    = "password"
	KeyJWTSecret   = "jwt-secret"
	KeyS3AccessKey = "s3-access-key"
	KeyS3SecretKey = "s3-secret-key"
)

// GeneratedKeys are the keys that a Secret of GeneratedSecrets must hold.
func GeneratedKeys(ap *assetv1.AssetPlatform, secretName string) []string {
	switch secretName {
	case S3Name(ap):
		return []string{KeyS3AccessKey, KeyS3SecretKey}
	case AuthSecretName(ap):
		return []string{KeyJWTSecret}
	}
	return []string{KeyPassword}
}

// GeneratedSecrets are the Secrets whose values the operator makes up once,
// without their data: the values are created elsewhere and never applied, so that
// nothing can make them twice. Those that open retained data are retained with it.
func GeneratedSecrets(ap *assetv1.AssetPlatform) []client.Object {
	var secrets []client.Object
	add := func(c Component, name string) {
		secrets = append(secrets, &corev1.Secret{TypeMeta: typeMeta(corev1.SchemeGroupVersion, "Secret"), ObjectMeta: dataMeta(ap, c, name)})
	}
	if ManagedDatabase(ap) != nil {
		add(ComponentPostgres, PostgresName(ap))
	}
	if ManagedCache(ap) != nil {
		add(ComponentRedis, RedisName(ap))
	}
	if ManagedStorage(ap) != nil {
		add(ComponentS3, S3Name(ap))
	}
	if ap.Spec.Auth.JWTSecretRef == nil {
		add(ComponentServer, AuthSecretName(ap))
	}
	return secrets
}
