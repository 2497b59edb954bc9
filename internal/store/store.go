// Package store keeps the platform's truth in PostgreSQL: users, sessions, assets and
// the ledger of bytes in the bucket. It owns the schema (migrations), the queries and
// the kinds of jobs; it never touches the bucket or HTTP.
//
// Every method that reads or writes what belongs to a user takes that user's id and
// refuses the nil id. Errors are ErrNotFound, ErrConflict and their like where a caller
// may branch on them, ErrUnavailable where the database is away, else internal ones.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// Errors on which callers branch.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict")
	ErrChanged     = errors.New("not in the wanted version")
	ErrUnavailable = errors.New("database unavailable")
	ErrNoUser      = errors.New("no user given")
)

// maxConnections bounds the pool of one process unless the URL says pool_max_conns.
const maxConnections = 10

// Store is the database of one platform. It is safe for concurrent use.
type Store struct {
	pool    *pgxpool.Pool
	queries *sqlc.Queries
	jobs    *river.Client[pgx.Tx] // asks for jobs; works none off

	tagCounts, categoryCounts recent[uuid.UUID, []NameCount]
	totals                    recent[string, Total]
}

// Open returns a Store on the database at url. It does not connect: a database that is
// away makes methods fail with ErrUnavailable until it is back.
func Open(url string) (*Store, error) { return open(url, "assetplatform") }

// serverName is what PostgreSQL knows a server's connections by.
const serverName = "assetplatform-server"

// OpenServer is Open for who serves from the database: a restore that would replace it sees that.
func OpenServer(url string) (*Store, error) { return open(url, serverName) }

func open(url, name string) (*Store, error) {
	cfg, err := poolConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = name
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = maxConnections
	}
	// Compiling a query takes longer than ours run. Not a parameter of the connection: poolers refuse those that they do not know.
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap()) // else each goes through text, by driver.Valuer
		_, err := conn.Exec(ctx, "set jit = off")
		return err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("job client: %w", err)
	}
	return &Store{pool: pool, queries: sqlc.New(pool), jobs: jobs}, nil
}

// poolConfig parses url and sets what every connection of ours has.
func poolConfig(url string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL is malformed") // the parser's error may repeat the password
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = "assetplatform"
	return cfg, nil
}

// Close ends all connections; methods fail from then on.
func (s *Store) Close() { s.pool.Close() }

// Pool is the connection pool, for River's driver and for metrics.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// inTx runs fn in one transaction, which is committed unless fn fails. An error of fn
// is returned as it is.
func (s *Store) inTx(ctx context.Context, fn func(q *sqlc.Queries) error) error {
	return s.inTxWithJobs(ctx, func(q *sqlc.Queries, _ pgx.Tx) error { return fn(q) })
}

// inTxWithJobs is inTx for changes that ask for jobs in the same transaction.
func (s *Store) inTxWithJobs(ctx context.Context, fn func(q *sqlc.Queries, tx pgx.Tx) error) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return fail("begin", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // does nothing after a commit
	if err := fn(s.queries.WithTx(tx), tx); err != nil {
		return err
	}
	return fail("commit", tx.Commit(ctx))
}

// owned refuses queries without a user: a forgotten id must not mean "of everyone".
func owned(userID uuid.UUID) error {
	if userID == uuid.Nil {
		return ErrNoUser
	}
	return nil
}

// SQLSTATEs, postgresql.org/docs/15/errcodes-appendix.html.
const (
	stateUniqueViolation  = "23505"
	stateForeignKey       = "23503" // what a row refers to is gone by now
	stateLockNotAvailable = "55P03"
	stateDeadlock         = "40P01"
	stateQueryCanceled    = "57014"
	stateNoSuchDatabase   = "3D000"
	stateNoSuchSchema     = "3F000"
	stateNoSuchTable      = "42P01"
	statePermission       = "42501"
	stateCannotConnectNow = "57P03"
)

// fail names the operation and translates what the driver reports into the errors of this package.
func fail(operation string, err error) error {
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict), errors.Is(err, ErrChanged), errors.Is(err, ErrUnavailable),
		errors.Is(err, ErrUploadExpired), errors.Is(err, ErrTooManyPieces), errors.Is(err, ErrTooManyKeys), errors.Is(err, ErrLastAdmin),
		errors.Is(err, ErrDisabled),
		errors.Is(err, ErrForbidden), errors.Is(err, ErrOtherKind), errors.Is(err, ErrNothingDone), errors.Is(err, errAnswered), errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", operation, err)
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%s: %w", operation, ErrNotFound)
	case !errors.As(err, &server):
		// No answer from the server: refused, reset, timed out.
		return fmt.Errorf("%s: %w: %w", operation, ErrUnavailable, err)
	case server.Code == stateUniqueViolation, server.Code == stateForeignKey, server.Code == stateLockNotAvailable, server.Code == stateDeadlock:
		return fmt.Errorf("%s: %w: %w", operation, ErrConflict, err)
	case unavailableState(server.Code):
		return fmt.Errorf("%s: %w: %w", operation, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}

// unavailableState tells whether a server answers with this SQLSTATE while it cannot
// serve anyone: connection trouble, no resources, shutting down, a login refused.
func unavailableState(code string) bool {
	switch code[:2] {
	case "08", "28", "53":
		return true
	}
	return strings.HasPrefix(code, "57P") || code == stateNoSuchDatabase
}
