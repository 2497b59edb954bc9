package manifests

import (
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// Credentials are the values of the Secrets that the spec names or that were generated.
type Credentials struct {
	DatabaseURL       string
	DatabaseDirectURL string // empty: DatabaseURL
	RedisURL          string
	JWTSecret         string
	JWTVerifySecrets  []string
	S3AccessKey       string // empty: the pods' own identity
	S3SecretKey       string
}

// LabelCredentialsOf marks copies of credentials with CredentialsOf.
const LabelCredentialsOf = "assetplatform.io/credentials-of"

// CredentialsOf identifies where the spec takes its credentials from, whatever their
// values are: copies with this mark hold what those references held.
func CredentialsOf(ap *assetv1.AssetPlatform) string {
	var database, direct, cache *assetv1.SecretKeyRef
	var storage *assetv1.S3CredentialsRef
	if d := ap.Spec.Database; d != nil {
		database, direct = d.SecretRef, d.DirectSecretRef
	}
	if c := ap.Spec.Cache; c != nil {
		cache = c.SecretRef
	}
	if s := ap.Spec.Storage; s != nil {
		storage = s.CredentialsSecretRef
	}
	return hash(database, direct, cache, storage, ManagedStorage(ap) != nil, ap.Spec.Auth.JWTSecretRef, ap.Spec.Auth.VerifySecretRefs)
}

// ServerSecret holds every secret variable of the server, and nothing else: a key
// that the server does not read rolls no pod.
func ServerSecret(ap *assetv1.AssetPlatform, f Facts) *corev1.Secret {
	c := f.Credentials
	return environmentSecret(ap, ComponentServer, variables{
		config.DatabaseURL:      c.DatabaseURL,
		config.RedisURL:         c.RedisURL,
		config.JWTSecret:        c.JWTSecret,
		config.JWTVerifySecrets: strings.Join(c.JWTVerifySecrets, ","),
		config.S3AccessKey:      c.S3AccessKey,
		config.S3SecretKey:      c.S3SecretKey,
	})
}

// MigrateSecret holds the secret variables of the migration.
func MigrateSecret(ap *assetv1.AssetPlatform, f Facts) *corev1.Secret {
	return environmentSecret(ap, ComponentMigrate, variables{
		config.DatabaseURL:       f.Credentials.DatabaseURL,
		config.DatabaseDirectURL: f.Credentials.DatabaseDirectURL,
	})
}

// CopiedCredentials are those that a ServerSecret and a MigrateSecret were made from.
func CopiedCredentials(server, migrate *corev1.Secret) Credentials {
	value := func(v config.Var) string { return string(server.Data[v.Name]) }
	c := Credentials{
		DatabaseURL: value(config.DatabaseURL), DatabaseDirectURL: string(migrate.Data[config.DatabaseDirectURL.Name]),
		RedisURL: value(config.RedisURL), JWTSecret: value(config.JWTSecret),
		S3AccessKey: value(config.S3AccessKey), S3SecretKey: value(config.S3SecretKey),
	}
	if keys := value(config.JWTVerifySecrets); keys != "" {
		c.JWTVerifySecrets = strings.Split(keys, ",")
	}
	return c
}

// ManagedDatabaseURL is where a managed database answers.
func ManagedDatabaseURL(ap *assetv1.AssetPlatform, password string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresUser, password),
		Host: serviceHost(ap, PostgresName(ap), postgresPort), Path: "/" + postgresDatabase, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// ManagedDatabasePassword is the password in a ManagedDatabaseURL.
func ManagedDatabasePassword(databaseURL string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return ""
	}
	password, _ := u.User.Password()
	return password
}

// ManagedRedisURL is where a managed cache answers.
func ManagedRedisURL(ap *assetv1.AssetPlatform, password string) string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: serviceHost(ap, RedisName(ap), redisPort), Path: "/0"}
	return u.String()
}
