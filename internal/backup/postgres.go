package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// connectionParameters of a URL are libpq's too; the others are of our own driver, and libpq refuses what it does not know
// (postgresql.org/docs/15/libpq-connect.html#LIBPQ-PARAMKEYWORDS).
var connectionParameters = []string{
	"sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslsni", "sslcrl", "channel_binding", "connect_timeout", "options", "target_session_attrs", "gssencmode", "krbsrvname",
}

// libpq is how PostgreSQL's own programs are told of a database: the password is not for the list of processes.
func libpq(databaseURL string) (address string, environment []string, err error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return "", nil, errors.New("the database URL is malformed")
	}
	given, query := u.Query(), url.Values{}
	for _, name := range connectionParameters {
		if value := given.Get(name); value != "" {
			query.Set(name, value)
		}
	}
	// A server that is gone is noticed within two minutes.
	for name, value := range map[string]string{"connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3", "tcp_user_timeout": "90000", "application_name": "assetplatform-backup"} {
		if query.Get(name) == "" {
			query.Set(name, value)
		}
	}
	password, _ := u.User.Password()
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	u.RawQuery = query.Encode()
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "PG") || strings.HasPrefix(variable, "PGSSL") { // our driver heeds these as well
			environment = append(environment, variable)
		}
	}
	return u.String(), append(environment, "PGPASSWORD="+password), nil
}

// programs is the directory of PostgreSQL's programs; empty: they are found as the shell finds them.
type programs string

// command prepares one of the programs, which ends with this process.
func (p programs) command(ctx context.Context, environment []string, name string, args ...string) *exec.Cmd {
	if p != "" {
		name = filepath.Join(string(p), name)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// pgDumpFor is the version of pg_dump, if it can dump a server's database.
func (p programs) pgDumpFor(ctx context.Context, snapshot *store.Snapshot) (version string, err error) {
	out, err := p.command(ctx, os.Environ(), "pg_dump", "--version").Output()
	if err != nil {
		return "", &store.Problem{Code: config.CodePgDumpMissing, Message: fmt.Sprintf("there is no pg_dump (%v)", err), Remedy: "install PostgreSQL's client programs, or set backup.image to an image that has them"}
	}
	version = versionNumber.FindString(string(out))
	text, _, _ := strings.Cut(version, ".")
	major, err := strconv.Atoi(text)
	if err != nil {
		return "", fmt.Errorf("pg_dump --version says %q", out)
	}
	if major < snapshot.ServerMajor {
		return "", &store.Problem{
			Code:    config.CodePgDumpTooOld,
			Message: fmt.Sprintf("pg_dump %s is older than the server, which is PostgreSQL %s", version, snapshot.Server),
			Remedy:  fmt.Sprintf("set backup.image to an image with the client programs of PostgreSQL %d", snapshot.ServerMajor),
		}
	}
	return version, nil
}

// dump is the output of pg_dump. Reading ends with io.EOF only if pg_dump succeeded, and pg_restore can read all of it and finds what must be
// there: what is read to the end is a dump, and everything else is an error.
type dump struct {
	pgDump *exec.Cmd
	out    io.ReadCloser
	said   bytes.Buffer // what pg_dump said
	checks []*check
	tables []string // must be there
	err    error    // once it has ended
}

// check is a pg_restore that reads what pg_dump writes.
type check struct {
	*exec.Cmd
	in       io.WriteCloser
	enough   bool // it has read what it wants
	out, err bytes.Buffer
}

// startDump begins to dump what a snapshot sees.
func (p programs) startDump(ctx context.Context, databaseURL, snapshot string, tables []string) (*dump, error) {
	address, environment, err := libpq(databaseURL)
	if err != nil {
		return nil, err
	}
	args := []string{"--format=custom", "--no-password", "--lock-wait-timeout=60s", "--snapshot=" + snapshot, "--dbname=" + address}
	for _, table := range store.Undumped() {
		args = append(args, "--exclude-table-data="+table)
	}
	d := &dump{tables: tables, pgDump: p.command(ctx, environment, "pg_dump", args...)}
	d.pgDump.Stderr = &d.said
	if d.out, err = d.pgDump.StdoutPipe(); err != nil {
		return nil, err
	}
	for _, arg := range []string{"--list", "--file=/dev/null"} { // what is in it; and all of it
		c := &check{Cmd: p.command(ctx, os.Environ(), "pg_restore", arg)}
		c.Stdout, c.Stderr = &c.out, &c.err
		if c.in, err = c.StdinPipe(); err == nil {
			err = c.Start()
		}
		if err != nil {
			d.Close()
			return nil, fmt.Errorf("start pg_restore: %w", err)
		}
		d.checks = append(d.checks, c)
	}
	if err := d.pgDump.Start(); err != nil {
		d.Close()
		return nil, fmt.Errorf("start pg_dump: %w", err)
	}
	return d, nil
}

func (d *dump) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.out.Read(p)
	for _, c := range d.checks {
		if !c.enough {
			_, broken := c.in.Write(p[:n])
			c.enough = broken != nil
		}
	}
	if err != nil {
		d.err = d.ended(err)
		return n, d.err
	}
	return n, nil
}

// ended is io.EOF if the dump is whole.
func (d *dump) ended(err error) error {
	if failed := d.pgDump.Wait(); failed != nil {
		return fmt.Errorf("pg_dump failed (%w): %s", failed, firstLines(d.said.String()))
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read from pg_dump: %w", err)
	}
	for _, c := range d.checks {
		_ = c.in.Close() // it may have ended by itself
		if err := c.Wait(); err != nil {
			return fmt.Errorf("what pg_dump has made is no whole dump: pg_restore: %w: %s", err, firstLines(c.err.String()))
		}
	}
	if missing := missingTables(d.checks[0].out.String(), d.tables); len(missing) > 0 {
		return fmt.Errorf("the dump has no rows of the tables %s", strings.Join(missing, ", "))
	}
	return io.EOF
}

// Close ends what still runs.
func (d *dump) Close() {
	commands := []*exec.Cmd{d.pgDump}
	for _, c := range d.checks {
		commands = append(commands, c.Cmd)
	}
	for _, cmd := range commands {
		if cmd.Process != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}

var tableData = regexp.MustCompile(`(?m)^\d+; \d+ \d+ TABLE DATA public (\S+) `)

// missingTables are those of which a list that pg_restore made has no rows.
func missingTables(list string, tables []string) []string {
	wanted := map[string]bool{}
	for _, table := range tables {
		wanted[table] = true
	}
	for _, match := range tableData.FindAllStringSubmatch(list, -1) {
		delete(wanted, match[1])
	}
	return slices.Sorted(maps.Keys(wanted))
}
