package manifests

import (
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// ServerConfigMap holds every server variable that is no secret. Its name ends in
// the hash of its content: a change makes a new one, rolls the pods, and a
// rollback finds the old one.
func ServerConfigMap(ap *assetv1.AssetPlatform) *corev1.ConfigMap {
	data := serverConfig(ap)
	return &corev1.ConfigMap{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "ConfigMap"),
		ObjectMeta: meta(ap, ComponentServer, childName(ap, "server-"+hash(data))),
		Immutable:  ptr.To(true),
		Data:       data,
	}
}

// serverConfig is what the spec says, as the server's variables. Variables whose
// value is the contract's default are left to it.
func serverConfig(ap *assetv1.AssetPlatform) map[string]string {
	s := ap.Spec.Server
	v := variables{
		config.LogLevel:       s.LogLevel,
		config.AllowedOrigins: strings.Join(s.AllowedOrigins, ","),
		config.TrustedProxies: strings.Join(s.TrustedProxies, ","),
	}
	if ServesTLS(ap) {
		v[config.TLSCertFile], v[config.TLSKeyFile] = config.TLSDirectory+"/"+corev1.TLSCertKey, config.TLSDirectory+"/"+corev1.TLSPrivateKeyKey
	}
	if q := s.MaxFileSize.Image; q != nil {
		v[config.MaxFileSizeImage] = strconv.FormatInt(q.Value(), 10)
	}
	if q := s.MaxFileSize.Audio; q != nil {
		v[config.MaxFileSizeAudio] = strconv.FormatInt(q.Value(), 10)
	}
	if d := s.TrashRetention; d != nil {
		v[config.TrashRetention] = d.Duration.String()
	}
	if d := s.AuditRetention; d != nil {
		v[config.AuditRetention] = d.Duration.String()
	}
	for variable, n := range map[config.Var]*int32{
		config.RateLimitLoginAccount: s.RateLimits.LoginAccount, config.RateLimitLoginAddress: s.RateLimits.LoginAddress,
		config.RateLimitRegister: s.RateLimits.Register, config.RateLimitGeneral: s.RateLimits.General, config.RateLimitUpload: s.RateLimits.Upload,
	} {
		if n != nil {
			v[variable] = strconv.Itoa(int(*n))
		}
	}
	maps.Copy(v, bucketVariables(ap))
	out := v.set()
	for _, extra := range s.ExtraEnv {
		if extra.Value != nil {
			out[extra.Name] = *extra.Value
		}
	}
	return out
}

// bucketVariables say where the assets' bytes are.
func bucketVariables(ap *assetv1.AssetPlatform) variables {
	if b := ap.Spec.Storage; ManagedStorage(ap) == nil {
		return variables{config.S3Bucket: b.Bucket, config.S3Prefix: b.Prefix, config.S3Region: b.Region, config.S3Endpoint: b.Endpoint}
	}
	return variables{config.S3Bucket: s3Bucket, config.S3Endpoint: "http://" + serviceHost(ap, S3Name(ap), s3Port)}
}

// maxFileSize is a limit of the spec, or the contract's default, in bytes.
func maxFileSize(q *resource.Quantity, v config.Var) int64 {
	if q != nil {
		return q.Value()
	}
	size, err := strconv.ParseInt(v.Default, 10, 64)
	if err != nil {
		panic(v.Name + " has a default that is no number")
	}
	return size
}

// variables are values for variables of the contract.
type variables map[config.Var]string

// set returns the variables that have a value.
func (v variables) set() map[string]string {
	out := map[string]string{}
	for variable, value := range v {
		if value != "" {
			out[variable.Name] = value
		}
	}
	return out
}

// environmentSecret is a copy of credentials, whose name ends in the hash of its content.
func environmentSecret(ap *assetv1.AssetPlatform, c Component, v variables) *corev1.Secret {
	data := map[string][]byte{}
	for name, value := range v.set() {
		data[name] = []byte(value)
	}
	secret := &corev1.Secret{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "Secret"),
		ObjectMeta: meta(ap, c, childName(ap, string(c)+"-"+hash(data))),
		Immutable:  ptr.To(true),
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
	secret.Labels[LabelCredentialsOf] = CredentialsOf(ap)
	return secret
}

// environment is how a container of a component reads its variables; an empty name stands for none.
func environment(configMap, secret string) []corev1.EnvFromSource {
	var from []corev1.EnvFromSource
	if configMap != "" {
		from = append(from, corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}}})
	}
	return append(from, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}})
}

func typeMeta(gv interface{ String() string }, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: gv.String(), Kind: kind}
}
