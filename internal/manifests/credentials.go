package manifests

import (
	"net/url"
	"slices"

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
	S3CA              string            // empty: the authorities that everybody knows
	Extra             map[string]string // variables of the user's, from Secrets; none of the contract's
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
	refs := []any{database, direct, cache, storage, ManagedStorage(ap) != nil, ap.Spec.Auth.JWTSecretRef, ap.Spec.Auth.VerifySecretRefs}
	if s := ap.Spec.Storage; s != nil && s.CASecretRef != nil {
		refs = append(refs, s.CASecretRef)
	}
	if s := ap.Spec.Server; len(s.EnvFrom) > 0 || len(s.ExtraEnv) > 0 {
		refs = append(refs, s.EnvFrom, s.ExtraEnv)
	}
	return hash(refs...)
}

// ServerSecret holds every secret variable of the server, those of the user's own, and nothing else: a key
// that the server does not read rolls no pod.
func ServerSecret(ap *assetv1.AssetPlatform, f Facts) *corev1.Secret {
	c := f.Credentials
	v := variables{
		config.DatabaseURL:      c.DatabaseURL,
		config.RedisURL:         c.RedisURL,
		config.JWTSecret:        c.JWTSecret,
		config.JWTVerifySecrets: config.JoinKeys(c.JWTVerifySecrets),
		config.S3AccessKey:      c.S3AccessKey,
		config.S3SecretKey:      c.S3SecretKey,
		config.S3CA:             c.S3CA,
	}
	for name, value := range c.Extra {
		v[config.Var{Name: name}] = value
	}
	return environmentSecret(ap, ComponentServer, v)
}

// IsContract says whether a variable is one that the operator sets itself.
func IsContract(name string) bool {
	return slices.ContainsFunc(config.ServerVars, func(v config.Var) bool { return v.Name == name })
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
		S3AccessKey: value(config.S3AccessKey), S3SecretKey: value(config.S3SecretKey), S3CA: value(config.S3CA),
		JWTVerifySecrets: config.SplitKeys(value(config.JWTVerifySecrets)),
	}
	for name, value := range server.Data {
		if IsContract(name) {
			continue
		}
		if c.Extra == nil {
			c.Extra = map[string]string{}
		}
		c.Extra[name] = string(value)
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
