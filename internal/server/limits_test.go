package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

// behindProxy makes the tests' own address a proxy's, so that they can come from anywhere.
func behindProxy(c *config.Server) {
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func (p *platform) login(name, password, from string) reply {
	p.t.Helper()
	return p.do("POST", "/api/auth/login", "", strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, name, password)),
		"Content-Type", "application/json", "X-Forwarded-For", from)
}

// wantLimited checks a 429 and that all its headers are whole numbers that make sense.
func (r reply) wantLimited(limit int) {
	r.t.Helper()
	r.wantProblem(429, "RATE_LIMIT_EXCEEDED", "")
	for name, check := range map[string]func(int) bool{
		"Retry-After":         func(n int) bool { return n > 0 && n <= 900 },
		"RateLimit-Reset":     func(n int) bool { return n > 0 && n <= 900 },
		"RateLimit-Limit":     func(n int) bool { return n == limit },
		"RateLimit-Remaining": func(n int) bool { return n == 0 },
	} {
		if n, err := strconv.Atoi(r.header.Get(name)); err != nil || !check(n) {
			r.t.Errorf("%s: %q", name, r.header.Get(name))
		}
	}
}

func TestLoginLimitOfAnAccount(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy)
	p.register("alice")
	p.register("bob")
	for _, name := range []string{"alice", "nobody"} { // whether there is such an account or not
		for i := range 5 {
			r := p.login(name, "wrong", "203.0.113.1").want(401)
			if left := r.header.Get("RateLimit-Remaining"); left != strconv.Itoa(4-i) {
				t.Errorf("%s: after %d failures %s remain", name, i+1, left)
			}
		}
		p.login(name, "wrong", "203.0.113.1").wantLimited(5)
	}
	p.login("alice", password, "203.0.113.1").wantLimited(5)             // the right one, too
	p.login("alice@example.com", password, "203.0.113.1").wantLimited(5) // under every name
	p.login("bob", password, "203.0.113.1").want(200)
	p.login("alice", password, "203.0.113.2").want(200) // nobody locks her out from elsewhere

	// The count is shared by all pods.
	pod := newPlatform(t, func(c *config.Server) { *c = p.server.config })
	pod.login("alice", password, "203.0.113.1").wantLimited(5)
}

func TestLoginLimitOfAnAddress(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy, func(c *config.Server) { c.RateLimits.LoginAddress = 8 })
	p.register("alice")
	for i := range 8 {
		p.login(fmt.Sprint("user", i), "wrong", fmt.Sprintf("2001:db8::%d", i)).want(401) // one /64 is one address
	}
	p.login("alice", password, "2001:db8::99").wantLimited(8)
	p.login("alice", password, "2001:db8:0:1::99").want(200)
}

// Behind a Service that hides client addresses everybody comes from a node.
func TestNodesAndProxiesHaveNoAddressLimit(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy, func(c *config.Server) { c.RateLimits.LoginAddress = 2 })
	p.register("alice")
	for _, from := range []string{"10.1.2.3", "172.16.0.9", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "100.127.255.254", "::1", "fd00::1", "fe80::1"} {
		for i := range 3 {
			p.login(fmt.Sprint("user", i), "wrong", from).want(401)
		}
		p.login("alice", password, from).want(200)
	}
	for range 5 {
		p.login("alice", "wrong", "10.1.2.3").want(401)
	}
	p.login("alice", password, "10.1.2.3").wantLimited(5) // the account's limit holds
}

func TestSuccessfulLoginsDoNotCount(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy, func(c *config.Server) { c.RateLimits = config.RateLimits{LoginAccount: 2, LoginAddress: 4} })
	p.register("alice")
	var all sync.WaitGroup
	for range 10 { // more than both limits, at once: an office behind one address
		all.Go(func() { p.login("alice", password, "203.0.113.1").want(200) })
	}
	all.Wait()
}

// Guesses that are made all at once are not all looked at.
func TestParallelGuessesAreLimited(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy)
	p.register("alice")
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			status := p.login("alice", "wrong", "203.0.113.1").status
			mu.Lock()
			statuses[status]++
			mu.Unlock()
		})
	}
	all.Wait()
	if statuses[401] > 5+hashSlots-1 || statuses[401]+statuses[429] != 20 {
		t.Errorf("statuses: %v", statuses)
	}
}

// A guess counts and is noted also where its sender does not wait for the answer, and says nothing about Redis.
func TestGuessesOfWhoHangsUp(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy)
	p.register("alice")
	guess := func(pause time.Duration) int {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const body = `{"username":"alice","password":"wrong"}`
		fmt.Fprintf(conn, "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		time.Sleep(pause)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		return readReply(t, conn).status
	}
	statuses := map[int]int{}
	for i := range 40 { // some of them in the middle of the work
		statuses[guess(time.Duration(2*i)*time.Millisecond)]++
	}
	var noted int
	p.query("select count(*) from audit_events where action = 'user.login_failed'", &noted)
	if statuses[401] > 5 || noted != statuses[401] {
		t.Errorf("statuses %v, %d failures noted", statuses, noted)
	}
	for range 5 - noted {
		p.login("alice", "wrong", "203.0.113.1").want(401)
	}
	p.login("alice", password, "203.0.113.1").wantLimited(5)
	if strings.Contains(p.log.String(), "in this process only") {
		t.Error("Redis was taken to be away")
	}
}

func TestLoginLimitsWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := services.NewRedis(t, "")
	p := newPlatform(t, behindProxy, func(c *config.Server) { c.RedisURL = "redis://" + redis.Address })
	p.register("alice")
	redis.Stop()
	for range 5 {
		p.login("alice", "wrong", "203.0.113.1").want(401)
	}
	p.login("alice", password, "203.0.113.1").wantLimited(5)
	redis.Start(t)
	eventually(t, "Redis is used again", func() bool { return p.login("alice", password, "203.0.113.1").status == http.StatusOK })
}

func TestLoginLimitsOff(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, func(c *config.Server) { c.RateLimits = config.RateLimits{} })
	p.register("alice")
	for range 8 {
		p.login("alice", "wrong", "").want(401)
	}
	p.login("alice", password, "").want(200)
}

func TestLocalCounter(t *testing.T) {
	t.Parallel()
	c := localCounter{windows: map[string]window{}}
	now := time.Now()
	counted := func(key string) limit { return limit{key, 5, loginWindow} }
	for range 3 {
		c.windowsOf([]limit{counted("k")}, true, now)
	}
	if n := c.windowsOf([]limit{counted("k"), counted("l")}, false, now)[0].count; n != 3 {
		t.Errorf("counted %d", n)
	}
	if n := c.windowsOf([]limit{counted("k")}, false, now.Add(loginWindow+time.Second))[0].count; n != 0 {
		t.Errorf("a window that ended still counts %d", n)
	}
	for i := range 2 * localKeys {
		c.windowsOf([]limit{counted(fmt.Sprint(i))}, true, now.Add(time.Duration(i)*time.Second))
	}
	if len(c.windows) > localKeys+1 {
		t.Errorf("%d counts are held", len(c.windows))
	}
}

// Counts that go on are not gone through at every request.
func TestLocalCounterOfManyAddresses(t *testing.T) {
	t.Parallel()
	c := localCounter{windows: map[string]window{}}
	now := time.Now()
	start := time.Now()
	for i := range 5 * localKeys {
		c.windowsOf([]limit{{fmt.Sprint(i), 5, loginWindow}}, true, now)
	}
	if took := time.Since(start); len(c.windows) != 5*localKeys || took > 5*time.Second { // 50 ms; a minute if it goes through them
		t.Errorf("%d counts took %v", len(c.windows), took)
	}
	for i := range 5 * localKeys { // none is held beyond twice as many as there were
		c.windowsOf([]limit{{fmt.Sprint("later", i), 5, loginWindow}}, true, now.Add(2*loginWindow))
	}
	if len(c.windows) > 5*localKeys {
		t.Errorf("%d counts are held, most of which ended", len(c.windows))
	}
}

func TestGeneralLimit(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy, func(c *config.Server) { c.RateLimits.General = 5 })
	alice, bob := p.register("alice"), p.register("bob")
	for i := range 5 {
		r := p.get("/api/auth/profile", alice.AccessToken).want(200)
		if left := r.header.Get("RateLimit-Remaining"); left != strconv.Itoa(4-i) || r.header.Get("RateLimit-Limit") != "5" {
			t.Errorf("after %d requests %s remain", i+1, left)
		}
	}
	p.get("/api/auth/profile", alice.AccessToken).wantLimited(5)
	p.upload(alice.AccessToken, newForm().file("a.png", "image/png", png("1"))).wantLimited(5)
	p.get("/api/auth/profile", bob.AccessToken).want(200)
	asset := p.uploadPNG(bob.AccessToken, "a.png", png("1"))
	for range 8 { // downloads do not count
		p.get(asset.DownloadURL, bob.AccessToken).want(200)
	}
	// Who is not logged in counts by address, but inside addresses, which many share, do not count.
	for range 5 {
		p.login("nobody", "wrong", "203.0.113.9").want(401)
	}
	p.login("bob", password, "203.0.113.9").wantLimited(5)
	p.get("/api/health", "").want(200)
	for i := range 8 {
		p.login(fmt.Sprint("nobody", i), "wrong", "10.0.0.1").want(401)
	}
}

// Who has no token that counts is counted by the address, on routes that need one; who has one goes on.
func TestGeneralLimitOfWhoIsRefused(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy, func(c *config.Server) { c.RateLimits.General = 6 })
	alice := p.register("alice")
	asset := p.uploadPNG(alice.AccessToken, "a.png", png("1"))
	key := p.newKey(alice, `["write"]`)
	get := func(path, token, from string) reply {
		return p.get(path, token, "X-Forwarded-For", from)
	}
	for _, token := range []string{"", "ap_guess", "x.y.z"} {
		get("/api/assets", token, "203.0.113.9").wantProblem(401, "UNAUTHORIZED", "")
		get(asset.DownloadURL, token, "203.0.113.9").wantProblem(401, "UNAUTHORIZED", "")
	}
	get("/api/assets", "ap_guess", "203.0.113.9").wantLimited(6)
	get(asset.DownloadURL, "ap_guess", "203.0.113.9").wantLimited(6)
	get("/api/assets", "ap_guess", "203.0.113.10").want(401)
	get(asset.DownloadURL, alice.AccessToken, "203.0.113.9").want(200)
	for range 8 { // many share it
		get("/api/assets", "ap_guess", "10.0.0.1").want(401)
	}
	for range 4 { // after the upload and the key
		get("/api/assets", key.Key, "203.0.113.11").wantProblem(403, "FORBIDDEN", "")
	}
	get("/api/assets", key.Key, "203.0.113.11").wantLimited(6) // one of a user's, wherever it comes from
}

func TestRegisterAndUploadLimits(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, behindProxy, func(c *config.Server) { c.RateLimits.Register, c.RateLimits.Upload = 2, 2 })
	register := func(name, from string) reply {
		body := fmt.Sprintf(`{"email":"%s@example.com","username":"%s","password":"%s"}`, name, name, password)
		return p.do("POST", "/api/auth/register", "", strings.NewReader(body), "Content-Type", "application/json", "X-Forwarded-For", from)
	}
	register("one", "203.0.113.1").want(201)
	register("two", "203.0.113.1").want(201)
	if r := register("three", "203.0.113.1").wantProblem(429, "RATE_LIMIT_EXCEEDED", ""); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	alice := decode1[sessionBody](register("alice", "203.0.113.2").want(201))
	for i := range 2 {
		p.uploadPNG(alice.AccessToken, "a.png", png(fmt.Sprint(i)))
	}
	if r := p.upload(alice.AccessToken, newForm().file("b.png", "image/png", png("b"))).wantProblem(429, "RATE_LIMIT_EXCEEDED", ""); r.header.Get("RateLimit-Limit") != "2" {
		t.Errorf("headers: %v", r.header)
	}
}
