package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/assetplatform/assetplatform/internal/config"
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed marker.sql
var createMarker string

// markerTable says that a database is ours, and which schema it has.
const markerTable = "assetplatform_schema"

// imageSchema is what this image's migrations make of a database. The last migration
// writes the same two numbers into the marker table. A new version of River that
// brings migrations of its own needs a new number here, too.
var imageSchema = config.SchemaRange{Schema: 11, CompatibleFrom: 1}

// migrationLock is the key of the session-level advisory lock that one migration of a database holds.
const migrationLock = 0x61737365747301

// ImageSchema is the schema that this image migrates to and the lowest one whose images still fit it.
func ImageSchema() config.SchemaRange { return imageSchema }

// MigrateOptions say which database to migrate and how patiently.
type MigrateOptions struct {
	URL         string // must reach the server past a transaction pooler: the lock belongs to the session
	ConnectWait time.Duration
	LockWait    time.Duration
	Log         *slog.Logger
}

// Migrate brings the database to this image's schema, waiting up to ConnectWait for it
// to be reachable and up to LockWait for another migration to end. A database that is
// ahead but still fits is left alone. The result is the database's schema after it;
// an error is always a *Problem.
func Migrate(ctx context.Context, o MigrateOptions) (config.SchemaRange, error) {
	cfg, err := poolConfig(o.URL)
	if err != nil {
		return config.SchemaRange{}, &Problem{config.CodeConfigInvalid, err.Error(), "correct DATABASE_URL or DATABASE_DIRECT_URL"}
	}
	// One connection, and it takes the lock before anything else: no statement of ours
	// ever runs without it, not even after a lost connection.
	cfg.MaxConns, cfg.MinConns = 1, 0
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { return takeLock(ctx, conn, o.LockWait) }
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return config.SchemaRange{}, diagnose(err, cfg.ConnConfig.Config)
	}
	defer pool.Close()

	if err := awaitDatabase(ctx, pool, o); err != nil {
		return config.SchemaRange{}, diagnose(err, cfg.ConnConfig.Config)
	}
	schema, err := migrate(ctx, pool, o.Log)
	if err != nil {
		o.Log.Error("migration failed", "error", err)
		return config.SchemaRange{}, diagnose(err, cfg.ConnConfig.Config)
	}
	return schema, nil
}

// awaitDatabase returns once the pool has its connection. It tries again while nobody
// answers, since a fresh database may still be starting, but not when it is told no.
func awaitDatabase(ctx context.Context, pool *pgxpool.Pool, o MigrateOptions) error {
	deadline := time.Now().Add(o.ConnectWait)
	for {
		err := pool.Ping(ctx)
		if err == nil {
			return nil
		}
		problem := diagnose(err, pool.Config().ConnConfig.Config)
		if problem.Code != config.CodeDatabaseUnreachable || time.Now().After(deadline) || ctx.Err() != nil {
			return problem
		}
		o.Log.Info("the database is not reachable yet", "reason", problem.Message)
		time.Sleep(min(time.Second, time.Until(deadline)))
	}
}

// takeLock polls, because a session that waits inside pg_advisory_lock holds a snapshot
// for as long. The lock ends with the session.
func takeLock(ctx context.Context, conn *pgx.Conn, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		var locked bool
		if err := conn.QueryRow(ctx, "select pg_try_advisory_lock($1)", int64(migrationLock)).Scan(&locked); err != nil || locked {
			return err
		}
		if time.Now().After(deadline) {
			return &Problem{
				config.CodeMigrationInProgress,
				fmt.Sprintf("another migration of database %s has held the lock for %s", conn.Config().Database, wait),
				"wait for it to end; if no migrate pod runs, end the session that holds the advisory lock (pg_locks)",
			}
		}
		time.Sleep(min(200*time.Millisecond, time.Until(deadline)))
	}
}

// migrate runs under the lock.
func migrate(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) (config.SchemaRange, error) {
	current, err := markedSchema(ctx, pool)
	if err != nil {
		return config.SchemaRange{}, err
	}
	if current.Schema > imageSchema.Schema {
		if current.CompatibleFrom > imageSchema.Schema {
			return config.SchemaRange{}, &Problem{
				config.CodeSchemaTooNew,
				fmt.Sprintf("the database has schema %d, which images below schema %d cannot serve; this image has %d", current.Schema, current.CompatibleFrom, imageSchema.Schema),
				"deploy the newer image again, or restore a backup made with this one",
			}
		}
		log.Info("the database is ahead of this image and still fits it", "schema", current.Schema)
		return current, nil
	}
	if err := migrateRiver(ctx, pool, log); err != nil {
		return config.SchemaRange{}, fmt.Errorf("migrate the job queue: %w", err)
	}
	if err := migrateOurs(ctx, pool, log); err != nil {
		return config.SchemaRange{}, fmt.Errorf("migrate: %w", err)
	}
	return readSchema(ctx, pool)
}

// markedSchema reads the marker table, and makes it in a database that is empty.
func markedSchema(ctx context.Context, pool *pgxpool.Pool) (config.SchemaRange, error) {
	// Relations that belong to an extension do not count: managed databases come with some.
	const state = `
select to_regclass('` + markerTable + `') is not null,
       coalesce(bool_or(relname = '` + markerTable + `'), false), count(*)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\_toast%' and n.nspname not like 'pg\_temp%'
  and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')`
	var visible, marked bool
	var relations int
	if err := pool.QueryRow(ctx, state).Scan(&visible, &marked, &relations); err != nil {
		return config.SchemaRange{}, err
	}
	if !marked && relations > 0 {
		return config.SchemaRange{}, &Problem{
			config.CodeDatabaseForeign,
			fmt.Sprintf("database %s holds %d tables or views that are not ours", pool.Config().ConnConfig.Database, relations),
			"give the platform a database of its own in DATABASE_URL",
		}
	}
	if !visible {
		if _, err := pool.Exec(ctx, createMarker); err != nil {
			return config.SchemaRange{}, fmt.Errorf("create the marker table: %w", err)
		}
	}
	return readSchema(ctx, pool)
}

// migrateRiver brings River's own tables, which only ever grow, to the version that this image's River needs.
func migrateRiver(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: log})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// migrateOurs runs the embedded migrations, each in one transaction that also moves the marker.
func migrateOurs(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSlog(log), goose.WithVerbose(true))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// Schema reads which schema the database has; Diagnose explains its error.
func (s *Store) Schema(ctx context.Context) (config.SchemaRange, error) {
	r, err := readSchema(ctx, s.pool)
	return r, fail("read schema", err)
}

func readSchema(ctx context.Context, pool *pgxpool.Pool) (config.SchemaRange, error) {
	var r config.SchemaRange
	err := pool.QueryRow(ctx, "select schema, compatible_from from "+markerTable).Scan(&r.Schema, &r.CompatibleFrom)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errors.New("the marker table is empty")
	}
	return r, err
}

// Identity tells this platform from others that may use the same bucket, and its database from copies of it.
func (s *Store) Identity(ctx context.Context) (platform, instance uuid.UUID, err error) {
	err = s.pool.QueryRow(ctx, "select platform_id, instance from "+markerTable).Scan(&platform, &instance)
	return platform, instance, fail("read the platform's id", err)
}

// Fits reports, as a *Problem, why this image cannot serve a database of that schema; nil if it can.
func Fits(database config.SchemaRange) error {
	switch {
	case database.Schema < imageSchema.Schema:
		return &Problem{
			config.CodeMigrationFailed,
			fmt.Sprintf("the database has schema %d, this image needs %d", database.Schema, imageSchema.Schema),
			"run `assetplatform migrate` of this image",
		}
	case database.CompatibleFrom > imageSchema.Schema:
		return &Problem{
			config.CodeSchemaTooNew,
			fmt.Sprintf("the database has schema %d, which needs an image of schema %d or later; this image has %d", database.Schema, database.CompatibleFrom, imageSchema.Schema),
			"deploy the newer image",
		}
	}
	return nil
}
