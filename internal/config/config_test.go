package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func env(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func minimal() map[string]string {
	return map[string]string{
		"DATABASE_URL": "postgres://u:p@db:5432/assets", "REDIS_URL": "redis://cache:6379/0",
		"JWT_SECRET": strings.Repeat("k", 32), "S3_BUCKET_NAME": "assets",
	}
}

func TestLoadServerDefaults(t *testing.T) {
	s, err := LoadServer(env(minimal()))
	if err != nil {
		t.Fatal(err)
	}
	if s.Port != 3000 || s.MetricsPort != 9090 || s.MaxFileSizeImage != 10485760 || s.MaxFileSizeAudio != 52428800 {
		t.Errorf("defaults are not those of the studio's guide: %+v", s)
	}
}

func TestLoadServerReportsEveryProblemAtOnce(t *testing.T) {
	vars := minimal()
	delete(vars, "S3_BUCKET_NAME")
	vars["PORT"] = "70000"
	vars["TRUSTED_PROXIES"] = "10.0.0.1"
	vars["S3_ACCESS_KEY"] = "only-one-of-two"
	vars["TRASH_RETENTION"] = "a month"
	vars["LOG_LEVEL"] = "loud"
	vars["MAX_FILE_SIZE_IMAGE"] = "9223372036854775807"
	vars["MAX_FILE_SIZE_AUDIO"] = "52428800001"
	vars["ALLOWED_ORIGINS"] = "https://studio.example, foo"
	_, err := LoadServer(env(vars))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"S3_BUCKET_NAME", "PORT", "TRUSTED_PROXIES", "S3_ACCESS_KEY", "TRASH_RETENTION", "LOG_LEVEL", "ALLOWED_ORIGINS", "MAX_FILE_SIZE_IMAGE", "MAX_FILE_SIZE_AUDIO"} {
		if !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s is not named in %q", name, err)
		}
	}
}

func TestAllowedOrigins(t *testing.T) {
	for value, want := range map[string][]string{
		"":  nil,
		"*": {"*"},
		" https://studio.example, http://localhost:5173,https://*.studio.example ": {"https://studio.example", "http://localhost:5173", "https://*.studio.example"},
	} {
		vars := minimal()
		vars["ALLOWED_ORIGINS"] = value
		s, err := LoadServer(env(vars))
		if err != nil || !slices.Equal(s.AllowedOrigins, want) {
			t.Errorf("%q: %q, %v", value, s.AllowedOrigins, err)
		}
	}
	for _, value := range []string{"foo", "studio.example", "https://studio.example/", "https://studio.example/app", "ftp://studio.example", "https://", "null"} {
		vars := minimal()
		vars["ALLOWED_ORIGINS"] = value
		_, err := LoadServer(env(vars))
		if err == nil || !strings.Contains(err.Error(), "ALLOWED_ORIGINS: \""+value+"\" is not an origin: write scheme and host") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestErrorsDoNotRepeatSecrets(t *testing.T) {
	for _, url := range []string{"postgres://u:hunter2@db:54 32/x", "mysql://u:hunter2@db/x", "hunter2"} {
		vars := minimal()
		vars["DATABASE_URL"] = url
		_, err := LoadServer(env(vars))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("DATABASE_URL=%s: %v", url, err)
		}
	}
}

func TestLoadMigratePrefersTheDirectURL(t *testing.T) {
	m, err := LoadMigrate(env(map[string]string{"DATABASE_URL": "postgres://pooler/a", "DATABASE_DIRECT_URL": "postgres://server/a"}))
	if err != nil || m.DatabaseURL != "postgres://server/a" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestTerminationStaysWithinTheKubeletsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := Termination{Code: CodeMigrationFailed, Message: strings.Repeat("\"x\" ", 5000), Remedy: "do this", Result: json.RawMessage(`{"schema":3}`)}
	if err := WriteTermination(path, want); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(path)
	if err != nil || len(body) > terminationLimit {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	got, ok := ReadTermination(string(body))
	if !ok || got.Code != want.Code || got.Remedy != want.Remedy || got.Message == "" {
		t.Errorf("got %+v", got)
	}
	if _, ok := ReadTermination("panic: runtime error"); ok {
		t.Error("took a stack trace for a termination message")
	}
}

// Keys come back as they were, whatever is in them, and a list that a person has written is read as it looks.
func TestKeys(t *testing.T) {
	for _, keys := range [][]string{nil, {"one"}, {"one", "two"}, {"a,b", ",", "base64:x", "three"}} {
		if got := SplitKeys(JoinKeys(keys)); !slices.Equal(got, keys) {
			t.Errorf("%q came back as %q", keys, got)
		}
	}
	if got := SplitKeys(JoinKeys([]string{" a key\n", "an\nother"})); !slices.Equal(got, []string{"a key", "an\nother"}) {
		t.Errorf("got %q", got)
	}
	if got := SplitKeys("one, two,"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("got %q", got)
	}
	values := minimal()
	values["JWT_VERIFY_SECRETS"] = "one,base64:???"
	if _, err := LoadServer(env(values)); err == nil || !strings.Contains(err.Error(), "JWT_VERIFY_SECRETS") {
		t.Errorf("what is no base64 was taken: %v", err)
	}
}
