package manifests

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

func podTemplateOf(o client.Object) (corev1.PodTemplateSpec, bool) {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return o.Spec.Template, true
	case *appsv1.StatefulSet:
		return o.Spec.Template, true
	case *batchv1.Job:
		return o.Spec.Template, true
	}
	return corev1.PodTemplateSpec{}, false
}

// credentials are values that load, different from each other.
func credentials(ap *assetv1.AssetPlatform) Credentials {
	c := Credentials{
		DatabaseURL: "postgres://u:p@db.example.com:5432/assets", RedisURL: "redis://:p@redis.example.com:6379/0",
		JWTSecret: "signs", S3AccessKey: "access", S3SecretKey: "secret",
	}
	if d := ap.Spec.Database; d != nil && d.DirectSecretRef != nil {
		c.DatabaseDirectURL = "postgres://u:p@direct.example.com:5432/assets"
	}
	for i := range ap.Spec.Auth.VerifySecretRefs {
		c.JWTVerifySecrets = append(c.JWTVerifySecrets, fmt.Sprint("verifies", i))
	}
	if s := ap.Spec.Storage; s != nil && s.Managed == nil && s.CredentialsSecretRef == nil {
		c.S3AccessKey, c.S3SecretKey = "", ""
	}
	for _, extra := range ap.Spec.Server.ExtraEnv {
		if extra.ValueFrom != nil {
			c.Extra = map[string]string{extra.Name: "hidden"}
		}
	}
	return c
}

// environmentOf is what a container's process would find, and which of it came from Secrets.
func environmentOf(t *testing.T, c corev1.Container, objects []client.Object) (values map[string]string, secret map[string]bool) {
	t.Helper()
	values, secret = map[string]string{}, map[string]bool{}
	for _, from := range c.EnvFrom {
		found := false
		for _, o := range objects {
			switch o := o.(type) {
			case *corev1.ConfigMap:
				if from.ConfigMapRef != nil && from.ConfigMapRef.Name == o.Name {
					found = true
					for k, v := range o.Data {
						values[k] = v
					}
				}
			case *corev1.Secret:
				if from.SecretRef != nil && from.SecretRef.Name == o.Name {
					found = true
					for k, v := range o.Data {
						values[k], secret[k] = string(v), true
					}
				}
			}
		}
		if !found {
			t.Errorf("container %s reads %+v, which is not among the objects", c.Name, from)
		}
	}
	for _, v := range c.Env {
		values[v.Name] = v.Value
	}
	return values, secret
}

// The pods that are built give the processes in them what the spec says: every sample is
// built, and read back as the server and the migration read it.
func TestContractRoundTrip(t *testing.T) {
	t.Parallel()
	commands := []string{config.CommandServer, config.CommandMigrate}
	for name, ap := range samples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := OfflineFacts(ap, DefaultImages)
			f.Credentials = credentials(ap)
			objects, job := Plan(ap, f)
			objects = append(objects, job)
			loaded := 0
			for _, o := range objects {
				template, ok := podTemplateOf(o)
				if !ok || !slices.ContainsFunc(template.Spec.Containers[0].EnvFrom, func(corev1.EnvFromSource) bool { return true }) {
					continue // a managed part runs somebody else's program
				}
				c := template.Spec.Containers[0]
				if len(c.Args) == 0 || !slices.Contains(commands, c.Args[0]) || len(c.Command) > 0 {
					t.Fatalf("%s starts %v %v", o.GetName(), c.Command, c.Args)
				}
				values, secret := environmentOf(t, c, objects)
				get := func(name string) string { return values[name] }
				loaded++
				if c.Args[0] == config.CommandMigrate {
					checkVariables(t, config.MigrateVars, values, secret)
					got, err := config.LoadMigrate(get)
					if want := wantMigrate(f.Credentials); err != nil || got != want {
						t.Errorf("the migration reads %+v, want %+v: %v", got, want, err)
					}
					continue
				}
				for _, extra := range ap.Spec.Server.ExtraEnv {
					want, hidden := "", extra.ValueFrom != nil
					if want = f.Credentials.Extra[extra.Name]; !hidden {
						want = *extra.Value
					}
					if values[extra.Name] != want || secret[extra.Name] != hidden {
						t.Errorf("%s is %q, from a Secret %t; want %q, %t", extra.Name, values[extra.Name], secret[extra.Name], want, hidden)
					}
					delete(values, extra.Name)
				}
				checkVariables(t, config.ServerVars, values, secret)
				got, err := config.LoadServer(get)
				if want := wantServer(t, ap, f.Credentials); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("the server reads\n%+v, want\n%+v: %v", got, want, err)
				}
				for _, port := range c.Ports {
					tls := int(port.ContainerPort) == got.TLSPort && got.TLSCertFile != ""
					if int(port.ContainerPort) != got.Port && int(port.ContainerPort) != got.MetricsPort && !tls {
						t.Errorf("port %d is not listened on", port.ContainerPort)
					}
				}
			}
			if loaded != 2 {
				t.Errorf("%d containers of ours, want server and migrate", loaded)
			}
		})
	}
}

// checkVariables: only names of the contract, all that are required, secret ones from Secrets and no others.
func checkVariables(t *testing.T, contract []config.Var, values map[string]string, secret map[string]bool) {
	t.Helper()
	known := map[string]bool{}
	for _, v := range contract {
		known[v.Name] = true
		if _, set := values[v.Name]; v.Required && !set {
			t.Errorf("%s is required and not set", v.Name)
		} else if set && secret[v.Name] != v.Secret {
			t.Errorf("%s: from a Secret %t, want %t", v.Name, secret[v.Name], v.Secret)
		}
	}
	for name := range values {
		if !known[name] {
			t.Errorf("%s is not in the contract", name)
		}
	}
}

func wantMigrate(c Credentials) config.Migrate {
	m := config.Migrate{DatabaseURL: c.DatabaseURL}
	if c.DatabaseDirectURL != "" {
		m.DatabaseURL = c.DatabaseDirectURL
	}
	return m
}

// wantServer is the spec, read by a person.
func wantServer(t *testing.T, ap *assetv1.AssetPlatform, c Credentials) config.Server {
	t.Helper()
	s := ap.Spec.Server
	want := config.Server{
		Port: 3000, MetricsPort: 9090, TLSPort: 3443, DrainDelay: 5 * time.Second, AllowedOrigins: s.AllowedOrigins,
		DatabaseURL: c.DatabaseURL, RedisURL: c.RedisURL, JWTSecret: c.JWTSecret, JWTVerifySecrets: c.JWTVerifySecrets,
		Bucket:           config.Bucket{Region: "us-east-1", AccessKey: c.S3AccessKey, SecretKey: c.S3SecretKey},
		MaxFileSizeImage: 10 << 20, MaxFileSizeAudio: 50 << 20, TrashRetention: 720 * time.Hour, AuditRetention: 8760 * time.Hour,
		RateLimits: config.RateLimits{LoginAccount: 5, LoginAddress: 30, Register: 20, General: 600, Upload: 1000},
	}
	if n := ap.Spec.Networking; n.TLS != nil && n.Ingress == nil && n.Gateway == nil {
		want.TLSCertFile, want.TLSKeyFile = "/etc/assetplatform/tls/tls.crt", "/etc/assetplatform/tls/tls.key"
	}
	if s.LogLevel != "" {
		if err := want.LogLevel.UnmarshalText([]byte(s.LogLevel)); err != nil {
			t.Fatal(err)
		}
	}
	for _, cidr := range s.TrustedProxies {
		want.TrustedProxies = append(want.TrustedProxies, netip.MustParsePrefix(cidr))
	}
	if q := s.MaxFileSize.Image; q != nil {
		want.MaxFileSizeImage = q.Value()
	}
	if q := s.MaxFileSize.Audio; q != nil {
		want.MaxFileSizeAudio = q.Value()
	}
	if d := s.TrashRetention; d != nil {
		want.TrashRetention = d.Duration
	}
	if d := s.AuditRetention; d != nil {
		want.AuditRetention = d.Duration
	}
	if n := s.RateLimits.LoginAccount; n != nil { // full.yaml has all of them, or none
		want.RateLimits = config.RateLimits{
			LoginAccount: int(*n), LoginAddress: int(*s.RateLimits.LoginAddress), Register: int(*s.RateLimits.Register),
			General: int(*s.RateLimits.General), Upload: int(*s.RateLimits.Upload),
		}
	}
	if b := ap.Spec.Storage; b != nil && b.Managed == nil {
		want.Bucket.Name, want.Bucket.Prefix, want.Bucket.Endpoint = b.Bucket, b.Prefix, b.Endpoint
		if b.Region != "" {
			want.Bucket.Region = b.Region
		}
	} else {
		want.Bucket.Name, want.Bucket.Endpoint = "assets", "http://"+ap.Name+"-s3."+ap.Namespace+".svc:7070"
	}
	return want
}
