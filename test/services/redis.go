package services

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

// Redis is a Redis server that keeps nothing on disk.
type Redis struct{ Server }

var redisDatabases atomic.Int64

// SharedRedis returns the URL of a database of its own on the server that all tests of this binary use.
func SharedRedis(t testing.TB) (url string) {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.redis == nil {
		r, err := startRedis("")
		if err != nil {
			t.Fatal(err)
		}
		shared.redis = r
		shared.ends = append(shared.ends, r.Stop)
	}
	return fmt.Sprintf("redis://%s/%d", shared.redis.Address, redisDatabases.Add(1))
}

// NewRedis starts a server for one test; without a password if it is empty.
func NewRedis(t testing.TB, password string) *Redis {
	t.Helper()
	r, err := startRedis(password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

func startRedis(password string) (*Redis, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	r := &Redis{Server{
		name: "redis-server", Address: address,
		command: func() *exec.Cmd {
			cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
				"--databases", "1000", "--requirepass", password)
			cmd.Dir = os.TempDir()
			return cmd
		},
		ready: func() error { return answers(address) },
	}}
	return r, r.start()
}
