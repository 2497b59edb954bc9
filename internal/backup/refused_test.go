package backup

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/test/services"
)

// refuses fails the test unless an error is of the archive, or not, and says all of these.
func refuses(t *testing.T, what string, err error, archive bool, says ...string) {
	t.Helper()
	if !errors.Is(err, objectstore.ErrUnavailable) || !errors.Is(err, objectstore.ErrRefused) || errors.Is(err, objectstore.ErrArchiveUnavailable) != archive {
		t.Errorf("%s: %v", what, err)
	}
	for _, text := range says {
		if !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%s: %v, want %q", what, err, text)
		}
	}
}

// Credentials that end half-way are an error that names them: those of the backups, of who removes them, or of the assets' bucket.
func TestCredentialsEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		code   string
	}{{http.StatusBadRequest, "ExpiredToken"}, {http.StatusForbidden, "InvalidAccessKeyId"}, {http.StatusForbidden, "AccessDenied"}} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.fill(3)
			settings, d := archive(t)
			p.backUp(d)
			set := p.backUp(d)
			p.fill(1)
			faults := newOutage(c.status, c.code)
			faulty := settings
			faulty.Endpoint = services.Front(t, settings.Endpoint, faults.see)
			archive := impatient(t, faulty, 10*time.Second)

			faults.begin(func(kind string, _ int) bool {
				return strings.HasPrefix(kind, "PUT") && strings.HasSuffix(kind, dumpFile)
			})
			_, err := Create(t.Context(), p.options(archive))
			refuses(t, "create", err, true, c.code, "BACKUP_ACCESS_KEY", settings.Name)
			faults.begin(func(kind string, _ int) bool {
				return strings.HasPrefix(kind, "GET") && strings.Contains(kind, "blobs")
			})
			_, err = archive.Verify(t.Context(), set.ID, VerifyOptions{})
			refuses(t, "verify", err, true, c.code, "BACKUP_ACCESS_KEY", settings.Name)
			_, err = Restore(t.Context(), vacant(t).restoring(archive))
			refuses(t, "restore", err, true, c.code, "BACKUP_ACCESS_KEY", settings.Name)

			p.fill(1) // what came before is in the destination, although its dump is not
			o := p.options(d)
			source := p.settings
			source.Endpoint = faulty.Endpoint
			if o.Bucket, err = objectstore.New(t.Context(), source, nil); err != nil {
				t.Fatal(err)
			}
			_, err = Create(t.Context(), o)
			refuses(t, "the source", err, false, c.code, "S3_ACCESS_KEY", p.settings.Name)

			p.backUp(d)
			remover, err := objectstore.NewRemover(t.Context(), faulty, services.AccessKey, services.SecretKey)
			if err != nil {
				t.Fatal(err)
			}
			faults.begin(func(kind string, _ int) bool { return strings.HasPrefix(kind, "PUT") })
			_, err = Destination{Archive: d.Archive, Remover: remover}.Prune(t.Context(), PruneOptions{Retention: Retention{Minimum: 1}, Log: discard, delay: -1})
			refuses(t, "prune", err, true, c.code, "BACKUP_REMOVER_ACCESS_KEY", settings.Name)
			wholeOrNone(t, d)
		})
	}
}

// A destination that is full makes no set, and says that it is full.
func TestDestinationFull(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	for _, c := range []struct {
		status int
		code   string
	}{{http.StatusInsufficientStorage, "XMinioStorageFull"}, {http.StatusForbidden, "QuotaExceeded"}, {http.StatusInsufficientStorage, "InsufficientStorage"}} {
		for _, part := range []string{dumpFile, blobsFolder, manifestFile} {
			t.Run(c.code+" "+part, func(t *testing.T) {
				t.Parallel()
				settings, d := archive(t)
				faults := newOutage(c.status, c.code)
				faults.begin(func(kind string, _ int) bool {
					return strings.HasPrefix(kind, http.MethodPut) && strings.Contains(kind, part)
				})
				_, err := Create(t.Context(), p.options(behind(t, settings, faults.see)))
				refuses(t, "create", err, true, "no room", settings.Name)
				if finished, _ := sets(t, d); finished != 0 {
					t.Errorf("%d sets", finished)
				}
			})
		}
	}
}

// A machine without room for what a backup keeps there makes no set, and says which place that is.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.fill(3)
	settings, d := archive(t)
	out, err := victimWork{Kind: "create", DatabaseURL: p.url, Bucket: p.settings, Destination: settings, NoFiles: true}.run(t)
	if err == nil || !strings.Contains(string(out), "make room in") {
		t.Errorf("%v: %s", err, out)
	}
	if finished, _ := sets(t, d); finished != 0 {
		t.Errorf("%d sets", finished)
	}
}

// A database server whose disk is full takes nothing of a restore, and says so; with room it is restored.
func TestDatabaseFull(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.upload(p.users[0], []byte("one"))
	p.exec(`update blobs set metadata = (select jsonb_build_object('long', string_agg(md5(n::text), '')) from generate_series(1, 700000) n)`) // 22 MB
	_, d := archive(t)
	p.backUp(d)
	pg := services.NewPostgres(t)
	o := vacant(t).restoring(d)
	o.DatabaseURL = pg.URL(pg.Empty(t))
	limit := func(bytes string) { // of a file, for sessions from now on
		info, err := os.Stat(fmt.Sprintf("/proc/%d", pg.PID()))
		if err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		cmd := exec.Command("prlimit", "--pid", strconv.Itoa(pg.PID()), "--fsize="+bytes+":")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid, NoSetGroups: true}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	limit("17000000") // a little more than a segment of the log, without which the server ends
	_, err := Restore(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "could not extend file") || !strings.Contains(err.Error(), "Check free disk space") {
		t.Error(err)
	}
	nothingRestored(t, o)
	limit("unlimited")
	if _, err := Restore(t.Context(), o); err != nil {
		t.Error(err)
	}
}
