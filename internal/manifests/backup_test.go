package manifests

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// backupFacts are values for the sample "full" that load, different from each other, and the key that signs.
func backupFacts(t *testing.T, ap *assetv1.AssetPlatform) (Facts, ed25519.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	f := OfflineFacts(ap, DefaultImages)
	f.Credentials = credentials(ap)
	f.ServingImage = f.TargetImage
	f.Backup = BackupFacts{
		Destinations: map[string]DestinationCredentials{
			"primary": {AccessKey: "writer", SecretKey: "writes", RemoverAccessKey: "remover", RemoverSecretKey: "removes"}, "far": {},
		},
		SigningKey: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), Identity: "AGE-SECRET-KEY-1", DrillDatabaseURL: "postgres://drill", Migrated: true,
		Secrets: map[string]map[string][]byte{"database": {"url": []byte("hidden")}},
	}
	return f, public
}

// Each container of backups reads what the spec says, and no more than it needs: who makes sets cannot decrypt, who removes knows no
// platform, who drills neither writes nor knows the platform.
func TestBackupContract(t *testing.T) {
	t.Parallel()
	ap := samples(t)["full"]
	f, public := backupFacts(t, ap)
	f.Backup.DrillDatabaseURL = "" // so that the drill's pod has a server
	objects := Backups(ap, f)
	seen := map[string]bool{}
	for _, o := range objects {
		cron, ok := o.(*batchv1.CronJob)
		if !ok || cron.Labels[LabelDestination] != "primary" {
			continue
		}
		pod := cron.Spec.JobTemplate.Spec.Template.Spec
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			seen[c.Name] = true
			if c.RestartPolicy != nil {
				continue // a server
			}
			values, secret := environmentOf(t, c, objects)
			if values["HTTPS_PROXY"] == "" {
				t.Errorf("%s does not know the proxy", c.Name)
			}
			delete(values, "HTTPS_PROXY")
			source := c.Name == string(ComponentBackup)
			if source {
				checkVariables(t, config.BackupVars, values, secret)
			}
			got, err := config.LoadBackup(func(name string) string { return values[name] }, source)
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			want := config.Backup{
				Destination: config.Bucket{Name: "game-assets-backup", Prefix: "studio/", Region: "eu-west-1", Endpoint: "https://s3.backup.example.com", AccessKey: "writer", SecretKey: "writes"},
				VerifyKey:   public, Retention: config.BackupRetention{All: 48 * time.Hour, Daily: 30, Minimum: 7},
			}
			switch c.Name {
			case string(ComponentBackup):
				want.DatabaseURL, want.SigningKey, want.Recipients = f.Credentials.DatabaseDirectURL, got.SigningKey, ap.Spec.Backup.Encryption.Recipients
				want.Bucket = config.Bucket{Name: "game-assets", Prefix: "everything/", Region: "eu-central-1", Endpoint: "https://s3.example.com"}
			case ContainerPrune:
				want.RemoverAccessKey, want.RemoverSecretKey = "remover", "removes"
				want.Retention = config.BackupRetention{All: 24 * time.Hour, Daily: 60, Minimum: 10}
			case string(ComponentDrill):
				want.Identity = "AGE-SECRET-KEY-1"
			}
			got.LogLevel, got.DrillDatabaseURL, got.ScrubRuns, got.LiveDatabaseURLs = want.LogLevel, want.DrillDatabaseURL, want.ScrubRuns, want.LiveDatabaseURLs
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s reads\n%+v, want\n%+v", c.Name, got, want)
			}
			for name := range values {
				foreign := strings.HasPrefix(name, "S3_") || strings.HasPrefix(name, "DATABASE_")
				if foreign && !source || name == config.BackupSigningKey.Name && !source {
					t.Errorf("%s has %s", c.Name, name)
				}
			}
		}
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, []string{"backup", "drill", "postgres", "prune", "scrub"}) {
		t.Errorf("containers %v", got)
	}
}

// The object goes with the sets as anybody can apply it: the Secrets that it names with it only where the sets are encrypted.
func TestPlatformObject(t *testing.T) {
	t.Parallel()
	ap := samples(t)["full"]
	f, _ := backupFacts(t, ap)
	secret, ok := platformObject(ap, f).(*corev1.Secret)
	if !ok {
		t.Fatal("Secrets are in a ConfigMap")
	}
	if text := string(secret.Data[objectFile]); !strings.Contains(text, "kind: AssetPlatform\n") || !strings.Contains(text, "url: aGlkZGVu") || strings.Contains(text, "status") || strings.Contains(text, "uid") {
		t.Error(text)
	}
	f.Backup.Secrets = nil
	if plain, ok := platformObject(ap, f).(*corev1.ConfigMap); !ok || strings.Contains(plain.Data[objectFile], "kind: Secret") {
		t.Errorf("%+v", plain)
	}
}

// A restore reads the sets of another platform with what opens those, and its own database and bucket.
func TestRestoreContract(t *testing.T) {
	t.Parallel()
	ap := samples(t)["full"]
	f, _ := backupFacts(t, ap)
	requested := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Restore = &RestoreFacts{
		Object: &assetv1.AssetRestore{ObjectMeta: metav1.ObjectMeta{Name: "back", UID: "one", CreationTimestamp: metav1.NewTime(requested)}, Spec: assetv1.AssetRestoreSpec{
			RestoreSource: assetv1.RestoreSource{AllowMissing: true, RereadObjects: true}, Overwrite: ap.Name, NoSafetySet: true,
		}},
		Bucket: assetv1.BackupBucket{Bucket: "others"}, Credentials: DestinationCredentials{AccessKey: "reader", SecretKey: "reads"}, Identity: "AGE-SECRET-KEY-1",
	}
	job := RestoreJob(ap, f)
	values, secret := environmentOf(t, job.Spec.Template.Spec.Containers[0], Build(ap, f))
	delete(values, "HTTPS_PROXY")
	checkVariables(t, config.BackupVars, values, secret)
	got, err := config.LoadBackup(func(name string) string { return values[name] }, true)
	if err != nil || got.Destination.Name != "others" || got.Destination.AccessKey != "reader" || got.Identity == "" || got.SigningKey != nil || got.DatabaseURL != f.Credentials.DatabaseDirectURL || got.Bucket.Name != "game-assets" {
		t.Errorf("%+v, %v", got, err)
	}
	if owner := metav1.GetControllerOf(job); owner == nil || owner.UID != "one" || owner.Kind != "AssetRestore" {
		t.Errorf("%+v", owner)
	}
	if arguments := strings.Join(job.Spec.Template.Spec.Containers[0].Args, " "); arguments != "backup restore --platform="+ap.Namespace+"/"+ap.Name+" --id=one --before=2026-03-01T12:00:01Z --allow-missing --reread-objects --overwrite="+ap.Name+" --no-safety-set" {
		t.Error(arguments)
	}
	for want, source := range map[string]assetv1.RestoreSource{
		"--id=one --set=01KJMH8Y1A00000000000000A1": {Set: "01KJMH8Y1A00000000000000A1"}, "--id=one --before=2026-02-01T00:00:00Z": {Before: &metav1.Time{Time: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}},
	} {
		f.Restore.Object.Spec = assetv1.AssetRestoreSpec{RestoreSource: source}
		if arguments := strings.Join(restoreArguments(f.Restore.Object), " "); arguments != want {
			t.Errorf("%s, want %s", arguments, want)
		}
	}
}

// Without a schedule sets are made so often that the objective is met twice over, at times that come every hour, or every day, alike.
func TestBackupSchedule(t *testing.T) {
	t.Parallel()
	for rpo, want := range map[time.Duration]string{
		0: "0 2 * * *", 10 * time.Minute: "*/5 * * * *", 25 * time.Minute: "*/12 * * * *", time.Hour: "*/30 * * * *", 90 * time.Minute: "*/30 * * * *",
		2 * time.Hour: "0 * * * *", 5 * time.Hour: "0 */2 * * *", 24 * time.Hour: "0 */12 * * *", 47 * time.Hour: "0 */12 * * *", 48 * time.Hour: "0 2 * * *", 720 * time.Hour: "0 2 * * *",
	} {
		ap := &assetv1.AssetPlatform{Spec: assetv1.AssetPlatformSpec{Backup: &assetv1.BackupSpec{}}}
		if rpo > 0 {
			ap.Spec.Backup.Objectives.RPO = &metav1.Duration{Duration: rpo}
		}
		got := BackupSchedule(ap)
		pause, err := LongestPause(got, "Etc/UTC")
		if got != want || err != nil || rpo > 0 && pause > rpo/2 {
			t.Errorf("for %s: %s, %s apart (%v); want %s", rpo, got, pause, err, want)
		}
	}
}

func TestLongestPause(t *testing.T) {
	t.Parallel()
	for schedule, want := range map[string]time.Duration{
		"0 2 * * *": 24 * time.Hour, "*/40 * * * *": 40 * time.Minute, "@weekly": 7 * 24 * time.Hour, "0 9-17 * * *": 16 * time.Hour, "0 4 * * 0": 7 * 24 * time.Hour, "0 0 1 * *": 31 * 24 * time.Hour,
	} {
		if got, err := LongestPause(schedule, "Etc/UTC"); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", schedule, got, err, want)
		}
	}
	for _, wrong := range [][2]string{{"61 2 * * *", "Etc/UTC"}, {"0 2 30 2 *", "Etc/UTC"}, {"0 2 * * *", "Europe/Nowhere"}, {"TZ=Europe/Berlin 0 2 * * *", "Etc/UTC"}} {
		if pause, err := LongestPause(wrong[0], wrong[1]); err == nil {
			t.Errorf("%v: %s", wrong, pause)
		}
	}
}
