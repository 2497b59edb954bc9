package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

// A drill runs as in its pod, as nobody special and with nowhere to write to but a temporary directory, and asks nothing of the platform,
// whose database and bucket may be gone; a scrub does neither.
func TestF12DrillOfAPlatformThatIsGone(t *testing.T) {
	t.Parallel()
	pg := services.NewPostgres(t)
	env := environmentOn(t, pg)
	var asked atomic.Int64
	endpoint := services.Front(t, "http://"+services.SharedS3(t).Address, func(http.ResponseWriter, *http.Request) bool {
		asked.Add(1)
		return false
	})
	destination := services.SharedS3(t).Bucket(t)
	env = append(slices.DeleteFunc(env, func(pair string) bool { return strings.HasPrefix(pair, "S3_ENDPOINT=") }),
		"S3_ENDPOINT="+endpoint, "PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin",
		"BACKUP_BUCKET_NAME="+destination.Name, "BACKUP_ENDPOINT="+destination.Endpoint, "BACKUP_ACCESS_KEY="+destination.AccessKey, "BACKUP_SECRET_KEY="+destination.SecretKey)

	server := startServer(t, env...)
	server.await(config.PathReady, http.StatusOK)
	token := server.register("alice")
	for seed := range 3 {
		answer, err := http.DefaultClient.Do(server.wavUpload(token, 100_000, byte(seed)))
		if err != nil || answer.StatusCode != http.StatusCreated {
			t.Fatalf("%+v, %v", answer, err)
		}
		answer.Body.Close()
	}
	inPod(t, env, "backup", "create")
	server.stop()
	server.exit()
	pg.Stop()
	asked.Store(0)

	var s backup.Scrubbed
	if err := json.Unmarshal(inPod(t, env, "backup", "scrub", "-o", "json"), &s); err != nil || s.Blobs != 3 || !s.Complete {
		t.Errorf("%+v, %v", s, err)
	}
	var d backup.Drilled
	if err := json.Unmarshal(inPod(t, env, "backup", "drill", "-o", "json"), &d); err != nil || d.Seconds == 0 || d.Sampled != 3 || !strings.HasSuffix(d.Served[len(d.Served)-1], "/download") {
		t.Errorf("%+v, %v", d, err)
	}
	if text := string(inPod(t, env, "backup", "list")); !strings.Contains(text, "last drill, ") || !strings.Contains(text, "set "+d.Set+" was restored and served in") {
		t.Error(text)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the platform's bucket got %d requests", n)
	}
}

// inPod runs the program to its end, as an account that is not root's, and returns what it prints.
func inPod(t *testing.T, env []string, arguments ...string) []byte {
	t.Helper()
	dir, err := os.MkdirTemp("", "assetplatform-test-pod-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd := command(t, nil, arguments...)
	cmd.Env = append(slices.Clone(env), "TMPDIR="+dir, "HOME=/nonexistent")
	if cmd.SysProcAttr.Credential != nil { // initdb wants an account with a name
		account, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.ParseUint(account.Uid, 10, 32)
		gid, _ := strconv.ParseUint(account.Gid, 10, 32)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	var said services.Log
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", arguments, err, &said)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v leaves %v, %v", arguments, left, err)
	}
	return out
}
