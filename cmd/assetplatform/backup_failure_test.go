package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
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

// The operator is told which set there was before the one that was made.
func TestBackupSummary(t *testing.T) {
	t.Parallel()
	if got := summary(backup.Set{Manifest: backup.Manifest{ID: "second", Previous: "first"}}); got.Set != "second" || got.Previous != "first" {
		t.Errorf("%+v", got)
	}
}
