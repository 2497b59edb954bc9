// Package bench holds benchmarks that report each figure with its ratio to the limit
// that we promise: below 1.00 the promise holds. `make bench` runs them.
package bench

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

func TestMain(m *testing.M) { os.Exit(services.Main(m)) }

// What a server process may take.
const (
	limitIdle  = 40 << 20               // bytes of resident memory, some seconds after the start
	limitStart = 300 * time.Millisecond // from exec to the first "ok" of /api/ready
)

// BenchmarkServerStart measures the real binary against running services.
func BenchmarkServerStart(b *testing.B) {
	const runs = 5
	program := build(b)
	env := environment(b)
	var starts []time.Duration
	var idle, anonymous []int64
	for range runs {
		began := time.Now()
		server := startServer(b, program, env)
		starts = append(starts, time.Since(began))
		time.Sleep(3 * time.Second)
		idle = append(idle, memory(b, server.pid(), "VmRSS"))
		anonymous = append(anonymous, memory(b, server.pid(), "RssAnon"))
		server.stop(b)
	}
	report(b, "start-to-ready", "ms", float64(median(starts).Microseconds())/1000, float64(limitStart.Milliseconds()))
	report(b, "idle-RSS", "MB", float64(median(idle))/(1<<20), limitIdle>>20)
	b.ReportMetric(float64(median(anonymous))/(1<<20), "idle-anonymous-MB")
	b.ReportMetric(0, "ns/op") // says nothing here
}

// report prints a figure and its ratio to the limit.
func report(b *testing.B, name, unit string, value, limit float64) {
	b.ReportMetric(value, name+"-"+unit)
	b.ReportMetric(value/limit, name+"/limit")
}

// build compiles the program as the image has it.
func build(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "assetplatform")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "../cmd/assetplatform")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// environment is a server's, with a fresh database and bucket.
func environment(t testing.TB) []string {
	t.Helper()
	return environmentOn(t, services.SharedPostgres(t))
}

func environmentOn(t testing.TB, pg *services.Postgres) []string {
	t.Helper()
	url := pg.URL(pg.Migrated(t, "platform", func(url string) error {
		_, err := store.Migrate(context.Background(), store.MigrateOptions{URL: url, LockWait: time.Minute, Log: slog.New(slog.DiscardHandler)})
		return err
	}))
	bucket := services.SharedS3(t).Bucket(t)
	return []string{
		"DATABASE_URL=" + url, "REDIS_URL=" + services.SharedRedis(t), "JWT_SECRET=a key that is long enough for HS256",
		"S3_BUCKET_NAME=" + bucket.Name, "S3_ENDPOINT=" + bucket.Endpoint, "S3_ACCESS_KEY=" + bucket.AccessKey, "S3_SECRET_KEY=" + bucket.SecretKey,
		"DRAIN_DELAY=0s",
	}
}

// setting is the value of a variable of an environment.
func setting(env []string, name string) string {
	i := slices.IndexFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	return strings.TrimPrefix(env[i], name+"=")
}

// serverProcess is the real binary, serving.
type serverProcess struct {
	url     string
	command *exec.Cmd
}

// startServer starts the program in the environment, and waits until it is ready.
func startServer(t testing.TB, program string, env []string, settings ...string) *serverProcess {
	t.Helper()
	port := services.FreePort(t)
	s := &serverProcess{fmt.Sprintf("http://127.0.0.1:%d", port), exec.Command(program, config.CommandServer)}
	s.command.Env = append(append(slices.Clone(env), settings...), fmt.Sprintf("PORT=%d", port), fmt.Sprintf("METRICS_PORT=%d", services.FreePort(t)))
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, s.url)
	return s
}

func (s *serverProcess) pid() int { return s.command.Process.Pid }

func (s *serverProcess) stop(t testing.TB) {
	t.Helper()
	if err := errors.Join(s.command.Process.Signal(syscall.SIGTERM), s.command.Wait()); err != nil {
		t.Errorf("the server did not end well: %v", err)
	}
}

func awaitReady(t testing.TB, url string) {
	t.Helper()
	url += config.PathReady
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		answer, err := http.Get(url)
		if err != nil {
			continue
		}
		var ready config.Readiness
		err = json.NewDecoder(answer.Body).Decode(&ready)
		answer.Body.Close()
		if err == nil && ready.Status == config.StatusOK {
			return
		}
	}
	t.Fatal("the server did not become ready")
}

// memory reads a figure of /proc/PID/status in bytes.
func memory(t testing.TB, pid int, name string) int64 {
	t.Helper()
	bytes, err := readMemory(pid, name)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func readMemory(pid int, name string) (bytes int64, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("no %s", name)
}

func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
