package backup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/checkout"
	"github.com/assetplatform/assetplatform/test/services"
)

// byHand is the script of docs/backups.md with these variables.
func byHand(t *testing.T, variables map[string]string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout.Root(), "docs", "backups.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Restore by hand\n")
	_, script, ok := strings.Cut(section, "\n```bash\n")
	script, _, ended := strings.Cut(script, "\n```\n")
	if !found || !ok || !ended {
		t.Fatal("docs/backups.md has no script in its section Restore by hand")
	}
	for name, value := range variables {
		line := regexp.MustCompile(`(?m)^` + name + `=.*$`)
		if len(line.FindAllString(script, -1)) != 1 {
			t.Fatalf("the script does not have one variable %s", name)
		}
		script = line.ReplaceAllLiteralString(script, name+"='"+value+"'")
	}
	return script
}

// A set is brought back without this program, by the script of the documentation: every row has its bytes.
func TestRestoreByHand(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed %v", sealed), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(12)
			p.exec(`update blobs set metadata = '{"width": 1}', width = 1`)
			settings, d := archive(t)
			identity := newIdentity(t)
			seal := func(o *CreateOptions) {
				if sealed {
					o.Recipients = append(o.Recipients, identity.Recipient())
				}
			}
			set := p.backUp(d, seal)
			p.fill(2) // a set has what was there
			p.backUp(d, seal)

			pg, dir := services.SharedPostgres(t), t.TempDir()
			q := &platform{t: t, url: pg.URL(pg.Empty(t)), settings: services.SharedS3(t).Bucket(t)}
			credentials := ""
			for profile, bucket := range map[string]config.Bucket{"from": settings, "to": q.settings} {
				credentials += fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", profile, bucket.AccessKey, bucket.SecretKey)
			}
			for name, text := range map[string]string{"credentials": credentials, "identity": identity.String() + "\n", "config": "[default]\nregion = us-east-1\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run := func() (string, error) {
				cmd := exec.Command("bash", "-c", byHand(t, map[string]string{
					"BACKUPS": "s3://" + settings.Name, "BACKUPS_ENDPOINT": settings.Endpoint, "BACKUPS_PROFILE": "from", "SET": set.ID,
					"ASSETS": "s3://" + q.settings.Name, "ASSETS_ENDPOINT": q.settings.Endpoint, "ASSETS_PROFILE": "to",
					"DATABASE": q.url, "IDENTITY": filepath.Join(dir, "identity"), "DIRECTORY": filepath.Join(dir, "restore"),
				}))
				cmd.Env = append(os.Environ(), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(dir, "credentials"), "AWS_CONFIG_FILE="+filepath.Join(dir, "config"), "AWS_DEFAULT_REGION=us-east-1")
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			if !sealed { // bytes that are wrong end it
				blob := ""
				for c, err := range d.inventory(t.Context(), set.Manifest) { // one that this set needs
					if err != nil {
						t.Fatal(err)
					}
					blob = blobKey(c.sum.SHA256, false)
				}
				text, err := d.read(t.Context(), blob)
				if err == nil {
					_, err = d.Archive.Replace(t.Context(), blob, strings.NewReader("other bytes"))
				}
				if err != nil {
					t.Fatal(err)
				}
				if out, err := run(); err == nil || !strings.Contains(out, "FAILED") {
					t.Errorf("%v: %s", err, out)
				}
				if _, err := d.Archive.Replace(t.Context(), blob, strings.NewReader(string(text))); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := run(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			q.open()
			if rows, wrong := q.check(); int64(rows) != set.Blobs.Objects || len(wrong) > 0 {
				t.Errorf("%d rows of %d, %v", rows, set.Blobs.Objects, wrong)
			}
			if n := q.count("select count(*) from assets"); int64(n) != set.Database.Rows["assets"] {
				t.Errorf("%d assets of %d", n, set.Database.Rows["assets"])
			}
		})
	}
}
