package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
)

func TestNoRoute(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, path := range []string{"/", "/api", "/api/nothing", "/api/assets/1/2/3", "/docs", "/openapi.json", "/schemas/x", "/metrics"} {
		p.get(path, "").wantProblem(404, "NOT_FOUND", "")
	}
	for _, test := range []struct{ method, path, allow string }{
		{"PATCH", "/api/auth/login", "POST"},
		{"GET", "/api/auth/login", "POST"},
		{"POST", "/api/health", "GET, HEAD"},
		{"POST", "/api/assets/01a20a70-5f65-7221-837d-cee508b83709", "GET, HEAD, PUT, PATCH, DELETE"},
		{"POST", "/api/assets", "GET, HEAD"},
		{"BREW", "/api/assets", "GET, HEAD"},
		{"GET", "/api/assets/upload", "POST"},
		{"DELETE", "/api/assets/upload", "POST"},
		{"PUT", "/api/assets/upload/", "POST"},
	} {
		r := p.do(test.method, test.path, "", nil).wantProblem(405, "METHOD_NOT_ALLOWED", "")
		if got := r.header.Get("Allow"); got != test.allow {
			t.Errorf("%s %s: Allow: %s", test.method, test.path, got)
		}
	}
	p.get("/api/health/", "").want(200) // a slash at the end does not matter
	p.get("/api/assets/", p.register("alice").AccessToken).want(200)
	p.wantMetric(`http_requests_total{method="GET",route="other",status="404"} 8`)
	p.wantMetric(`http_requests_total{method="other",route="other",status="405"} 1`)
}

// Slashes too many do not matter, and bring no redirect, which clients follow without their token.
func TestPathsAreCleaned(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	a := p.uploadPNG(token, "a.png", png("1"))
	for _, path := range []string{"//api//health", "/api/health//", "/api/./health", "/api/assets/../health", "/api/assets/%2e%2e/health", "//api/assets//" + a.ID.String() + "/", "/api/assets/" + a.ID.String() + "//download"} {
		r, err := http.NewRequest("GET", p.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		answer, err := http.DefaultTransport.RoundTrip(r) // follows no redirect
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
	}
	p.get("//nothing//here", "").wantProblem(404, "NOT_FOUND", "")
}

// What is no path at all is answered in our shape too.
func TestAddressesWithoutAPath(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, line := range []string{"GET * HTTP/1.1", "CONNECT example.com:443 HTTP/1.1", "GET http://x HTTP/1.1"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		send(t, conn, []byte(line+"\r\nHost: x\r\n\r\n"))
		r := readReply(t, conn).want(404)
		var refusal errorBody
		if r.decode(&refusal); refusal.Info.Code != "NOT_FOUND" || refusal.RequestID != r.header.Get("X-Request-Id") {
			t.Errorf("%s: %s", line, r.body)
		}
	}
}

// What net/http refuses by itself has our error's shape too, also behind good requests.
func TestWhatIsNotHTTP(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	const good = "GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, test := range map[string]struct {
		request string
		status  int
	}{
		"address":       {"GET /api/assets/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"no host":       {"GET /api/health HTTP/1.1\r\n\r\n", 400},
		"header":        {"GET /api/health HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400},
		"length":        {"POST /api/assets/upload HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n", 400},
		"nonsense":      {"hello\r\n\r\n", 400},
		"coding":        {"POST /api/assets/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		"long header":   {"GET /api/health HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		"expectation":   {"POST /api/assets/upload HTTP/1.1\r\nHost: x\r\nExpect: magic\r\nContent-Length: 0\r\n\r\n", 417},
		"behind a good": {good + "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			p := *p
			p.t = t
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			send(t, conn, []byte(test.request))
			reader := bufio.NewReader(conn)
			if strings.HasPrefix(test.request, good) {
				answer, err := http.ReadResponse(reader, nil)
				if err != nil || answer.StatusCode != 200 {
					t.Fatalf("the good request: %v, %v", answer, err)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			answer, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			r := reply{t, answer.StatusCode, answer.Header, body, answer.Close}.want(test.status)
			var refusal errorBody
			r.decode(&refusal)
			if refusal.Info.Code != "VALIDATION_ERROR" || refusal.Info.Message == "" || refusal.RequestID == "" || refusal.RequestID != r.header.Get("X-Request-Id") ||
				refusal.Timestamp.IsZero() || r.header.Get("Content-Type") != "application/json" || !r.closed {
				t.Errorf("%v %s", r.header, r.body)
			}
			if !strings.Contains(p.log.String(), refusal.RequestID) {
				t.Error("the log does not know of it")
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	if got := p.get("/api/health", "", "X-Request-Id", "abc-1.2_3").header.Get("X-Request-Id"); got != "abc-1.2_3" {
		t.Errorf("a usable id was not taken over: %s", got)
	}
	for _, bad := range []string{"", "a b", strings.Repeat("x", 65), `{"x":1}`} {
		if got := p.get("/api/health", "", "X-Request-Id", bad).header.Get("X-Request-Id"); got == bad || got == "" {
			t.Errorf("%q was answered with %q", bad, got)
		}
	}
	first, second := p.get("/api/health", ""), p.get("/api/health", "")
	if first.header.Get("X-Request-Id") == second.header.Get("X-Request-Id") {
		t.Error("two requests share an id")
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, path := range []string{"/api/health", "/api/auth/profile", "/nothing"} {
		r := p.get(path, "", "Accept", "text/html,application/cbor")
		if r.header.Get("X-Content-Type-Options") != "nosniff" || r.header.Get("Content-Type") != "application/json" || r.header.Get("Link") != "" || strings.Contains(string(r.body), "$schema") {
			t.Errorf("%s: %v %s", path, r.header, r.body)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Strict-Transport-Security": "",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s: %q", path, name, got)
			}
		}
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	handler := p.server.middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			w.WriteHeader(http.StatusOK)
			_, _ = w.Write([]byte("half"))
		}
		panic("secret detail")
	}))
	web := httptest.NewServer(handler)
	defer web.Close()
	broken := *p
	broken.url = web.URL
	r := broken.get("/early", "").wantProblem(500, "INTERNAL_SERVER_ERROR", "")
	if strings.Contains(string(r.body), "secret detail") {
		t.Errorf("the client is told: %s", r.body)
	}
	if answer, err := http.Get(web.URL + "/late"); err == nil {
		answer.Body.Close()
		t.Error("an answer that broke off looks whole")
	}
	if log := p.log.String(); strings.Count(log, `"msg":"panic"`) < 2 || !strings.Contains(log, "middleware_test.go") {
		t.Errorf("the log does not tell where: %s", log)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	preflight := func(p *platform, origin string) http.Header {
		return p.do("OPTIONS", "/api/assets/upload", "", nil, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization").header
	}
	p := newPlatform(t, func(c *config.Server) { c.AllowedOrigins = []string{"https://studio.example"} })
	if got := preflight(p, "https://studio.example").Get("Access-Control-Allow-Origin"); got != "https://studio.example" {
		t.Errorf("allowed origin: %q", got)
	}
	if got := preflight(p, "https://evil.example").Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("another origin: %q", got)
	}
	r := p.get("/api/auth/profile", "", "Origin", "https://studio.example")
	if r.header.Get("Access-Control-Allow-Origin") != "https://studio.example" || !strings.Contains(strings.ToLower(r.header.Get("Access-Control-Expose-Headers")), "retry-after") {
		t.Errorf("an error hides from the page: %v", r.header)
	}
	many := newPlatform(t, func(c *config.Server) { c.AllowedOrigins = []string{"https://*.studio.example"} })
	for origin, allowed := range map[string]bool{"https://a.studio.example": true, "https://studio.example": false, "https://studio.example.evil.example": false, "http://a.studio.example": false} {
		if got := preflight(many, origin).Get("Access-Control-Allow-Origin"); (got == origin) != allowed {
			t.Errorf("%s of many: %q", origin, got)
		}
	}
	closed := newPlatform(t)
	if got := preflight(closed, "https://studio.example").Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("without origins: %q", got)
	}
	open := newPlatform(t, func(c *config.Server) { c.AllowedOrigins = []string{"*"} })
	if got := preflight(open, "https://any.example").Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("every origin: %q", got)
	}
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, test := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"203.0.113.1:5", nil, "203.0.113.1"},
		{"203.0.113.1:5", []string{"198.51.100.1"}, "203.0.113.1"}, // not from a proxy: a lie
		{"10.1.1.1:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.1.1:5", []string{"1.1.1.1, 198.51.100.1, 10.2.2.2"}, "198.51.100.1"}, // what is left of it the client made up
		{"10.1.1.1:5", []string{"1.1.1.1", "198.51.100.1"}, "198.51.100.1"},
		{"10.1.1.1:5", []string{"10.3.3.3"}, "10.3.3.3"},
		{"10.1.1.1:5", []string{"unknown"}, "10.1.1.1"},
		{"10.1.1.1:5", []string{""}, "10.1.1.1"},
		{"10.1.1.1:5", []string{"1.1.1.1, unknown"}, "10.1.1.1"},
		{"10.1.1.1:5", []string{"1.1.1.1, _hidden, 10.2.2.2"}, "10.2.2.2"},
		{"10.1.1.1:5", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"10.1.1.1:5", []string{"198.51.100.1:4711, 10.2.2.2:80"}, "198.51.100.1"},
		{"10.1.1.1:5", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"10.1.1.1:5", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"10.1.1.1:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"10.1.1.1:5", []string{"fe80::1%eth0"}, "fe80::1"},
		{"[fd00::1]:5", []string{"2001:db8::7"}, "2001:db8::7"},
		{"[::ffff:10.1.1.1]:5", []string{"198.51.100.1"}, "198.51.100.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.peer
		r.Header["X-Forwarded-For"] = test.forwarded
		if got := clientAddress(r, trusted, slog.New(slog.DiscardHandler)).String(); got != test.want {
			t.Errorf("%s %q: %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
}

func TestMetricsPage(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	p.uploadPNG(token, "a.png", png("1"))
	p.exec(`insert into river_job (kind, args, queue, max_attempts, state, scheduled_at) values ('purge', '{}', 'purge', 3, 'available', now() - interval '1 min')`)
	page := p.metrics()
	for _, want := range []string{
		"http_request_duration_seconds_bucket{", `object_store_request_duration_seconds_count{operation="put",status="ok"} 1`,
		`database_connections{state="idle"}`, "database_connections_limit 10", `dependency_up{dependency="database"} 1`, `job_queue_jobs{queue="purge",state="available"} 1`,
		`job_queue_oldest_seconds{queue="purge",state="available"} 6`, "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(page, p.list(token).Data[0].ID.String()) {
		t.Error("a path is a label value")
	}
}

func TestErrorShapeHasNoMore(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	var body map[string]json.RawMessage
	p.get("/api/assets", "").decode(&body)
	if len(body) != 4 || body["error"] == nil || body["timestamp"] == nil || string(body["path"]) != `"/api/assets"` || body["requestId"] == nil {
		t.Errorf("%s", body)
	}
}

// Who asks before it sends is refused at once, and is not told to send.
func TestRefusalOfWhoAsksFirst(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	token := p.register("alice").AccessToken
	for name, test := range map[string]struct {
		path, token, contentType string
		length                   int
		status                   int
		code                     string
	}{
		"bad token": {"/api/assets/upload", "x", "multipart/form-data; boundary=x", 1000, 401, "UNAUTHORIZED"},
		"too large": {"/api/assets/upload", token, "multipart/form-data; boundary=x", 1 << 30, 413, "FILE_TOO_LARGE"},
		"bad type":  {"/api/assets/upload", token, "text/plain", 1000, 415, "UNSUPPORTED_MEDIA_TYPE"},
		"no route":  {"/api/nothing", token, "text/plain", 1000, 404, "NOT_FOUND"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		start := time.Now()
		send(t, conn, fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
			test.path, test.token, test.contentType, test.length))
		r := readReply(t, conn).wantProblem(test.status, test.code, "")
		if took := time.Since(start); took > time.Second || !r.closed || r.header.Get("Content-Length") == "" {
			t.Errorf("%s: after %v, %v", name, took, r.header)
		}
	}
	r, err := http.Get(p.url + "/api/nothing")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.ContentLength <= 0 || r.Close {
		t.Errorf("a GET that is refused: Content-Length %d", r.ContentLength)
	}
}
