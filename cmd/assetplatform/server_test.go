package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
	"github.com/assetplatform/assetplatform/test/services"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "assetplatform-test-program-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // for the unprivileged user
	}
	if err != nil {
		panic(err)
	}
	programDir = dir
	code := services.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

var programDir string

// program is the real binary, built when the first test needs it.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "assetplatform")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// process is a server as it runs in its pod: as user 1001, with nowhere to write to.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	out  services.Log
	done chan struct{} // closed when it has ended
}

// command prepares the program in its pod's conditions, with an environment of pairs.
func command(t *testing.T, env []string, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, arguments...)
	cmd.Dir, cmd.Env = "/", append(env, "TMPDIR=/nonexistent", "HOME=/nonexistent")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 1001, Gid: 1001}
	}
	return cmd
}

// startServer runs `assetplatform server` with additions to its environment.
func startServer(t *testing.T, env ...string) *process {
	t.Helper()
	port := services.FreePort(t)
	p := &process{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", port), done: make(chan struct{})}
	p.cmd = command(t, append(env, fmt.Sprintf("PORT=%d", port), fmt.Sprintf("METRICS_PORT=%d", services.FreePort(t))), config.CommandServer)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // exit tells the code
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // most have ended
		<-p.done
		if t.Failed() {
			t.Logf("the server's log:\n%s", &p.out)
		}
	})
	return p
}

// environment is a server's, with a database, a bucket and a Redis of its own.
func environment(t *testing.T) []string {
	t.Helper()
	return environmentOn(t, services.SharedPostgres(t))
}

func environmentOn(t *testing.T, pg *services.Postgres) []string {
	t.Helper()
	database := pg.Migrated(t, "platform", func(url string) error {
		_, err := store.Migrate(context.Background(), store.MigrateOptions{URL: url, LockWait: time.Minute, Log: slog.New(slog.DiscardHandler)})
		return err
	})
	bucket := services.SharedS3(t).Bucket(t)
	return []string{
		"DATABASE_URL=" + pg.URL(database), "REDIS_URL=" + services.SharedRedis(t), "JWT_SECRET=a key that is long enough for HS256",
		"S3_BUCKET_NAME=" + bucket.Name, "S3_ENDPOINT=" + bucket.Endpoint, "S3_ACCESS_KEY=" + bucket.AccessKey, "S3_SECRET_KEY=" + bucket.SecretKey,
	}
}

// status asks for a path; 0 means that nobody answers.
func (p *process) status(path string) int {
	answer, err := http.Get(p.url + path)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

func (p *process) await(path string, status int) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); p.status(path) != status; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not answer %d", path, status)
		}
	}
}

// stop tells the server to end, as the kubelet does.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end of the process and returns its exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		p.t.Fatal("the server does not end")
		return -1
	}
}

// register makes an account and returns its access token.
func (p *process) register(name string) string {
	p.t.Helper()
	body := fmt.Sprintf(`{"email":"%s@example.com","username":"%s","password":"correct horse"}`, name, name)
	answer, err := http.Post(p.url+"/api/auth/register", "application/json", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	var session struct{ Data struct{ AccessToken string } }
	if err := json.NewDecoder(answer.Body).Decode(&session); err != nil || session.Data.AccessToken == "" {
		p.t.Fatalf("register: %d, %v", answer.StatusCode, err)
	}
	return session.Data.AccessToken
}

// wavUpload is an upload's request whose body is made while it is sent.
func (p *process) wavUpload(token string, size int64, seed byte) *http.Request {
	p.t.Helper()
	body, sink := io.Pipe()
	form := multipart.NewWriter(sink)
	go func() {
		w, err := form.CreateFormFile("file", "long.wav")
		if err == nil {
			_, err = io.Copy(w, wav(size, seed))
		}
		sink.CloseWithError(errors.Join(err, form.Close()))
	}()
	r, err := http.NewRequest("POST", p.url+"/api/assets/upload", body)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// wav is a sound, 8 bit, mono, of noise, with its sizes as programs write them into a pipe.
func wav(size int64, seed byte) io.Reader {
	const head = "RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\xff\xff\xff\xff"
	return io.MultiReader(strings.NewReader(head), io.LimitReader(rand.NewChaCha8([32]byte{seed}), size-int64(len(head))))
}

// memory reads a figure of /proc/PID/status, in bytes.
func (p *process) memory(name string) int64 {
	p.t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kilobytes << 10
		}
	}
	p.t.Fatalf("no %s", name)
	return 0
}

// peakDuring is by how much the resident memory grew at most while work ran.
func (p *process) peakDuring(work func()) int64 {
	p.t.Helper()
	// 5 resets the high-water mark, proc(5).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0); err != nil {
		p.t.Fatal(err)
	}
	before := p.memory("VmRSS")
	work()
	return p.memory("VmHWM") - before
}

// A 50 MB file goes up and comes down again without 50 MB of memory.
func TestUploadMemory(t *testing.T) {
	p := startServer(t, environment(t)...)
	p.await(config.PathReady, http.StatusOK)
	token := p.register("alice")
	const size = 50 << 20
	sum := sha256.New()
	if _, err := io.Copy(sum, wav(size, 1)); err != nil {
		t.Fatal(err)
	}

	var asset struct {
		Data struct{ SHA256, DownloadURL string }
	}
	grown := p.peakDuring(func() {
		answer, err := http.DefaultClient.Do(p.wavUpload(token, size, 1))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if err := json.NewDecoder(answer.Body).Decode(&asset); err != nil || asset.Data.SHA256 != hex.EncodeToString(sum.Sum(nil)) {
			t.Fatalf("upload: %d %+v, %v", answer.StatusCode, asset, err)
		}
	})
	t.Logf("an upload of 50 MB costs %.1f MB", float64(grown)/(1<<20))
	if grown > 25<<20 {
		t.Errorf("an upload of 50 MB costs %d MB", grown>>20)
	}
	grown = p.peakDuring(func() {
		r, _ := http.NewRequest("GET", p.url+asset.Data.DownloadURL, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		back := sha256.New()
		if n, err := io.Copy(back, answer.Body); err != nil || n != size || !bytes.Equal(back.Sum(nil), sum.Sum(nil)) {
			t.Errorf("download: %d bytes, %v", n, err)
		}
	})
	t.Logf("a download of 50 MB costs %.1f MB", float64(grown)/(1<<20))
	if grown > 10<<20 {
		t.Errorf("a download of 50 MB costs %d MB", grown>>20)
	}
}

// A crowd that logs in at once must not burst a pod of 256 MiB.
func TestLoginBurstMemory(t *testing.T) {
	p := startServer(t, append(environment(t), "RATE_LIMIT_LOGIN_ADDRESS=0")...)
	p.await(config.PathReady, http.StatusOK)
	p.register("alice")
	grown := p.peakDuring(func() {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				answer, err := http.Post(p.url+"/api/auth/login", "application/json", strings.NewReader(`{"username":"alice","password":"correct horse"}`))
				if err != nil {
					t.Error(err)
					return
				}
				answer.Body.Close()
				if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusTooManyRequests {
					t.Errorf("login: %d", answer.StatusCode)
				}
			})
		}
		all.Wait()
	})
	t.Logf("100 logins at once cost %.1f MB", float64(grown)/(1<<20))
	if grown > 100<<20 {
		t.Errorf("100 logins at once cost %d MB", grown>>20)
	}
}

// Told to stop, a server says at once that it is not ready, goes on answering for the
// drain delay, finishes the upload that is under way, and ends well.
func TestServerDrains(t *testing.T) {
	t.Parallel()
	p := startServer(t, append(environment(t), "DRAIN_DELAY=2s")...)
	p.await(config.PathReady, http.StatusOK)
	token := p.register("alice")
	content, boundary := slowForm()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/assets/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", token, boundary, len(content))
	send(t, conn, content[:len(content)/2])

	p.stop()
	told := time.Now()
	p.await(config.PathReady, http.StatusServiceUnavailable)
	if took := time.Since(told); took > time.Second {
		t.Errorf("not ready only after %v", took)
	}
	if status := p.status(config.PathHealth); status != http.StatusOK {
		t.Errorf("health while draining: %d", status)
	}
	time.Sleep(2500 * time.Millisecond)
	if status := p.status(config.PathHealth); status != 0 {
		t.Errorf("a request after the drain delay: %d", status)
	}
	select {
	case <-p.done:
		t.Fatal("the server ended during an upload")
	default:
	}
	send(t, conn, content[len(content)/2:])
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Errorf("the upload: %d", answer.StatusCode)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(p.out.String(), `"msg":"stopped"`) {
		t.Error("the log does not tell the end")
	}
}

func slowForm() (content []byte, contentType string) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	w, err := form.CreateFormFile("file", "a.wav")
	if err == nil {
		_, err = io.Copy(w, wav(100_000, 7))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		panic(err) // into memory: cannot fail
	}
	return body.Bytes(), form.FormDataContentType()
}

func send(t *testing.T, conn net.Conn, part []byte) {
	t.Helper()
	if _, err := conn.Write(part); err != nil {
		t.Fatal(err)
	}
}

// A server whose dependencies are all away is alive, says so, and still stops well.
func TestServerWithoutDependencies(t *testing.T) {
	t.Parallel()
	p := startServer(t, "DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/x", "REDIS_URL=redis://127.0.0.1:1", "JWT_SECRET=short",
		"S3_BUCKET_NAME=b", "S3_ENDPOINT=http://127.0.0.1:1", "S3_ACCESS_KEY=a", "S3_SECRET_KEY=hunter2", "DRAIN_DELAY=0s")
	p.await(config.PathHealth, http.StatusOK)
	p.await(config.PathReady, http.StatusServiceUnavailable)
	time.Sleep(time.Second)
	p.stop()
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if log := p.out.String(); strings.Contains(log, "hunter2") || !strings.Contains(log, "JWT_SECRET is short") {
		t.Errorf("log: %s", log)
	}
	for line := range strings.Lines(p.out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// The help tells of every variable, and of what to do first.
func TestServerHelp(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetArgs([]string{"server", "--help"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, v := range config.ServerVars {
		if !strings.Contains(out.String(), "  "+v.Name+" (") || !strings.Contains(out.String(), v.Doc) {
			t.Errorf("the help does not tell of %s", v.Name)
		}
	}
	if !strings.Contains(out.String(), "user set-role EMAIL admin") {
		t.Error("the help does not tell of the first administrator")
	}
}

func TestServerRefusesBadSettings(t *testing.T) {
	t.Parallel()
	out, err := command(t, []string{"PORT=70000", "DATABASE_URL=mysql://u:hunter2@db/x"}, config.CommandServer).CombinedOutput()
	if err == nil {
		t.Fatal("started")
	}
	for _, name := range []string{"PORT", "DATABASE_URL", "REDIS_URL", "JWT_SECRET", "S3_BUCKET_NAME"} {
		if !strings.Contains(string(out), name+": ") {
			t.Errorf("%s is not named in %s", name, out)
		}
	}
	if strings.Contains(string(out), "hunter2") {
		t.Errorf("a password is in %s", out)
	}
}
