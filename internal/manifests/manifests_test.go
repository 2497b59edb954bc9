package manifests

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

// samples are the platforms of config/samples, by file name.
func samples(t testing.TB) map[string]*assetv1.AssetPlatform {
	t.Helper()
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	all := map[string]*assetv1.AssetPlatform{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			var kind metav1.TypeMeta
			if err := yaml.Unmarshal(document, &kind); err != nil {
				t.Fatal(file, err)
			}
			if kind.Kind != "AssetPlatform" {
				continue
			}
			ap := &assetv1.AssetPlatform{}
			if err := yaml.UnmarshalStrict(document, ap); err != nil {
				t.Fatal(file, err)
			}
			ap.UID = "unknown" // as in `assetplatform plan`
			all[strings.TrimSuffix(filepath.Base(file), ".yaml")] = ap
		}
	}
	return all
}

// plan is what `assetplatform plan --offline` prints, object by object.
func plan(ap *assetv1.AssetPlatform) []client.Object {
	objects, job := Plan(ap, OfflineFacts(ap, DefaultImages))
	return append(objects, job)
}

// The plan of every sample is the one in testdata; with -update it is written there.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, ap := range samples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			for _, o := range plan(ap) {
				text, err := PlanYAML(o)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(text)
			}
			file := filepath.Join("testdata", name+".golden.yaml")
			if *updateGolden {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("the plan differs from %s: look at it with go test ./internal/manifests -update && git diff", file)
			}
		})
	}
}

// What a migration is for must not change with the operator: a new version that
// computes it otherwise would migrate every platform again.
func TestMigrationTargetIsPinned(t *testing.T) {
	t.Parallel()
	ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: "games"}}
	const image = "ghcr.io/assetplatform/assetplatform:v0.1.0"
	for _, test := range []struct{ url, direct, target, job string }{
		{"postgres://u:p@db.example.com:5432/assets?sslmode=require", "", "70bd6d9a64", "studio-migrate-800cc9a45e"},
		{"postgres://u:p@db.example.com:6432/assets", "postgres://u:p@db.example.com:5432/assets", "e6399b11cc", "studio-migrate-b24fbb6da0"},
	} {
		f := Facts{TargetImage: image, Attempt: 7, Credentials: Credentials{DatabaseURL: test.url, DatabaseDirectURL: test.direct}}
		if got := f.MigrationTarget(); got != test.target {
			t.Errorf("target %s, want %s", got, test.target)
		}
		if got := MigrateJob(ap, f).Name; got != test.job {
			t.Errorf("Job %s, want %s", got, test.job)
		}
	}
}

// The database is known by its address: not by who logs in, nor how.
func TestDatabaseID(t *testing.T) {
	t.Parallel()
	id := func(url, direct string) string {
		return Facts{Credentials: Credentials{DatabaseURL: url, DatabaseDirectURL: direct}}.DatabaseID()
	}
	base := id("postgres://u:p@db.example.com:5432/assets", "")
	for _, same := range []string{"postgres://other:word@db.example.com:5432/assets", "postgresql://u:p@DB.example.com/assets?sslmode=require"} {
		if id(same, "") != base {
			t.Errorf("%s is another database", same)
		}
	}
	for _, other := range []string{"postgres://u:p@db2.example.com:5432/assets", "postgres://u:p@db.example.com:5433/assets", "postgres://u:p@db.example.com:5432/other"} {
		if id(other, "") == base || id(other, "postgres://u:p@db.example.com:5432/assets") == base {
			t.Errorf("%s is the same database", other)
		}
	}
}

// longNames are names at and around the longest that is admitted.
func longNames() []string {
	long := strings.Repeat("a-longname", 7)
	return []string{"a", "studio", long[:41], long[:43], long[:53], long[:54], long[:62] + "x", long[:61] + "y", long[:62] + "z"}
}

// Children of long names have valid names, all different, and within each kind's limit.
func TestNamesOfChildren(t *testing.T) {
	t.Parallel()
	all := map[string]string{}
	for _, name := range longNames() {
		for sample, ap := range samples(t) {
			ap.Name, ap.Namespace = name, "games"
			for _, o := range plan(ap) {
				limit := maxName
				if o.GetObjectKind().GroupVersionKind().Kind == "StatefulSet" {
					limit = 52 // "<name>-<10 characters>" becomes a label's value
				}
				if len(o.GetName()) > limit {
					t.Errorf("%s %s has %d characters", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), len(o.GetName()))
				}
				if wrong := validation.IsDNS1035Label(o.GetName()); len(wrong) > 0 {
					t.Errorf("%s: %v", o.GetName(), wrong)
				}
				for _, value := range o.GetLabels() {
					if wrong := validation.IsValidLabelValue(value); len(wrong) > 0 {
						t.Errorf("label %s: %v", value, wrong)
					}
				}
				key := sample + o.GetObjectKind().GroupVersionKind().Kind + o.GetName()
				if other, taken := all[key]; taken && other != name {
					t.Errorf("%s of %s is one of %s as well", o.GetName(), name, other)
				}
				all[key] = name
			}
		}
	}
}

// Two platforms never have a child of one name, unless one's name is made to look like the other's child.
func FuzzChildNames(f *testing.F) {
	f.Add("studio", "studio2", "server")
	long := strings.Repeat("x", 63)
	f.Add(long, long[:62]+"y", "migrate-0123456789")
	f.Fuzz(func(t *testing.T, a, b, suffix string) {
		if len(validation.IsDNS1035Label(a)) > 0 || len(validation.IsDNS1035Label(b)) > 0 || len(validation.IsDNS1035Label(suffix)) > 0 || len(suffix) > 30 || a == b {
			return // not names
		}
		platform := func(name string) *assetv1.AssetPlatform {
			return &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: name}}
		}
		left, right := childName(platform(a), suffix), childName(platform(b), suffix)
		if left == right {
			t.Errorf("%s and %s both have a child %s", a, b, left)
		}
		if wrong := validation.IsDNS1035Label(left); len(wrong) > 0 {
			t.Errorf("%s: %v", left, wrong)
		}
	})
}

// Every pod is admitted at the restricted level.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	pods := 0
	for name, ap := range samples(t) {
		for _, o := range plan(ap) {
			template, ok := podTemplateOf(o)
			if !ok {
				continue
			}
			pods++
			for _, result := range evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s (%s)", name, o.GetName(), result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			if template.Spec.SecurityContext.RunAsUser == nil || *template.Spec.SecurityContext.RunAsUser != 1001 ||
				!*template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem || *template.Spec.AutomountServiceAccountToken {
				t.Errorf("%s: %s: not uid 1001, a read-only root and no token", name, o.GetName())
			}
		}
	}
	if pods < 8 {
		t.Errorf("only %d pods were looked at", pods)
	}
}

// Values of secret variables are in Secrets only, and `plan` does not show them.
func TestPlanShowsNoSecrets(t *testing.T) {
	t.Parallel()
	for name, ap := range samples(t) {
		f := OfflineFacts(ap, DefaultImages)
		f.Credentials = Credentials{
			DatabaseURL: "postgres://u:sesame@h/d", DatabaseDirectURL: "postgres://u:sesame@i/d", RedisURL: "redis://:sesame@h",
			JWTSecret: "sesame", JWTVerifySecrets: []string{"sesame"}, S3AccessKey: "sesame", S3SecretKey: "sesame",
		}
		objects, job := Plan(ap, f)
		for _, o := range append(objects, client.Object(job)) {
			text, err := PlanYAML(o)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("sesame")) || bytes.Contains(text, []byte("c2VzYW1l")) {
				t.Errorf("%s: %T %s shows a secret", name, o, o.GetName())
			}
			if _, secret := o.(*corev1.Secret); !secret && strings.Contains(fmt.Sprintf("%+v", o), "sesame") {
				t.Errorf("%s: %T %s holds a secret", name, o, o.GetName())
			}
		}
	}
}

// The copies of credentials tell them again.
func TestCopiedCredentials(t *testing.T) {
	t.Parallel()
	ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: "games"}}
	for _, c := range []Credentials{
		{DatabaseURL: ManagedDatabaseURL(ap, "p@ss/wörd"), RedisURL: "redis://r", JWTSecret: "j"},
		{
			DatabaseURL: "postgres://d", DatabaseDirectURL: "postgres://direct", RedisURL: "redis://r",
			JWTSecret: "j", JWTVerifySecrets: []string{"old", "older"}, S3AccessKey: "a", S3SecretKey: "s",
			S3CA: "-----BEGIN", Extra: map[string]string{"HTTPS_PROXY": "http://p"},
		},
	} {
		f := Facts{Credentials: c}
		if got := CopiedCredentials(ServerSecret(ap, f), MigrateSecret(ap, f)); !reflect.DeepEqual(got, c) {
			t.Errorf("%+v came back as %+v", c, got)
		}
	}
	if got := ManagedDatabasePassword(ManagedDatabaseURL(ap, "p@ss/wörd")); got != "p@ss/wörd" {
		t.Errorf("password %q", got)
	}
}

// Where credentials come from changes with every reference, and with nothing else.
func TestCredentialsOf(t *testing.T) {
	t.Parallel()
	ap := &assetv1.AssetPlatform{Spec: assetv1.AssetPlatformSpec{
		Database: &assetv1.DatabaseSpec{SecretRef: &assetv1.SecretKeyRef{Name: "s", Key: "d"}},
		Cache:    &assetv1.CacheSpec{SecretRef: &assetv1.SecretKeyRef{Name: "s", Key: "c"}},
		Storage:  &assetv1.StorageSpec{Bucket: "b", CredentialsSecretRef: &assetv1.S3CredentialsRef{Name: "s"}},
	}}
	base := CredentialsOf(ap)
	for name, test := range map[string]struct {
		edit func(*assetv1.AssetPlatformSpec)
		same bool
	}{
		"replicas":   {func(s *assetv1.AssetPlatformSpec) { s.Replicas = new(int32(7)) }, true},
		"bucket":     {func(s *assetv1.AssetPlatformSpec) { s.Storage.Bucket = "other" }, true},
		"database":   {func(s *assetv1.AssetPlatformSpec) { s.Database.SecretRef.Name = "other" }, false},
		"direct":     {func(s *assetv1.AssetPlatformSpec) { s.Database.DirectSecretRef = s.Database.SecretRef }, false},
		"managed":    {func(s *assetv1.AssetPlatformSpec) { s.Database = nil }, false},
		"cache":      {func(s *assetv1.AssetPlatformSpec) { s.Cache.SecretRef.Key = "other" }, false},
		"keys":       {func(s *assetv1.AssetPlatformSpec) { s.Storage.CredentialsSecretRef.Name = "other" }, false},
		"identity":   {func(s *assetv1.AssetPlatformSpec) { s.Storage.CredentialsSecretRef = nil }, false},
		"own bucket": {func(s *assetv1.AssetPlatformSpec) { s.Storage = nil }, false},
		"signing":    {func(s *assetv1.AssetPlatformSpec) { s.Auth.JWTSecretRef = s.Database.SecretRef }, false},
		"verifying": {func(s *assetv1.AssetPlatformSpec) {
			s.Auth.VerifySecretRefs = []assetv1.SecretKeyRef{{Name: "s", Key: "v"}}
		}, false},
	} {
		edited := ap.DeepCopy()
		test.edit(&edited.Spec)
		if same := CredentialsOf(edited) == base; same != test.same {
			t.Errorf("another %s: the same source is %v", name, same)
		}
	}
}
