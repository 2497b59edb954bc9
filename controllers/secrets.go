package controllers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// secretReader reads Secrets that others made. It watches the metadata of all
// Secrets and reads one only when its resource version moved: foreign Secrets cost
// no memory and a settled platform costs no read.
type secretReader struct {
	metadata client.Reader // cached metadata of every Secret
	uncached client.Reader

	mu   sync.Mutex
	read map[types.NamespacedName]secretData
}

type secretData struct {
	resourceVersion string
	data            map[string][]byte
}

// data returns the Secret's data, or a NotFound error.
func (s *secretReader) data(ctx context.Context, name types.NamespacedName) (map[string][]byte, error) {
	seen := secretMetadata()
	if err := s.metadata.Get(ctx, name, seen); err != nil {
		s.mu.Lock()
		delete(s.read, name)
		s.mu.Unlock()
		return nil, err
	}
	s.mu.Lock()
	known, ok := s.read[name]
	s.mu.Unlock()
	if ok && known.resourceVersion == seen.ResourceVersion {
		return known.data, nil
	}
	secret := &corev1.Secret{}
	if err := s.uncached.Get(ctx, name, secret); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read == nil {
		s.read = map[types.NamespacedName]secretData{}
	}
	s.read[name] = secretData{resourceVersion: secret.ResourceVersion, data: secret.Data}
	return secret.Data, nil
}

// referencedSecrets are the names of the Secrets that the spec names.
func referencedSecrets(ap *assetv1.AssetPlatform) []string {
	var names []string
	add := func(ref *assetv1.SecretKeyRef) {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	if d := ap.Spec.Database; d != nil {
		add(d.SecretRef)
		add(d.DirectSecretRef)
	}
	if c := ap.Spec.Cache; c != nil {
		add(c.SecretRef)
	}
	if s := ap.Spec.Storage; s != nil && s.CredentialsSecretRef != nil {
		names = append(names, s.CredentialsSecretRef.Name)
	}
	add(ap.Spec.Auth.JWTSecretRef)
	for _, ref := range ap.Spec.Auth.VerifySecretRefs {
		add(&ref)
	}
	return names
}

// resolveCredentials generates what is to be generated, reads what the spec names,
// and returns either all credentials or the finding that says what is missing.
func (r *Reconciler) resolveCredentials(ctx context.Context, ap *assetv1.AssetPlatform) (manifests.Credentials, *finding, error) {
	generated, problem, err := r.generateSecrets(ctx, ap)
	if err != nil || problem != nil {
		return manifests.Credentials{}, problem, err
	}
	l := credentialLookup{ctx: ctx, reader: &r.secrets, namespace: ap.Namespace, generated: generated}
	c := l.credentials(ap)
	if l.err != nil || l.problem != nil {
		return manifests.Credentials{}, l.problem, l.err
	}
	if err := validCredentials(ap, c); err != nil {
		return manifests.Credentials{}, &finding{
			reason:  assetv1.ReasonSecretInvalid,
			problem: strings.ReplaceAll(err.Error(), "\n", "; "), where: "Secret " + strings.Join(referencedSecrets(ap), ", "),
			remedy: "correct the value in the Secret; it is read again at once",
		}, nil
	}
	return c, nil, nil
}

// validCredentials loads the settings as the server will.
func validCredentials(ap *assetv1.AssetPlatform, c manifests.Credentials) error {
	f := manifests.Facts{Credentials: c}
	values := manifests.ServerConfigMap(ap).Data
	secret := manifests.ServerSecret(ap, f).Data
	_, err := config.LoadServer(func(name string) string {
		if value, ok := secret[name]; ok {
			return string(value)
		}
		return values[name]
	})
	migrate := manifests.MigrateSecret(ap, f).Data
	_, migrateErr := config.LoadMigrate(func(name string) string { return string(migrate[name]) })
	return errors.Join(err, migrateErr)
}

// credentialLookup reads keys until one is missing.
type credentialLookup struct {
	ctx       context.Context
	reader    *secretReader
	namespace string
	generated map[string]map[string][]byte

	problem *finding
	err     error
}

func (l *credentialLookup) credentials(ap *assetv1.AssetPlatform) manifests.Credentials {
	var c manifests.Credentials
	if manifests.ManagedDatabase(ap) != nil {
		c.DatabaseURL = manifests.ManagedDatabaseURL(ap, l.own(manifests.PostgresName(ap), manifests.KeyPassword))
	} else {
		c.DatabaseURL = l.key("spec.database.secretRef", ap.Spec.Database.SecretRef)
		c.DatabaseDirectURL = l.key("spec.database.directSecretRef", ap.Spec.Database.DirectSecretRef)
	}
	if manifests.ManagedCache(ap) != nil {
		c.RedisURL = manifests.ManagedRedisURL(ap, l.own(manifests.RedisName(ap), manifests.KeyPassword))
	} else {
		c.RedisURL = l.key("spec.cache.secretRef", ap.Spec.Cache.SecretRef)
	}
	if manifests.ManagedStorage(ap) != nil {
		c.S3AccessKey = l.own(manifests.S3Name(ap), manifests.KeyS3AccessKey)
		c.S3SecretKey = l.own(manifests.S3Name(ap), manifests.KeyS3SecretKey)
	} else if ref := ap.Spec.Storage.CredentialsSecretRef; ref != nil {
		c.S3AccessKey = l.key("spec.storage.credentialsSecretRef", &assetv1.SecretKeyRef{Name: ref.Name, Key: ref.AccessKey})
		c.S3SecretKey = l.key("spec.storage.credentialsSecretRef", &assetv1.SecretKeyRef{Name: ref.Name, Key: ref.SecretKey})
	}
	if ref := ap.Spec.Auth.JWTSecretRef; ref != nil {
		c.JWTSecret = l.key("spec.auth.jwtSecretRef", ref)
	} else {
		c.JWTSecret = l.own(manifests.AuthSecretName(ap), manifests.KeyJWTSecret)
	}
	for i, ref := range ap.Spec.Auth.VerifySecretRefs {
		c.JWTVerifySecrets = append(c.JWTVerifySecrets, l.key(fmt.Sprintf("spec.auth.verifySecretRefs[%d]", i), &ref))
	}
	return c
}

func (l *credentialLookup) own(secret, key string) string { return string(l.generated[secret][key]) }

// key reads one key that a field of the spec names; the first problem stays.
func (l *credentialLookup) key(field string, ref *assetv1.SecretKeyRef) string {
	if ref == nil || l.problem != nil || l.err != nil {
		return ""
	}
	data, err := l.reader.data(l.ctx, types.NamespacedName{Namespace: l.namespace, Name: ref.Name})
	if apierrors.IsNotFound(err) {
		l.problem = &finding{
			reason:  assetv1.ReasonSecretNotFound,
			problem: fmt.Sprintf("Secret %s, named by %s, does not exist in namespace %s", ref.Name, field, l.namespace),
			where:   "Secret " + ref.Name, remedy: "create it with the key " + ref.Key + ", or correct " + field,
		}
		return ""
	}
	if err != nil {
		l.err = fmt.Errorf("read Secret %s: %w", ref.Name, err)
		return ""
	}
	value := strings.TrimSpace(string(data[ref.Key])) // files made with an editor end in a newline
	if value == "" {
		l.problem = &finding{
			reason:  assetv1.ReasonSecretKeyMissing,
			problem: fmt.Sprintf("Secret %s has no value under the key %s, named by %s", ref.Name, ref.Key, field),
			where:   "Secret " + ref.Name, remedy: "add the key to the Secret, or correct " + field,
		}
	}
	return value
}

// generateSecrets makes the Secrets whose values nobody gave, once: one that exists
// is never written again. It returns their data by name.
func (r *Reconciler) generateSecrets(ctx context.Context, ap *assetv1.AssetPlatform) (map[string]map[string][]byte, *finding, error) {
	all := map[string]map[string][]byte{}
	for _, wanted := range manifests.GeneratedSecrets(ap) {
		secret := &corev1.Secret{}
		err := r.Get(ctx, client.ObjectKeyFromObject(wanted), secret)
		if apierrors.IsNotFound(err) {
			secret, err = r.generateSecret(ctx, ap, wanted.(*corev1.Secret))
		}
		if problem, ok := asFinding(err, describe(wanted)); ok {
			return nil, problem, nil
		}
		if err != nil {
			return nil, nil, err
		}
		for _, key := range manifests.GeneratedKeys(ap, secret.Name) {
			if len(secret.Data[key]) == 0 {
				return nil, &finding{
					reason:  assetv1.ReasonSecretKeyMissing,
					problem: fmt.Sprintf("Secret %s has lost its key %s, which was generated when the platform was made", secret.Name, key),
					where:   "Secret " + secret.Name, remedy: "put the old value back from a backup of the Secret",
				}, nil
			}
		}
		all[secret.Name] = secret.Data
	}
	return all, nil, nil
}

func (r *Reconciler) generateSecret(ctx context.Context, ap *assetv1.AssetPlatform, wanted *corev1.Secret) (*corev1.Secret, error) {
	existing := &corev1.Secret{}
	switch err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(wanted), existing); {
	case err == nil && !belongsTo(ap, existing):
		return nil, conflict(wanted)
	case err == nil:
		return existing, nil
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("look for Secret %s: %w", wanted.Name, err)
	}
	if wanted.Name == manifests.PostgresName(ap) {
		claim := &corev1.PersistentVolumeClaim{}
		if err := r.Get(ctx, client.ObjectKeyFromObject(wanted), claim); err == nil {
			return nil, &finding{
				reason:  assetv1.ReasonSecretLost,
				problem: fmt.Sprintf("Secret %s with the password of the managed database is gone, but its volume is there", wanted.Name),
				where:   "Secret " + wanted.Name,
				remedy:  "restore the Secret from a backup; or, to begin with an empty database, delete PersistentVolumeClaim " + claim.Name,
			}
		}
	}
	wanted.Type = corev1.SecretTypeOpaque
	wanted.Data = map[string][]byte{}
	for _, key := range manifests.GeneratedKeys(ap, wanted.Name) {
		wanted.Data[key] = []byte(rand.Text() + rand.Text()) // 52 letters and digits, over 256 bits
	}
	if err := r.Create(ctx, wanted, client.FieldOwner(fieldManager)); err != nil {
		return nil, fmt.Errorf("create Secret %s: %w", wanted.Name, err)
	}
	return wanted, nil
}
