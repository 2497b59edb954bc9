package backup

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	// serverStart is how long PostgreSQL may take until it answers, and our server.
	serverStart = time.Minute
	// postgresStop is how long it may take to end.
	postgresStop = 10 * time.Second
	// debianPostgres is where Debian keeps the server's programs, outside of PATH.
	debianPostgres = "/usr/lib/postgresql/*/bin"
	throwawayUser  = "drill"
)

// throwawaySettings make a server that is quick and keeps nothing; it answers this machine alone.
var throwawaySettings = []string{
	"listen_addresses=127.0.0.1", "unix_socket_directories=", "password_encryption=scram-sha-256",
	"fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB", "checkpoint_timeout=1h",
	"autovacuum=off", "jit=off", "shared_buffers=128MB", "maintenance_work_mem=256MB", "max_connections=50",
}

// throwaway is a PostgreSQL server for one drill. It ends with this process, and nothing of it stays; of a drill that was killed, until the next.
type throwaway struct {
	dir  string
	lock *os.File // held as long as this process lives
	cmd  *exec.Cmd
	said tail
	done chan struct{} // closed when it has ended
	url  string
}

var majorVersion = regexp.MustCompile(`\d+`)

// major is the first number of a version of PostgreSQL; 0 if it has none.
func major(version string) int {
	n, _ := strconv.Atoi(majorVersion.FindString(version))
	return n
}

// serverPrograms are those of the oldest PostgreSQL server here that is not older than a version.
func (p programs) serverPrograms(ctx context.Context, version string) (programs, error) {
	least := major(version)
	directories := []string{string(p)}
	if p == "" {
		directories, _ = filepath.Glob(debianPostgres) // the pattern is right
		if found, err := exec.LookPath("postgres"); err == nil {
			directories = append(directories, filepath.Dir(found))
		}
	}
	best, bestMajor := programs(""), 0
	for _, dir := range directories {
		out, err := programs(dir).command(ctx, os.Environ(), "postgres", "--version").Output()
		if err != nil {
			continue
		}
		is := major(string(out))
		if _, missing := os.Stat(filepath.Join(dir, "initdb")); missing == nil && is > 0 && is >= least && (bestMajor == 0 || is < bestMajor) {
			best, bestMajor = programs(dir), is
		}
	}
	if bestMajor == 0 {
		return "", &store.Problem{
			Code: config.CodeDrillPostgresMissing, Message: fmt.Sprintf("there are no programs initdb and postgres of PostgreSQL %d or later", least),
			Remedy: "install PostgreSQL's server programs, or name an empty database with BACKUP_DRILL_DATABASE_URL",
		}
	}
	return best, nil
}

// account is under which PostgreSQL runs, which refuses root; nil: our own.
func account() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil //nolint:nilnil // as SysProcAttr has it
	}
	found, err := user.Lookup("postgres")
	if err != nil {
		return nil, &store.Problem{
			Code: config.CodeDrillPostgresMissing, Message: "PostgreSQL does not run as root, and there is no account postgres",
			Remedy: "run the drill as another user, or name an empty database with BACKUP_DRILL_DATABASE_URL",
		}
	}
	uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
}

// startThrowaway starts a server of a PostgreSQL that is not older than a version, with an empty database.
func (p programs) startThrowaway(ctx context.Context, version string) (_ *throwaway, err error) {
	bin, err := p.serverPrograms(ctx, version)
	if err != nil {
		return nil, err
	}
	as, err := account()
	if err != nil {
		return nil, err
	}
	removeDeadDrills()
	t := &throwaway{}
	if t.dir, err = os.MkdirTemp("", drillDirectory); err != nil {
		return nil, &store.Problem{
			Code: config.CodeConfigInvalid, Message: "make a directory for the drill's database: " + err.Error(),
			Remedy: "see that " + os.TempDir() + " is there and can be written to, or set TMPDIR to a directory where there is room",
		}
	}
	defer func() {
		if err != nil {
			t.stop()
		}
	}()
	if t.lock, err = lockDrill(t.dir); err != nil {
		return nil, err
	}
	password := crand.Text()
	if err := t.initialise(ctx, bin, as, password); err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	u := url.URL{Scheme: "postgres", User: url.UserPassword(throwawayUser, password), Host: address, Path: "/postgres", RawQuery: "sslmode=disable"}
	t.url = u.String()
	args := []string{"-D", filepath.Join(t.dir, "data"), "-p", strconv.Itoa(ports[0])}
	for _, setting := range throwawaySettings {
		args = append(args, "-c", setting)
	}
	t.cmd = t.command(ctx, bin, as, "postgres", args...)
	if err := t.cmd.Start(); err != nil {
		t.cmd = nil
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	t.done = make(chan struct{})
	go func() {
		_ = t.cmd.Wait() // we end it
		close(t.done)
	}()
	return t, t.await(ctx)
}

// command prepares a program that runs where the server's files are. Ended with us, PostgreSQL ends its own processes.
func (t *throwaway) command(ctx context.Context, bin programs, as *syscall.Credential, name string, args ...string) *exec.Cmd {
	cmd := bin.command(ctx, []string{"PATH=" + string(bin) + ":/usr/bin:/bin", "TZ=UTC", "TMPDIR=" + t.dir}, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.dir, &t.said, &t.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Credential: as}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	return cmd
}

func (t *throwaway) initialise(ctx context.Context, bin programs, as *syscall.Credential, password string) error {
	file := filepath.Join(t.dir, "password")
	err := os.WriteFile(file, []byte(password), 0o600)
	if as != nil {
		err = errors.Join(err, os.Chown(t.dir, int(as.Uid), int(as.Gid)), os.Chown(file, int(as.Uid), int(as.Gid)))
	}
	if err != nil {
		return err
	}
	err = t.command(ctx, bin, as, "initdb", "--pgdata="+filepath.Join(t.dir, "data"), "--username="+throwawayUser, "--pwfile="+file,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions").Run()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, &t.said)
	}
	return os.Remove(file)
}

// await returns once the server answers.
func (t *throwaway) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverStart)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, t.url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-t.done:
			return fmt.Errorf("postgres has ended: %s", &t.said)
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w: %s", err, &t.said)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the server, and removes what it has left.
func (t *throwaway) stop() {
	if t.cmd != nil {
		_ = t.cmd.Process.Signal(syscall.SIGQUIT) // it may have ended
		select {
		case <-t.done:
		case <-time.After(postgresStop):
			_ = t.cmd.Process.Kill()
			<-t.done
		}
	}
	_ = os.RemoveAll(t.dir) // what is left the next drill removes
	if t.lock != nil {
		_ = t.lock.Close()
	}
}

// freePorts are loopback ports on which nobody listens.
func freePorts(count int) (ports []int, err error) {
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// tail keeps the end of what is written to it, for messages.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const tailBytes = 2000

// Write keeps the end.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	if over := t.text.Len() - tailBytes; over > 0 {
		t.text.Next(over)
	}
	return len(p), nil
}

// String is the end.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
