// Package services runs real PostgreSQL, Redis and S3 servers for tests, on free
// loopback ports with data in temporary directories. One of each is shared by all tests
// of a binary, started when first asked for; a test that stops or breaks one starts its
// own. They end with Main, and at the latest with the test's process.
//
// A program that is missing fails the test: hack/deps installs them.
package services

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a server may take until it answers.
const startTimeout = 30 * time.Second

// Main runs the tests of a package and then ends the shared servers. Call it from TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(services.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, end := range shared.ends {
		end()
	}
	return code
}

// shared are the servers that all tests of this binary use.
var shared struct {
	mu       sync.Mutex
	ends     []func()
	postgres *Postgres
	redis    *Redis
	s3       *S3
}

// Server is a program that runs until Stop or the end of the tests.
type Server struct {
	Address string // 127.0.0.1:port; it keeps its port when started again

	name    string
	command func() *exec.Cmd
	ready   func() error
	running *exec.Cmd
	done    chan struct{} // closed when it has ended
	log     *Log
}

// Start starts the program (again) and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) start() error {
	cmd := s.command()
	s.log = &Log{}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := spawn(cmd); err != nil {
		return missing(s.name, err)
	}
	s.running, s.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // it is killed, as a rule
		close(done)
	}(s.done)
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
		err := s.ready()
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("%s ended at once:\n%s", s.name, s.log)
		default:
		}
		if time.Now().After(deadline) {
			s.end(syscall.SIGKILL)
			return fmt.Errorf("%s does not answer: %w\n%s", s.name, err, s.log)
		}
	}
}

// Stop ends the program as a crash would; its data stay for the next Start.
func (s *Server) Stop() { s.end(syscall.SIGKILL) }

// PID is the running program's process.
func (s *Server) PID() int { return s.running.Process.Pid }

// Pause makes the program hang, as an overloaded machine would, until Resume.
func (s *Server) Pause() {
	s.signal(syscall.SIGSTOP)
	for status := ""; !strings.Contains(status, "State:\tT"); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.running.Process.Pid))
		if err != nil {
			return // it has ended
		}
		status = string(text)
	}
}

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) end(signal syscall.Signal) {
	if s.running == nil {
		return
	}
	s.signal(signal)
	<-s.done
	s.running = nil
}

func (s *Server) signal(signal syscall.Signal) {
	_ = s.running.Process.Signal(signal) // fails only if it has ended
}

// missing explains why a program could not be started.
func missing(name string, err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not installed: run hack/deps (%w)", name, err)
	}
	return fmt.Errorf("start %s: %w", name, err)
}

// spawn starts cmd from one thread that lives as long as the process: the kernel sends
// Pdeathsig when the thread that started the child ends.
func spawn(cmd *exec.Cmd) error {
	startSpawner.Do(func() {
		go func() {
			runtime.LockOSThread()
			for request := range spawnRequests {
				request.result <- request.cmd.Start()
			}
		}()
	})
	request := spawnRequest{cmd, make(chan error, 1)}
	spawnRequests <- request
	return <-request.result
}

type spawnRequest struct {
	cmd    *exec.Cmd
	result chan error
}

var (
	startSpawner  sync.Once
	spawnRequests = make(chan spawnRequest)
)

// freeAddress returns a loopback address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// FreePort returns a loopback port that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

// answers dials the server.
func answers(address string) error {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		conn.Close()
	}
	return err
}

// dataDir makes a temporary directory that the account owns.
func dataDir(name string, account *user.User) (string, error) {
	dir, err := os.MkdirTemp("", "assetplatform-test-"+name+"-")
	if err != nil || account == nil {
		return dir, err
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	return dir, os.Chown(dir, uid, gid)
}

// Log collects what programs and loggers print, from several goroutines.
type Log struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write adds to the log.
func (b *Log) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

// String is all that was printed so far.
func (b *Log) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
