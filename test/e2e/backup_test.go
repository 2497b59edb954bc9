//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// vault is a bucket for backups, in another platform's S3 server.
type vault struct {
	store    *s3.Client
	endpoint string // as pods see it
	keys     map[string][]byte
}

const (
	vaultBucket = "backups"
	vaultPrefix = "games/studio/"
)

// newVault makes one in a namespace of its own.
func newVault(t *testing.T, namespace string) vault {
	t.Helper()
	ap := small(newNamespace(t, namespace), "vault")
	ap.Spec.Replicas = new(int32(0))                      // only its S3 server is of use here,
	ap.Spec.Networking.NetworkPolicy.Enabled = new(false) // and to others
	create(t, ap)
	waitReady(t, ap)
	v := vault{keys: secretOf(t, ap, "vault-s3"), endpoint: "http://vault-s3." + namespace + ".svc:7070"}
	v.store = bucketClient(t, ap, v.keys)
	createBucket(t, v.store, vaultBucket)
	return v
}

// destination is the vault, for a platform that has its secret.
func (v vault) destination() assetv1.BackupDestination {
	return assetv1.BackupDestination{Name: "primary", BackupBucket: assetv1.BackupBucket{
		Bucket: vaultBucket, Prefix: vaultPrefix, Endpoint: v.endpoint, CredentialsSecretRef: &assetv1.S3CredentialsRef{Name: "backup-keys"},
	}}
}

// secret is what opens the vault, for a namespace.
func (v vault) secret(namespace string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "backup-keys"}, Data: map[string][]byte{
		"s3-access-key": v.keys["s3-access-key"], "s3-secret-key": v.keys["s3-secret-key"],
	}}
}

func (v vault) get(t *testing.T, key string) []byte {
	t.Helper()
	got, err := v.store.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(vaultBucket), Key: aws.String(vaultPrefix + key)})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	content, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (v vault) put(t *testing.T, key string, content []byte) {
	t.Helper()
	if _, err := v.store.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(vaultBucket), Key: aws.String(vaultPrefix + key), Body: bytes.NewReader(content)}); err != nil {
		t.Fatal(err)
	}
}

func (v vault) remove(t *testing.T, key string) {
	t.Helper()
	if _, err := v.store.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(vaultBucket), Key: aws.String(vaultPrefix + key)}); err != nil {
		t.Fatal(err)
	}
}

// backUp makes a set, and returns its id.
func backUp(t *testing.T, ap *assetv1.AssetPlatform, name string) string {
	t.Helper()
	b := &assetv1.AssetBackup{ObjectMeta: metav1.ObjectMeta{Namespace: ap.Namespace, Name: name}, Spec: assetv1.AssetBackupSpec{Platform: ap.Name}}
	create(t, b)
	started := time.Now()
	if out, err := kubectl("", "-n", ap.Namespace, "wait", "--for=condition=Complete", "ab/"+name, "--timeout=180s"); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, mustKubectl(t, "-n", ap.Namespace, "get", "ab", name, "-o", "yaml"))
	}
	if err := cluster.Get(ctx, client.ObjectKeyFromObject(b), b); err != nil {
		t.Fatal(err)
	}
	t.Logf("%5.1f s until set %s was verified", time.Since(started).Seconds(), b.Status.Set)
	return b.Status.Set
}

// A studio loses everything but its backups, and follows the runbook: what was uploaded before the set is there again, in another namespace
// on other storage, and what people knew there still opens it. Then the drill proves what can be restored, and finds what cannot.
func TestDisaster(t *testing.T) {
	t.Parallel()
	vault := newVault(t, "vault")
	ap := small(newNamespace(t, "doomed"), "studio")
	ap.Spec.DeletionPolicy = assetv1.DeletionDelete
	ap.Spec.Backup = &assetv1.BackupSpec{
		Destinations: []assetv1.BackupDestination{vault.destination()},
		Drill:        &assetv1.BackupDrill{},
	}
	create(t, vault.secret(ap.Namespace))
	create(t, ap)
	waitReady(t, ap)
	u := register(t, ap, "artist")
	content := picture(t)
	id := u.upload(t, "hero.png", content)
	set := backUp(t, ap, "nightly")
	waitFor(t, ap, assetv1.ConditionBackupHealthy, metav1.ConditionTrue, set)
	lost := u.upload(t, "too late.png", picture(t))

	mustKubectl(t, "delete", "namespace", ap.Namespace, "--timeout=240s")
	object := filepath.Join(t.TempDir(), "platform.yaml")
	if err := os.WriteFile(object, vault.get(t, "sets/"+set+"/platform.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	follow(t, "Everything is lost", "TARGET=rebuilt", "PLATFORM=studio", "PLATFORM_FILE="+object, "BACKUP_BUCKET="+vaultBucket, "BACKUP_PREFIX="+vaultPrefix, "BACKUP_ENDPOINT="+vault.endpoint,
		"BACKUP_ACCESS_KEY="+string(vault.keys["s3-access-key"]), "BACKUP_SECRET_KEY="+string(vault.keys["s3-secret-key"]))
	newNamespace(t, "rebuilt") // it is there: it is cleaned up
	ap = small("rebuilt", "studio")
	waitReady(t, ap)
	u = login(t, ap, "artist")
	u.mustDownload(t, id, content)
	if err := u.download(lost, nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what was uploaded after the set: %v", err)
	}
	eventually(t, func() error { // thumbnails are made anew
		_, err := u.send("GET", "/api/assets/"+id+"/thumbnail", "", nil)
		return err
	})

	backUp(t, ap, "after")
	regretted := u.upload(t, "regretted.png", picture(t))
	follow(t, "Something was deleted, or went wrong", "NAMESPACE=rebuilt", "PLATFORM=studio", "BEFORE="+time.Now().UTC().Format(time.RFC3339))
	u = login(t, ap, "artist")
	u.mustDownload(t, id, content)
	if err := u.download(regretted, nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what was uploaded after the set: %v", err)
	}
	testDrill(t, vault, ap, content)
}

// follow runs what a section of the runbook tells people to run, and prints how long it took.
func follow(t *testing.T, section string, variables ...string) {
	t.Helper()
	started := time.Now()
	command := exec.Command("bash", "-euo", "pipefail", "-c", runbook(t, section))
	command.Env = append(os.Environ(), variables...)
	out, err := command.CombinedOutput()
	t.Logf("%.1f s for the runbook's %q:\n%s", time.Since(started).Seconds(), section, out)
	if err != nil {
		t.Fatal(err)
	}
}

// testDrill proves the newest set, and then what is wrong with others, each by its own reason; content is an asset's.
func testDrill(t *testing.T, vault vault, ap *assetv1.AssetPlatform, content []byte) {
	drills := 0
	drill := func(status metav1.ConditionStatus, reason string) {
		t.Helper()
		drills++
		job := fmt.Sprintf("drill-%d", drills)
		started := time.Now()
		mustKubectl(t, "-n", ap.Namespace, "create", "job", "--from=cronjob/studio-drill-primary", job)
		eventually(t, func() error {
			if err := cluster.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
				return err
			}
			if d := ap.Status.Backup.Destinations[0].LastDrill; d == nil || d.Job != job {
				return fmt.Errorf("%s has not ended", job)
			}
			return nil
		})
		message := waitFor(t, ap, assetv1.ConditionRestoreProven, status)
		if got := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionRestoreProven).Reason; got != reason {
			t.Errorf("drill %d: %s: %s; want %s", drills, got, message, reason)
		}
		t.Logf("%5.1f s for a drill, %s by its own account", time.Since(started).Seconds(), ap.Status.Backup.Destinations[0].LastDrill.Duration.Duration)
	}
	set := backUp(t, ap, "drilled")
	drill(metav1.ConditionTrue, assetv1.ReasonProven)

	name := fmt.Sprintf("%x", sha256.Sum256(content)) // of a blob that the set has: the bucket also holds those of other sets
	key := "blobs/sha256/" + name[:2] + "/" + name
	whole := vault.get(t, key)
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 1
	vault.put(t, key, damaged)
	drill(metav1.ConditionFalse, "DrillBlobDamaged")
	vault.remove(t, key)
	drill(metav1.ConditionFalse, "DrillBlobMissing")
	vault.put(t, key, whole)

	key = "sets/" + set + "/database.dump"
	whole = vault.get(t, key)
	vault.put(t, key, whole[:len(whole)/2])
	drill(metav1.ConditionFalse, "DrillDumpUnreadable")
	vault.put(t, key, whole)
	drill(metav1.ConditionTrue, assetv1.ReasonProven)

	mustKubectl(t, "-n", ap.Namespace, "exec", "studio-postgres-0", "--", "psql", "-h", "/tmp", "-U", "assets", "-d", "assets", "-c", "alter table assets rename column original_name to name")
	backUp(t, ap, "renamed")
	drill(metav1.ConditionFalse, "DrillServeFailed")
}

// runbook is what a section of the runbook tells people to run.
func runbook(t *testing.T, section string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## "+section+"\n")
	rest, _, _ = strings.Cut(rest, "\n## ")
	_, script, found := strings.Cut(rest, "```sh\n")
	script, _, ended := strings.Cut(script, "```\n")
	if !found || !ended {
		t.Fatalf("docs/runbook.md has no commands in section %q", section)
	}
	return script
}
