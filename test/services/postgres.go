package services

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

const (
	postgresBin  = "/usr/lib/postgresql/15/bin" // Debian keeps it out of PATH
	postgresUser = "postgres"
	// PostgresPassword is the password of the superuser postgres.
	PostgresPassword = "secret of the tests"
)

// Postgres is a PostgreSQL server. It runs without fsync: a killed server keeps its data, a dead machine would not.
type Postgres struct {
	Server
	dir string

	mu        sync.Mutex
	templates map[string]string // database that each schema's new ones are copied from
}

var databases atomic.Int64 // makes the names of databases unique

// SharedPostgres is the server that all tests of this binary use.
func SharedPostgres(t testing.TB) *Postgres {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.postgres == nil {
		pg, err := startPostgres()
		if err != nil {
			t.Fatal(err)
		}
		shared.postgres = pg
		shared.ends = append(shared.ends, pg.remove)
	}
	return shared.postgres
}

// NewPostgres starts a server for one test.
func NewPostgres(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	pg, err := startPostgres(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.remove)
	return pg
}

func startPostgres(settings ...string) (*Postgres, error) {
	account, err := user.Lookup(postgresUser) // initdb and postgres refuse to run as root
	if err != nil {
		return nil, missing("postgresql-15", os.ErrNotExist)
	}
	if os.Getuid() != 0 {
		account = nil
	}
	dir, err := dataDir("postgres", account)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	pg := &Postgres{dir: dir, templates: map[string]string{}}
	data := filepath.Join(dir, "data")
	if err := initdb(dir, data, account); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	pg.Server = Server{
		name: "postgres", Address: address,
		command: func() *exec.Cmd {
			args := []string{
				"-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off",
				"-c", "full_page_writes=off", "-c", "shared_buffers=32MB",
				"-c", "max_connections=300", "-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "autovacuum=off",
			}
			for _, setting := range settings { // the last one counts
				args = append(args, "-c", setting)
			}
			return as(account, exec.Command(filepath.Join(postgresBin, "postgres"), args...))
		},
		ready: func() error { return pg.exec("select 1") },
	}
	return pg, pg.start()
}

// initdb makes the data directory, with password authentication for everybody.
func initdb(dir, data string, account *user.User) error {
	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(PostgresPassword), 0o644); err != nil {
		return err
	}
	cmd := as(account, exec.Command(filepath.Join(postgresBin, "initdb"), "-D", data, "-U", postgresUser, "--pwfile", passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", missing("postgresql-15 (initdb)", err), out)
	}
	return nil
}

// as makes cmd run under the account; nil means the caller's own.
func as(account *user.User, cmd *exec.Cmd) *exec.Cmd {
	if account != nil {
		uid, _ := strconv.ParseUint(account.Uid, 10, 32)
		gid, _ := strconv.ParseUint(account.Gid, 10, 32)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return cmd
}

func (pg *Postgres) remove() {
	pg.end(syscall.SIGQUIT)
	os.RemoveAll(pg.dir)
}

// URL is the address of a database, as the superuser.
func (pg *Postgres) URL(database string) string {
	return pg.URLOf(database, postgresUser, PostgresPassword)
}

// URLOf is the address of a database for some user.
func (pg *Postgres) URLOf(database, name, password string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(name, password), Host: pg.Address, Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Empty makes a new empty database and returns its name.
func (pg *Postgres) Empty(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("empty_%d", databases.Add(1))
	pg.Exec(t, "create database "+name)
	return name
}

// Migrated makes a new database with a schema: a copy of one that migrate was called
// for when the first of that schema was made. It returns its name.
func (pg *Postgres) Migrated(t testing.TB, schema string, migrate func(url string) error) string {
	t.Helper()
	pg.mu.Lock()
	template, ok := pg.templates[schema]
	if !ok {
		template = "template_" + schema
		pg.Exec(t, "create database "+template)
		if err := migrate(pg.URL(template)); err != nil {
			pg.mu.Unlock()
			t.Fatal(err)
		}
		pg.templates[schema] = template
	}
	pg.mu.Unlock()
	name := fmt.Sprintf("%s_%d", schema, databases.Add(1))
	pg.Exec(t, "create database "+name+" template "+template)
	return name
}

// Exec runs statements as the superuser, in the database postgres.
func (pg *Postgres) Exec(t testing.TB, sql string) {
	t.Helper()
	if err := pg.exec(sql); err != nil {
		t.Fatal(err)
	}
}

func (pg *Postgres) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}
