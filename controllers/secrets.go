package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
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

	mu sync.Mutex
	// read holds the Secrets that each platform names, by platform and name.
	read map[types.NamespacedName]map[string]secretData
}

type secretData struct {
	resourceVersion string
	data            map[string][]byte
}

// data returns the data of a Secret that a platform names, or a NotFound error.
func (s *secretReader) data(ctx context.Context, platform types.NamespacedName, name string) (map[string][]byte, error) {
	key := types.NamespacedName{Namespace: platform.Namespace, Name: name}
	seen := secretMetadata()
	if err := s.metadata.Get(ctx, key, seen); err != nil {
		return nil, err
	}
	s.mu.Lock()
	known, ok := s.read[platform][name]
	s.mu.Unlock()
	if ok && known.resourceVersion == seen.ResourceVersion {
		return known.data, nil
	}
	secret := &corev1.Secret{}
	if err := s.uncached.Get(ctx, key, secret); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read == nil {
		s.read = map[types.NamespacedName]map[string]secretData{}
	}
	if s.read[platform] == nil {
		s.read[platform] = map[string]secretData{}
	}
	s.read[platform][name] = secretData{resourceVersion: secret.ResourceVersion, data: secret.Data}
	return secret.Data, nil
}

// retain drops what is remembered of Secrets that a platform no longer names.
func (s *secretReader) retain(platform types.NamespacedName, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.read[platform], func(name string, _ secretData) bool { return !slices.Contains(names, name) })
	if len(s.read[platform]) == 0 {
		delete(s.read, platform)
	}
}

// referencedSecrets are the names of the Secrets that the spec names.
func referencedSecrets(ap *assetv1.AssetPlatform) []string {
	return slices.Concat(platformSecrets(ap), backupSecrets(ap), restoreSecrets(ap))
}

// platformSecrets are those without which the platform does not serve.
func platformSecrets(ap *assetv1.AssetPlatform) []string {
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
	if t := ap.Spec.Networking.TLS; t != nil && t.SecretName != "" {
		names = append(names, t.SecretName)
	}
	if s := ap.Spec.Storage; s != nil {
		add(s.CASecretRef)
	}
	for _, from := range ap.Spec.Server.EnvFrom {
		names = append(names, from.SecretRef.Name)
	}
	for _, extra := range ap.Spec.Server.ExtraEnv {
		if extra.ValueFrom != nil {
			add(&extra.ValueFrom.SecretKeyRef)
		}
	}
	add(ap.Spec.Auth.JWTSecretRef)
	for _, ref := range ap.Spec.Auth.VerifySecretRefs {
		add(&ref)
	}
	return names
}

// resolveCredentials generates what is to be generated, reads what the spec names,
// and returns either all credentials or findings that say what is missing.
func (r *Reconciler) resolveCredentials(ctx context.Context, ap *assetv1.AssetPlatform) (manifests.Credentials, []*finding, error) {
	generated, err := r.generateSecrets(ctx, ap)
	if err != nil {
		if problem, ok := asFinding(err, "Secret"); ok {
			return manifests.Credentials{}, []*finding{problem}, nil
		}
		return manifests.Credentials{}, nil, err
	}
	r.secrets.retain(client.ObjectKeyFromObject(ap), referencedSecrets(ap))
	return r.lookUpCredentials(ctx, ap, generated)
}

// lookUpCredentials reads what the spec names beside what was generated. There are no credentials where there are findings.
func (r *Reconciler) lookUpCredentials(ctx context.Context, ap *assetv1.AssetPlatform, generated map[string]map[string][]byte) (manifests.Credentials, []*finding, error) {
	l := credentialLookup{ctx: ctx, reader: &r.secrets, platform: client.ObjectKeyFromObject(ap), generated: generated}
	c := l.credentials(ap)
	if l.err != nil {
		return manifests.Credentials{}, nil, l.err
	}
	var problems []*finding
	for _, lack := range l.lacks {
		problems = append(problems, lack.finding(ap.Namespace))
	}
	if len(problems) == 0 {
		problems = invalidCredentials(ap, c)
	}
	if len(problems) > 0 {
		return manifests.Credentials{}, problems, nil
	}
	return c, nil, nil
}

// invalidCredentials loads the settings as the server and the migration will, and
// says what is wrong with them; no message repeats a value.
func invalidCredentials(ap *assetv1.AssetPlatform, c manifests.Credentials) []*finding {
	f := manifests.Facts{Credentials: c}
	values := manifests.ServerConfigMap(ap).Data
	secret := manifests.ServerSecret(ap, f).Data
	_, err := config.LoadServer(func(name string) string {
		if value, ok := secret[name]; ok {
			return string(value)
		}
		return values[name]
	})
	if err == nil {
		secret = manifests.MigrateSecret(ap, f).Data
		_, err = config.LoadMigrate(func(name string) string { return string(secret[name]) })
	}
	if err == nil {
		return nil
	}
	var problems []*finding
	for line := range strings.SplitSeq(err.Error(), "\n") {
		problems = append(problems, invalidVariable(ap, line))
	}
	return problems
}

// invalidVariable is the finding behind a line of what config says.
func invalidVariable(ap *assetv1.AssetPlatform, line string) *finding {
	variable, wrong, _ := strings.Cut(line, ": ")
	if ref := sourceOf(ap, variable); ref != nil {
		return invalidSecret(ref, wrong)
	}
	return &finding{
		reason: assetv1.ReasonInvalidSpec, where: "AssetPlatform " + ap.Name, stalled: true,
		problem: fmt.Sprintf("The server cannot start with what the spec says (%s)", strings.TrimSuffix(line, ".")),
		remedy:  "correct the field that sets " + variable,
	}
}

func invalidSecret(ref *assetv1.SecretKeyRef, wrong string) *finding {
	return &finding{
		reason: assetv1.ReasonSecretInvalid, where: "Secret " + ref.Name,
		problem: fmt.Sprintf("The value of key %s in Secret %s %s", ref.Key, ref.Name, strings.TrimSuffix(wrong, ".")),
		remedy:  "correct it; it is read again at once",
	}
}

// sourceOf is the key from which a variable's value comes, nil if it is in no Secret that the spec names.
func sourceOf(ap *assetv1.AssetPlatform, variable string) *assetv1.SecretKeyRef {
	s := ap.Spec
	switch {
	case variable == config.DatabaseURL.Name && s.Database != nil:
		return s.Database.SecretRef
	case variable == config.DatabaseDirectURL.Name && s.Database != nil:
		return s.Database.DirectSecretRef
	case variable == config.RedisURL.Name && s.Cache != nil:
		return s.Cache.SecretRef
	case variable == config.JWTSecret.Name:
		return s.Auth.JWTSecretRef
	case variable == config.S3CA.Name && s.Storage != nil:
		return s.Storage.CASecretRef
	case s.Storage == nil || s.Storage.CredentialsSecretRef == nil:
		return nil
	case variable == config.S3AccessKey.Name:
		return &assetv1.SecretKeyRef{Name: s.Storage.CredentialsSecretRef.Name, Key: s.Storage.CredentialsSecretRef.AccessKey}
	case variable == config.S3SecretKey.Name:
		return &assetv1.SecretKeyRef{Name: s.Storage.CredentialsSecretRef.Name, Key: s.Storage.CredentialsSecretRef.SecretKey}
	}
	return nil
}

// credentialLookup reads keys, and keeps which are missing.
type credentialLookup struct {
	ctx       context.Context
	reader    *secretReader
	platform  types.NamespacedName
	generated map[string]map[string][]byte

	lacks   []lack // in the order of the spec
	missing int    // how many references lead nowhere; several may be in one lack
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
		c.JWTSecret = strings.TrimSpace(l.own(manifests.AuthSecretName(ap), manifests.KeyJWTSecret)) // as the server does
	}
	if s := ap.Spec.Storage; s != nil {
		c.S3CA = l.key("spec.storage.caSecretRef", s.CASecretRef)
	}
	c.Extra = l.extra(ap)
	for i, ref := range ap.Spec.Auth.VerifySecretRefs {
		c.JWTVerifySecrets = append(c.JWTVerifySecrets, l.key(fmt.Sprintf("spec.auth.verifySecretRefs[%d]", i), &ref))
	}
	return c
}

// extra are the variables that the user gives the server from Secrets. Those of the contract come from the spec's other
// fields, whatever the Secret holds: the file that a studio has them all in can be taken as it is.
func (l *credentialLookup) extra(ap *assetv1.AssetPlatform) map[string]string {
	variables := map[string]string{}
	for i, from := range ap.Spec.Server.EnvFrom {
		all, _ := l.all(fmt.Sprintf("spec.server.envFrom[%d]", i), from.SecretRef.Name)
		for name, value := range all {
			if !manifests.IsContract(name) {
				variables[name] = string(value)
			}
		}
	}
	for _, extra := range ap.Spec.Server.ExtraEnv {
		delete(variables, extra.Name)
		if extra.ValueFrom != nil {
			variables[extra.Name] = l.key("spec.server.extraEnv "+extra.Name, &extra.ValueFrom.SecretKeyRef)
		}
	}
	if len(variables) == 0 {
		return nil
	}
	return variables
}

func (l *credentialLookup) own(secret, key string) string { return string(l.generated[secret][key]) }

// all reads a Secret that a field of the spec names, if it is there. keys are those that should be in it.
func (l *credentialLookup) all(field, name string, keys ...string) (data map[string][]byte, found bool) {
	if l.err != nil {
		return nil, false
	}
	data, err := l.reader.data(l.ctx, l.platform, name)
	if apierrors.IsNotFound(err) {
		l.lack(lack{secret: name, absent: true}, field, keys...)
	} else if err != nil {
		l.err = fmt.Errorf("read Secret %s: %w", name, err)
	}
	return data, err == nil
}

// key reads one key that a field of the spec names, empty if it is not there.
func (l *credentialLookup) key(field string, ref *assetv1.SecretKeyRef) string {
	if ref == nil {
		return ""
	}
	data, found := l.all(field, ref.Name, ref.Key)
	value := strings.TrimSpace(string(data[ref.Key])) // files made with an editor end in a newline
	if value == "" && found {
		l.lack(lack{secret: ref.Name}, field, ref.Key)
	}
	return value
}

// lack is a Secret that is absent, or keys that are not in it, and the fields of the spec that name them.
type lack struct {
	secret       string
	absent       bool
	fields, keys []string
}

func (l *credentialLookup) lack(what lack, field string, keys ...string) {
	l.missing++
	i := slices.IndexFunc(l.lacks, func(k lack) bool { return k.secret == what.secret && k.absent == what.absent })
	if i < 0 {
		i, l.lacks = len(l.lacks), append(l.lacks, what)
	}
	k := &l.lacks[i]
	if !slices.Contains(k.fields, field) {
		k.fields = append(k.fields, field)
	}
	for _, key := range keys {
		if !slices.Contains(k.keys, key) {
			k.keys = append(k.keys, key)
		}
	}
}

// finding says what to do, for all that is wrong with a Secret at once.
func (k lack) finding(namespace string) *finding {
	keys := "the key" + plural(k.keys) + " " + listed(k.keys, "and")
	where, correct := "Secret "+k.secret, ", or correct "+listed(k.fields, "and")
	if !k.absent {
		return &finding{
			reason: assetv1.ReasonSecretKeyMissing, where: where,
			problem: fmt.Sprintf("Secret %s has no value under %s, named by %s", k.secret, keys, listed(k.fields, "and")),
			remedy:  "add the key" + plural(k.keys) + " to the Secret" + correct,
		}
	}
	f := &finding{
		reason: assetv1.ReasonSecretNotFound, where: where,
		problem: fmt.Sprintf("Secret %s, named by %s, does not exist in namespace %s", k.secret, listed(k.fields, "and"), namespace),
		remedy:  "create it",
	}
	if len(k.keys) > 0 {
		f.remedy += " with " + keys
	}
	f.remedy += correct
	return f
}
