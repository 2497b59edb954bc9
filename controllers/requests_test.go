package controllers

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// requestLog notes requests to the apiserver as they leave the process.
type requestLog struct {
	mu     sync.Mutex
	seen   []request
	broken func(request) bool // requests that never arrive
}

// breakDown lets requests fail from now on; nil lets none.
func (l *requestLog) breakDown(broken func(request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = broken
}

func (l *requestLog) breaks(r request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken != nil && l.broken(r)
}

type request struct {
	verb      string // as RBAC names it
	resource  string // with its group and subresource
	namespace string
	path      string
	status    int
	denied    bool // by RBAC; quotas and the like answer 403 as well
}

func (r request) String() string { return fmt.Sprintf("%s %s (%d)", r.verb, r.path, r.status) }

// write says whether the request changes anything.
func (r request) write() bool { return r.verb != "get" && r.verb != "list" && r.verb != "watch" }

func (l *requestLog) add(r request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, r)
}

// since returns the requests after the first n, and how many there are now.
func (l *requestLog) since(n int) ([]request, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]request(nil), l.seen[n:]...), len(l.seen)
}

type recordingTransport struct {
	next http.RoundTripper
	log  *requestLog
}

func (t recordingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	noted := parseRequest(r)
	if t.log.breaks(noted) {
		noted.status = http.StatusTeapot
		t.log.add(noted)
		return nil, errBroken
	}
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		noted.status = resp.StatusCode
		if resp.StatusCode == http.StatusForbidden {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			resp.Body = io.NopCloser(bytes.NewReader(body))
			noted.denied = bytes.Contains(body, []byte(operatorUser+`" cannot`))
		}
	}
	t.log.add(noted)
	return resp, err
}

// parseRequest finds verb and resource of /api/v1/… or /apis/<group>/<version>/… .
func parseRequest(r *http.Request) request {
	out := request{path: r.URL.Path}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	group := ""
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = "."+parts[1], parts[3:]
	default:
		out.verb = strings.ToLower(r.Method)
		return out
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		out.namespace, parts = parts[1], parts[2:]
	}
	out.resource = parts[0] + group
	if len(parts) > 2 {
		out.resource += "/" + parts[2]
	}
	named := len(parts) > 1
	switch r.Method {
	case http.MethodGet:
		out.verb = "list"
		if named {
			out.verb = "get"
		} else if r.URL.Query().Get("watch") != "" {
			out.verb = "watch"
		}
	case http.MethodPost:
		out.verb = "create"
	default:
		out.verb = map[string]string{http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	}
	if out.verb == "" {
		out.verb = fmt.Sprint(r.Method)
	}
	return out
}
