package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

func TestMigrateCheck(t *testing.T) {
	t.Parallel()
	out, err := command(t, nil, config.CommandMigrate, "--check").Output()
	var schema config.SchemaRange
	if err != nil || json.Unmarshal(out, &schema) != nil || schema != store.ImageSchema() {
		t.Errorf("%s, %v", out, err)
	}
}

// What the operator reads from the pod tells what happened, and what to do.
func TestMigrateTermination(t *testing.T) {
	pg := services.SharedPostgres(t)
	pg.Exec(t, "create role guest login password 'guest'")
	database := pg.Empty(t)
	for _, test := range []struct {
		url  string
		code config.Code
	}{
		{"", config.CodeConfigInvalid},
		{pg.URLOf(database, "guest", "guest"), config.CodePermissionDenied},
		{pg.URL(database), config.CodeOK},
		{pg.URLOf(database, "guest", "wrong"), config.CodeDatabaseAuth},
		{pg.URL("nowhere"), config.CodeDatabaseMissing},
	} {
		t.Setenv("DATABASE_URL", test.url)
		termination, err := runMigrate(t.Context(), io.Discard)
		if termination.Code != test.code || termination.Message == "" || (err == nil) != (test.code == config.CodeOK) {
			t.Errorf("%s: %+v, %v", test.code, termination, err)
		}
		if test.code == config.CodeOK {
			var schema config.SchemaRange
			if err := json.Unmarshal(termination.Result, &schema); err != nil || schema != store.ImageSchema() {
				t.Errorf("result %s, %v", termination.Result, err)
			}
		} else if termination.Remedy == "" {
			t.Errorf("%s: no remedy", test.code)
		}
	}
}

// The direct URL wins; the exit code and the log tell the outcome.
func TestMigrateProcess(t *testing.T) {
	t.Parallel()
	pg := services.SharedPostgres(t)
	direct := "DATABASE_DIRECT_URL=" + pg.URL(pg.Empty(t))
	out, err := command(t, []string{"DATABASE_URL=postgres://u:p@127.0.0.1:1/pooler", direct}, config.CommandMigrate).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"msg":"migrated"`) {
		t.Errorf("%s, %v", out, err)
	}
	cmd := command(t, []string{"DATABASE_URL=" + pg.URL("nowhere")}, config.CommandMigrate)
	out, err = cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "no database nowhere") {
		t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}
