package controllers

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
)

// fakeReadiness answers the readiness route as server pods do; its zero value says
// that all is well. What real pods answer is tested in test/e2e.
type fakeReadiness struct {
	mu     sync.Mutex
	down   map[string]string // check → reason
	silent bool              // connections end without an answer
	delay  time.Duration     // before an answer
}

func (f *fakeReadiness) silence(silent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent = silent
}

func (f *fakeReadiness) set(check, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = map[string]string{check: reason}
}

func (f *fakeReadiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(f.delay)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent {
		panic(http.ErrAbortHandler)
	}
	check := func(name string) config.Check {
		if reason := f.down[name]; reason != "" {
			return config.Check{Status: config.CheckDown, Reason: reason}
		}
		return config.Check{Status: config.CheckOK}
	}
	answer := config.Readiness{Status: config.StatusOK, Checks: config.Checks{
		Database: check("database"), Schema: check("schema"), Storage: check("storage"), Cache: check("cache"),
	}}
	if len(f.down) > 0 {
		answer.Status = config.StatusDegraded
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// serve answers on a loopback address of its own, which it returns. Test runs side by
// side on one machine share those addresses, so a taken one means another try.
func (f *fakeReadiness) serve(t *testing.T) (ip string) {
	t.Helper()
	var listener net.Listener
	for err := error(syscall.EADDRINUSE); errors.Is(err, syscall.EADDRINUSE); {
		ip = fmt.Sprintf("127.77.%d.%d", rand.IntN(256), 1+rand.IntN(254))
		if listener, err = net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(config.ServerPort))); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	server := &http.Server{Handler: f}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { _ = server.Close() })
	return ip
}
