//go:build bench

// Package bench holds benchmarks that print each figure with its ratio to the limit
// that we promise: below 1.00 the promise holds. Run them with
//
//	go test -tags bench -v ./bench
package bench

import (
	"bufio"
	"context"
	"encoding/json"
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

// TestServerStart measures the real binary against running services, several times.
func TestServerStart(t *testing.T) {
	const runs = 5
	program := build(t)
	env := environment(t)
	var starts []time.Duration
	var idle, anonymous []int64
	for range runs {
		port := services.FreePort(t)
		began := time.Now()
		server := exec.Command(program, config.CommandServer)
		server.Env = append(env, fmt.Sprintf("PORT=%d", port), fmt.Sprintf("METRICS_PORT=%d", services.FreePort(t)))
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		awaitReady(t, port)
		starts = append(starts, time.Since(began))
		time.Sleep(3 * time.Second)
		idle = append(idle, memory(t, server.Process.Pid, "VmRSS"))
		anonymous = append(anonymous, memory(t, server.Process.Pid, "RssAnon"))
		server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Errorf("the server did not end well: %v", err)
		}
	}
	start := median(starts)
	fmt.Printf("server start to ready: %v (median of %d; limit %v): %.2f\n", start.Round(time.Millisecond), runs, limitStart, float64(start)/float64(limitStart))
	rss := median(idle)
	fmt.Printf("server idle RSS: %.1f MB, of which %.1f MB anonymous (median of %d; limit %d MB): %.2f\n",
		float64(rss)/(1<<20), float64(median(anonymous))/(1<<20), runs, limitIdle>>20, float64(rss)/limitIdle)
}

// build compiles the program as the image has it.
func build(t *testing.T) string {
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
func environment(t *testing.T) []string {
	t.Helper()
	pg := services.SharedPostgres(t)
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

func awaitReady(t *testing.T, port int) {
	t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d%s", port, config.PathReady)
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
func memory(t *testing.T, pid int, name string) int64 {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

func median[T int64 | time.Duration](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
