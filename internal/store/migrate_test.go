package store

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

// migrateNow migrates, and waits for nothing but the end of a session before it: the
// server notices that a connection was closed when it gets to it.
func migrateNow(t *testing.T, url string) (config.SchemaRange, *Problem) {
	t.Helper()
	schema, err := Migrate(t.Context(), MigrateOptions{URL: url, LockWait: 10 * time.Second, Log: discard})
	var p *Problem
	if err != nil && !errors.As(err, &p) {
		t.Fatalf("not a *Problem: %v", err)
	}
	return schema, p
}

// connect opens a connection to a database.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func mustExec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestMigrateAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	pg := services.SharedPostgres(t)
	url := pg.URL(pg.Empty(t))
	mustExec(t, connect(t, url), "create extension pg_stat_statements") // an extension's views do not make it foreign
	for range 2 {                                                       // the second time changes nothing
		schema, p := migrateNow(t, url)
		if p != nil || schema != ImageSchema() {
			t.Fatalf("%+v, %v", schema, p)
		}
	}
	s, err := Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if schema, err := s.Schema(t.Context()); err != nil || Fits(schema) != nil {
		t.Errorf("%+v, %v", schema, err)
	}
}

// The numbers that are written down in several places agree.
func TestImageSchema(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(files) != int(imageSchema.Schema) {
		t.Errorf("%d migrations, schema %d", len(files), imageSchema.Schema)
	}
	s := newStore(t)
	if n := query[int64](t, s, "select max(version_id) from goose_db_version"); n != imageSchema.Schema {
		t.Errorf("goose is at %d, the image at %d", n, imageSchema.Schema)
	}
	river, err := rivermigrate.New(riverpgxv5.New(s.pool), nil)
	if err != nil {
		t.Fatal(err)
	}
	if all := river.AllVersions(); all[len(all)-1].Version != 8 {
		t.Errorf("River came with new migrations (%d): add a migration of ours, so that the schema gets a new number", all[len(all)-1].Version)
	}
}

func TestMigrateRefusals(t *testing.T) {
	t.Parallel()
	pg := services.SharedPostgres(t)
	pg.Exec(t, "create role poor login password 'poor'")
	for name, test := range map[string]struct {
		prepare func(t *testing.T, url string) string // returns the URL to migrate; nil: as it is
		code    config.Code
		says    string // is in the message or the remedy
	}{
		"refused": {func(t *testing.T, url string) string {
			return strings.Replace(url, pg.Address, "127.0.0.1:1", 1)
		}, config.CodeDatabaseUnreachable, "127.0.0.1:1 was refused"},
		"unknown host": {func(t *testing.T, url string) string {
			return strings.Replace(url, pg.Address, "db.invalid:5432", 1)
		}, config.CodeDatabaseUnreachable, "db.invalid is unknown"},
		"wrong password": {func(t *testing.T, url string) string {
			return pg.URLOf(database(url), "poor", "hunter2")
		}, config.CodeDatabaseAuth, "user poor"},
		"unknown user": {func(t *testing.T, url string) string {
			return pg.URLOf(database(url), "stranger", "hunter2")
		}, config.CodeDatabaseAuth, "user stranger"},
		"no such database": {func(t *testing.T, url string) string {
			return pg.URL("nowhere")
		}, config.CodeDatabaseMissing, "no database nowhere"},
		"no right to create": {func(t *testing.T, url string) string {
			return pg.URLOf(database(url), "poor", "poor") // since PostgreSQL 15 only the owner may create in public
		}, config.CodePermissionDenied, `TO "poor"`},
		"a right was revoked": {func(t *testing.T, url string) string {
			if _, p := migrateNow(t, url); p != nil {
				t.Fatal(p)
			}
			mustExec(t, connect(t, url), "update assetplatform_schema set schema = 0; grant select on assetplatform_schema to poor")
			return pg.URLOf(database(url), "poor", "poor")
		}, config.CodePermissionDenied, "permission denied for"},
		"another's tables": {func(t *testing.T, url string) string {
			mustExec(t, connect(t, url), "create schema shop; create table shop.orders (id int)")
			return url
		}, config.CodeDatabaseForeign, "a database of its own"},
		"too new": {func(t *testing.T, url string) string {
			if _, p := migrateNow(t, url); p != nil {
				t.Fatal(p)
			}
			mustExec(t, connect(t, url), "update assetplatform_schema set schema = 1000, compatible_from = 900")
			return url
		}, config.CodeSchemaTooNew, "schema 1000"},
		"a statement fails": {func(t *testing.T, url string) string {
			mustExec(t, connect(t, url), createMarker+"; create table sessions (x int)")
			return url
		}, config.CodeMigrationFailed, `"sessions" already exists`},
		"malformed": {func(t *testing.T, url string) string {
			return "postgres://u:hunter2@db:5432/x?sslmode=perhaps"
		}, config.CodeConfigInvalid, "DATABASE_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := test.prepare(t, pg.URL(pg.Empty(t)))
			_, p := migrateNow(t, url)
			if p == nil {
				t.Fatal("succeeded")
			}
			if p.Code != test.code || !strings.Contains(p.Error(), test.says) || p.Remedy == "" {
				t.Errorf("%s: %s", p.Code, p.Error())
			}
			if strings.Contains(p.Error(), "hunter2") || strings.Contains(p.Error(), services.PostgresPassword) {
				t.Errorf("the password is in %q", p.Error())
			}
		})
	}
}

// database is the name in a database URL.
func database(url string) string {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		panic(err)
	}
	return cfg.Database
}

// A migration that fails leaves nothing of itself, and succeeds once its cause is gone.
func TestMigrateAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	pg := services.SharedPostgres(t)
	url := pg.URL(pg.Empty(t))
	conn := connect(t, url)
	mustExec(t, conn, createMarker+"; create table assets (x int)")
	if _, p := migrateNow(t, url); p == nil || p.Code != config.CodeMigrationFailed {
		t.Fatalf("%v", p)
	}
	var users *string
	if err := conn.QueryRow(t.Context(), "select to_regclass('users')::text").Scan(&users); err != nil || users != nil {
		t.Errorf("half of the migration is there: %v, %v", users, err)
	}
	mustExec(t, conn, "drop table assets")
	if schema, p := migrateNow(t, url); p != nil || schema != ImageSchema() {
		t.Errorf("%+v, %v", schema, p)
	}
}

// An older image finds a newer database that it can still serve, as after a rollback.
func TestMigrateLeavesACompatibleNewerDatabaseAlone(t *testing.T) {
	t.Parallel()
	pg := services.SharedPostgres(t)
	url := pg.URL(pg.Migrated(t, "store", migrateURL))
	mustExec(t, connect(t, url), "update assetplatform_schema set schema = 1000; insert into river_migration (line, version) values ('main', 99)")
	want := config.SchemaRange{Schema: 1000, CompatibleFrom: imageSchema.CompatibleFrom}
	if schema, p := migrateNow(t, url); p != nil || schema != want {
		t.Errorf("%+v, %v", schema, p)
	}
	if err := Fits(want); err != nil {
		t.Error(err)
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	image := imageSchema.Schema
	for _, test := range []struct {
		database config.SchemaRange
		fits     bool
	}{
		{config.SchemaRange{Schema: image, CompatibleFrom: image}, true},
		{config.SchemaRange{Schema: image + 5, CompatibleFrom: image}, true},
		{config.SchemaRange{Schema: image + 5, CompatibleFrom: image + 1}, false},
		{config.SchemaRange{Schema: image - 1, CompatibleFrom: 0}, false},
	} {
		if err := Fits(test.database); (err == nil) != test.fits {
			t.Errorf("%+v: %v", test.database, err)
		}
	}
}

func TestTwoMigrationsAtOnce(t *testing.T) {
	t.Parallel()
	pg := services.SharedPostgres(t)
	url := pg.URL(pg.Empty(t))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			schema, err := Migrate(t.Context(), MigrateOptions{URL: url, LockWait: time.Minute, Log: discard})
			if err != nil || schema != ImageSchema() {
				t.Errorf("%+v, %v", schema, err)
			}
		})
	}
	all.Wait()
	var runs int
	if err := connect(t, url).QueryRow(t.Context(), "select count(*) from goose_db_version where version_id = 1").Scan(&runs); err != nil || runs != 1 {
		t.Errorf("the first migration ran %d times, %v", runs, err)
	}
}

func TestMigrateWaitsForTheLock(t *testing.T) {
	t.Parallel()
	pg := services.SharedPostgres(t)
	url := pg.URL(pg.Empty(t))
	holder := connect(t, url)
	if err := takeLock(t.Context(), holder, 0); err != nil {
		t.Fatal(err)
	}
	_, err := Migrate(t.Context(), MigrateOptions{URL: url, LockWait: 300 * time.Millisecond, Log: discard})
	var p *Problem
	if !errors.As(err, &p) || p.Code != config.CodeMigrationInProgress || p.Remedy == "" {
		t.Errorf("while the lock is held: %v", err)
	}
	time.AfterFunc(300*time.Millisecond, func() { holder.Close(context.Background()) })
	if _, err := Migrate(t.Context(), MigrateOptions{URL: url, LockWait: time.Minute, Log: discard}); err != nil {
		t.Errorf("after its holder has gone: %v", err)
	}
}

func TestMigrateWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	pg := services.NewPostgres(t)
	url := pg.URL(pg.Empty(t))
	pg.Stop()
	done := make(chan error)
	go func() {
		_, err := Migrate(t.Context(), MigrateOptions{URL: url, ConnectWait: time.Minute, Log: discard})
		done <- err
	}()
	time.Sleep(500 * time.Millisecond)
	pg.Start(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
