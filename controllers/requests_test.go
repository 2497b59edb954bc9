package controllers

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
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
	to := requestOf(r)
	noted := request{verb: to.verb, resource: to.resource, namespace: to.namespace, path: r.URL.Path}
	if to.group != "" {
		noted.resource += "." + to.group
	}
	noted.resource += to.subresource
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
