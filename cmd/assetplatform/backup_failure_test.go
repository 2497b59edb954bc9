package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/test/services"
)

// A failure has the code of whose fault it is, and a remedy.
func TestBackupFailures(t *testing.T) {
	t.Parallel()
	for want, err := range map[config.Code]error{
		config.CodeDestinationUnavailable: objectstore.ErrArchiveUnavailable,
		config.CodeBucketUnavailable:      objectstore.ErrUnavailable,
		config.CodeSetDamaged:             backup.ErrDamaged,
		config.CodeNoSet:                  backup.ErrNoSet,
		config.CodeBackupFailed:           errors.New("something else"),
	} {
		if got := terminationOf(fmt.Errorf("put: %w", err)); got.Code != want || got.Remedy == "" {
			t.Errorf("%v: %+v", err, got)
		}
	}
}

// A set with none before it says so: an image that does not tell is another thing.
func TestFirstSetSaysSo(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]backup.Manifest{`"previous":""`: {ID: "one"}, `"previous":"one"`: {ID: "two", Previous: "one"}} {
		if text, err := json.Marshal(summary(backup.Set{Manifest: m})); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %s, %v", want, text, err)
		}
	}
}

// What is no subcommand fails, for a typo in a crontab must not look like a backup; what fails tells nobody of success.
func TestBackupThatIsNone(t *testing.T) {
	t.Parallel()
	run := func(arguments ...string) (string, error) {
		var out bytes.Buffer
		cmd := newBackupCommand()
		cmd.SetArgs(arguments)
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.Execute()
		return out.String(), err
	}
	for _, arguments := range [][]string{{"crate"}, {}, {"list", "--platform=studio"}, {"restore", "--set=x", "--before=y"}, {"create", "-o", "yaml"}} {
		if out, err := run(arguments...); err == nil || strings.Contains(out, "verified;") {
			t.Errorf("%q: %v\n%s", arguments, err, out)
		}
	}
	out, err := run("create", "-o", "json")
	var said failure
	if decoded := json.Unmarshal([]byte(out), &said); decoded != nil || said.Error.Code != config.CodeConfigInvalid || said.Error.Remedy == "" || err == nil {
		t.Errorf("%v, %v\n%s", err, decoded, out)
	}
}

// What a subcommand cannot do is told with a remedy: flags that make no sense, and a signal that has ended it, which is nobody's fault.
func TestBackupSaysWhyNot(t *testing.T) {
	t.Parallel()
	destination := services.SharedS3(t).Bucket(t)
	env := append(environment(t), "BACKUP_BUCKET_NAME="+destination.Name, "BACKUP_ACCESS_KEY="+destination.AccessKey, "BACKUP_SECRET_KEY="+destination.SecretKey)
	said := func(cmd *exec.Cmd) (f failure) {
		t.Helper()
		out, err := cmd.Output()
		if decoded := json.Unmarshal(out, &f); err == nil || decoded != nil {
			t.Errorf("%v, %v\n%s", err, decoded, out)
		}
		return f
	}
	for _, arguments := range [][]string{{"drill", "--sample=-1"}, {"prune", "--allow-collection=1/2junk"}, {"prune", "--allow-collection=-1/2"}} {
		cmd := command(t, append(slices.Clone(env), "BACKUP_ENDPOINT="+destination.Endpoint), append([]string{"backup", "-o", "json"}, arguments...)...)
		flag, _, _ := strings.Cut(arguments[1], "=")
		if e := said(cmd).Error; e.Code != config.CodeConfigInvalid || !strings.Contains(e.Message, flag) || e.Remedy == "" {
			t.Errorf("%q: %+v", arguments, e)
		}
	}

	asked := make(chan struct{}, 1)
	silent := services.Front(t, "http://"+services.SharedS3(t).Address, func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-r.Context().Done()
		return true
	})
	cmd := command(t, append(slices.Clone(env), "BACKUP_ENDPOINT="+silent), "backup", "create", "-o", "json")
	go func() {
		<-asked
		_ = cmd.Process.Signal(syscall.SIGTERM) // it waits for an answer
	}()
	if e := said(cmd).Error; !strings.Contains(e.Message, "ended by a signal") || !strings.Contains(e.Remedy, "run it again") || e.Code.Final() {
		t.Errorf("%+v", e)
	}
}
