package main

import (
	"net/http"
	"strings"
	"testing"
)

// The first administrator is made by the command, with the server's environment; it says what it did, or what to do.
func TestUserSetRole(t *testing.T) {
	t.Parallel()
	env := environment(t)
	server := startServer(t, env...)
	server.await("/api/ready", http.StatusOK)
	token := server.register("artist")
	f := &fleet{servers: []*process{server}, token: token}
	administers := func() bool {
		status, _, _ := f.do("GET", "/api/admin/users", nil)
		return status == http.StatusOK
	}
	for _, step := range []struct {
		args  []string
		fails bool
		says  string
		admin bool
	}{
		{[]string{"nobody@example.com", "admin"}, true, "no account has the email address nobody@example.com: register it first", false},
		{[]string{"artist@example.com", "boss"}, true, `there is no role "boss": give user or admin`, false},
		{[]string{"Artist@example.com", "admin"}, false, "artist@example.com (artist) has the role admin now", true},
		{[]string{"artist@example.com", "user"}, true, "is the last administrator: make another one first", true},
	} {
		out, err := command(t, env, append([]string{"user", "set-role"}, step.args...)...).CombinedOutput()
		if (err != nil) != step.fails || !strings.Contains(string(out), step.says) {
			t.Errorf("%q: %v, %s", step.args, err, out)
		}
		if administers() != step.admin {
			t.Errorf("after %q: an administrator is %t, want %t", step.args, !step.admin, step.admin)
		}
	}
}
