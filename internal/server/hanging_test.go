package server

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

// A dependency that hangs does not hold up the answer, nor the checks of the others.
func TestHangingDependency(t *testing.T) {
	t.Parallel()
	redis := services.NewRedis(t, "")
	p := newPlatform(t, func(c *config.Server) { c.RedisURL = "redis://" + redis.Address })
	p.awaitStatus(200, config.StatusOK)
	redis.Pause()
	defer redis.Resume()
	checks := p.awaitStatus(200, config.StatusDegraded)
	wantDown(t, "cache", checks.Cache, "did not answer in time")
	start := time.Now()
	p.probe()
	if took := time.Since(start); took > time.Second {
		t.Errorf("the probe took %v", took)
	}
}

// gate is a TCP proxy that can fall silent: then it still accepts connections, and
// nothing comes through them, old ones included.
type gate struct {
	net.Listener
	silent sync.RWMutex // locked while it is
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			go g.pass(near, far)
			go g.pass(far, near)
		}
	}()
	return g
}

func (g *gate) pass(to, from net.Conn) {
	defer to.Close()
	piece := make([]byte, 32<<10)
	for {
		n, err := from.Read(piece)
		g.silent.RLock()
		if _, writeErr := to.Write(piece[:n]); err == nil {
			err = writeErr
		}
		g.silent.RUnlock()
		if err != nil {
			return
		}
	}
}

// While the database takes connections and never answers, every request ends within its
// deadline, with the code; the pod is alive, and says what it waits for.
func TestHangingDatabase(t *testing.T) {
	t.Parallel()
	pg := services.SharedPostgres(t)
	g := newGate(t, pg.Address)
	database := pg.Migrated(t, "platform", migrateURL)
	through := strings.Replace(pg.URL(database), pg.Address, g.Addr().String(), 1)
	p := newPlatform(t, func(c *config.Server) { c.DatabaseURL = through })
	p.awaitStatus(200, config.StatusOK)
	session := p.register("alice")
	token := session.AccessToken
	a := p.uploadPNG(token, "a.png", png("1"))

	g.silent.Lock()
	resume := sync.OnceFunc(g.silent.Unlock)
	defer resume()
	refresh := `{"refreshToken":"` + session.RefreshToken + `"}`
	// More than the pool has connections, so that some also wait for one.
	for round := range 2 {
		var all sync.WaitGroup
		for name, request := range map[string]func() reply{
			"register": func() reply {
				return p.post("/api/auth/register", "", `{"email":"b@example.com","username":"bob","password":"`+password+`"}`)
			},
			"login":     func() reply { return p.login("alice", password, "") },
			"refresh":   func() reply { return p.post("/api/auth/refresh", "", refresh) },
			"logout":    func() reply { return p.post("/api/auth/logout", token, `{}`) },
			"profile":   func() reply { return p.get("/api/auth/profile", token) },
			"list":      func() reply { return p.get("/api/assets", token) },
			"get":       func() reply { return p.get(assetPath(a.ID), token) },
			"delete":    func() reply { return p.do("DELETE", assetPath(a.ID), token, nil) },
			"purge":     func() reply { return p.do("DELETE", assetPath(a.ID)+"?permanent=true", token, nil) },
			"download":  func() reply { return p.get(a.DownloadURL, token) },
			"upload":    func() reply { return p.upload(token, newForm().file("b.png", "", png("2"))) },
			"another":   func() reply { return p.get("/api/assets?limit=1", token) },
			"and one":   func() reply { return p.get("/api/assets?limit=2", token) },
			"and a few": func() reply { return p.get("/api/assets?limit=3", token) },
		} {
			all.Go(func() {
				start := time.Now()
				r := request()
				took := time.Since(start)
				t.Logf("round %d, %s: %d after %.1f s", round, name, r.status, took.Seconds())
				if took > jsonTimeout+2*time.Second {
					t.Errorf("%s took %v", name, took)
				}
				r.wantProblem(503, "DATABASE_UNAVAILABLE", "")
			})
		}
		all.Go(func() {
			checks := p.awaitStatus(200, config.StatusDegraded)
			wantDown(t, "database", checks.Database, "the database at "+g.Addr().String()+" did not answer in time")
			if checks.Storage.Status != config.CheckOK || checks.Cache.Status != config.CheckOK {
				t.Errorf("the others: %+v", checks)
			}
			start := time.Now()
			p.get(config.PathHealth, "").want(200)
			p.probe()
			if took := time.Since(start); took > time.Second {
				t.Errorf("the probes took %v", took)
			}
		})
		all.Wait()
	}
	resume()
	p.awaitStatus(200, config.StatusOK)
	p.get(assetPath(a.ID), token).want(200)
}

// While the bucket takes connections and never answers, downloads and uploads end within
// half a minute, wherever they were; afterwards all goes on.
func TestHangingBucket(t *testing.T) {
	t.Parallel()
	g := newGate(t, services.SharedS3(t).Address)
	p := newPlatform(t, func(c *config.Server) { c.Bucket.Endpoint = "http://" + g.Addr().String() })
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "a.png", png("1"))
	large := newForm().file("b.png", "image/png", png(strings.Repeat("x", 9<<20)))
	large.writer.Close()
	content := large.buffer.Bytes()
	// One upload that has come further: its first part is in the bucket.
	conn := p.rawUpload(token, large, len(content))
	send(t, conn, content[:6<<20])
	eventually(t, "an upload has begun", func() bool {
		return strings.Contains(fmt.Sprint(p.s3.Keys(t, p.bucket.Name)), "upload:")
	})

	g.silent.Lock()
	resume := sync.OnceFunc(g.silent.Unlock)
	defer resume()
	var all sync.WaitGroup
	for name, request := range map[string]func() reply{
		"download": func() reply { return p.get(a.DownloadURL, token) },
		"upload":   func() reply { return p.upload(token, newForm().file("c.png", "", png("2"))) },
		"large upload": func() reply {
			return p.do("POST", "/api/assets/upload", token, bytes.NewReader(content), "Content-Type", large.writer.FormDataContentType())
		},
		"upload that has begun": func() reply {
			if _, err := conn.Write(content[6<<20:]); err != nil {
				t.Error(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			return readReply(t, conn)
		},
	} {
		all.Go(func() {
			start := time.Now()
			r := request()
			took := time.Since(start)
			t.Logf("%s: %d after %.1f s", name, r.status, took.Seconds())
			if most := 35 * time.Second; took > most {
				t.Errorf("%s took %v", name, took)
			}
			r.wantProblem(503, "STORAGE_UNAVAILABLE", "")
		})
	}
	all.Wait()
	resume()
	p.awaitStatus(200, config.StatusOK)
	p.get(a.DownloadURL, token).want(200)
	p.uploadPNG(token, "c.png", png("2"))
}
