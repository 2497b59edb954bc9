package store

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Snapshot is the database at one moment. It is there until Close, also for other sessions that know its name, such as pg_dump's.
type Snapshot struct {
	conn *pgx.Conn
	tx   pgx.Tx

	Name          string    // for SET TRANSACTION SNAPSHOT
	Time          time.Time // the server's
	LSN           string    // the write-ahead log's end; empty on a standby
	Server        string    // version of PostgreSQL, such as 15.8
	ServerMajor   int
	DatabaseBytes int64 // on disk, indexes and all
	Schema        config.SchemaRange
	PlatformID    uuid.UUID
	Instance      Instance
}

// Instance tells a platform's database from copies of it, such as what a backup of it was restored into.
type Instance struct {
	ID    uuid.UUID
	Since time.Time // by the server's clock
}

// OpenSnapshot takes a snapshot of a platform's database. url must reach the server past a transaction pooler. An error is a *Problem.
func OpenSnapshot(ctx context.Context, url string) (*Snapshot, error) {
	cfg, err := poolConfig(url)
	if err != nil {
		return nil, &Problem{config.CodeConfigInvalid, err.Error(), "correct DATABASE_URL or DATABASE_DIRECT_URL"}
	}
	s, err := openSnapshot(ctx, cfg.ConnConfig)
	if err != nil {
		return nil, diagnose(err, cfg.ConnConfig.Config)
	}
	return s, nil
}

func openSnapshot(ctx context.Context, cfg *pgx.ConnConfig) (s *Snapshot, err error) {
	s = &Snapshot{}
	if s.conn, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	// It idles while pg_dump works.
	if _, err = s.conn.Exec(ctx, "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0"); err != nil {
		return nil, err
	}
	if s.tx, err = s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return nil, err
	}
	var version int
	err = s.tx.QueryRow(ctx, `
select pg_export_snapshot(), now(), current_setting('server_version'), current_setting('server_version_num')::int, pg_database_size(current_database()),
    case when pg_is_in_recovery() then '' else pg_current_wal_insert_lsn()::text end`).
		Scan(&s.Name, &s.Time, &s.Server, &version, &s.DatabaseBytes, &s.LSN)
	if err != nil {
		return nil, err
	}
	s.ServerMajor = version / 10000
	err = s.tx.QueryRow(ctx, "select schema, compatible_from, platform_id, instance, instance_since from "+markerTable).
		Scan(&s.Schema.Schema, &s.Schema.CompatibleFrom, &s.PlatformID, &s.Instance.ID, &s.Instance.Since)
	return s, err
}

// Close ends the snapshot.
func (s *Snapshot) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // what is lost is a snapshot
}

// BlobRow is one object in the bucket to which rows refer.
type BlobRow struct {
	SHA256    [32]byte
	Size      int64 // bytes
	ObjectKey string
}

// Blobs are those of the snapshot, in the order of their hashes and keys.
func (s *Snapshot) Blobs(ctx context.Context) iter.Seq2[BlobRow, error] { return blobRows(ctx, s.tx) }

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func blobRows(ctx context.Context, from querier) iter.Seq2[BlobRow, error] {
	return func(yield func(BlobRow, error) bool) {
		rows, err := from.Query(ctx, "select sha256, size, object_key from blobs order by sha256, object_key")
		if err != nil {
			yield(BlobRow{}, fail("list blobs", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var b BlobRow
			var sha []byte
			if err := rows.Scan(&sha, &b.Size, &b.ObjectKey); err != nil {
				yield(b, fail("list blobs", err))
				return
			}
			copy(b.SHA256[:], sha)
			if !yield(b, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(BlobRow{}, fail("list blobs", err))
		}
	}
}

// undumped are tables whose rows no backup has: what they tell is made anew from the others, or is of uploads that never ended.
var undumped = map[string]bool{"thumbnails": true, "uploads": true, "upload_pieces": true, "object_intents": true, "backup_leases": true}

// Undumped are the tables whose rows are left out of a backup, with their schema.
func Undumped() []string {
	var names []string
	for name := range undumped {
		names = append(names, "public."+name)
	}
	return names
}

// Rows counts the rows of each table of which a backup has the rows.
func (s *Snapshot) Rows(ctx context.Context) (map[string]int64, error) {
	return countTables(ctx, s.tx)
}

func countTables(ctx context.Context, tx pgx.Tx) (map[string]int64, error) {
	rows, err := tx.Query(ctx, "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' and c.relkind = 'r' order by 1")
	if err != nil {
		return nil, fail("list tables", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fail("list tables", err)
	}
	counts := map[string]int64{}
	for _, name := range names {
		if undumped[name] {
			continue
		}
		var n int64
		if err := tx.QueryRow(ctx, fmt.Sprintf("select count(*) from public.%s", pgx.Identifier{name}.Sanitize())).Scan(&n); err != nil {
			return nil, fail("count rows", err)
		}
		counts[name] = n
	}
	return counts, nil
}
