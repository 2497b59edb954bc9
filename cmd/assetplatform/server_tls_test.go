package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

// mounted is a Secret's volume as the kubelet keeps it: links to a folder that is swapped as a whole.
type mounted struct {
	t    *testing.T
	path string
	n    int
}

func mount(t *testing.T, cert, key []byte) *mounted {
	t.Helper()
	path, err := os.MkdirTemp(programDir, "tls-")
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err == nil {
			err = os.Symlink(filepath.Join("..data", name), filepath.Join(path, name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	m := &mounted{t: t, path: path}
	m.swap(cert, key)
	return m
}

func (m *mounted) file(name string) string { return filepath.Join(m.path, name) }

func (m *mounted) swap(cert, key []byte) {
	m.t.Helper()
	m.n++
	data := fmt.Sprintf("..%d", m.n)
	err := os.Mkdir(m.file(data), 0o755)
	for name, content := range map[string][]byte{"tls.crt": cert, "tls.key": key} {
		if err == nil {
			err = os.WriteFile(filepath.Join(m.file(data), name), content, 0o644)
		}
	}
	if err == nil {
		err = os.Symlink(data, m.file("..new"))
	}
	if err == nil {
		err = os.Rename(m.file("..new"), m.file("..data"))
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// A key pair is renewed while an upload is under way: new connections get the new one, the upload ends on its old
// connection, and a pair that does not fit together changes nothing.
func TestServerRenewsItsKeyPair(t *testing.T) {
	t.Parallel()
	const host = "api.example.com"
	authority := services.NewAuthority(t)
	soon, later := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(2*time.Hour).Truncate(time.Second)
	cert, key := authority.Issue(t, host, soon)
	volume := mount(t, cert, key)
	port := services.FreePort(t)
	p := startServer(t, append(environment(t), fmt.Sprintf("TLS_PORT=%d", port), "TLS_CERT_FILE="+volume.file("tls.crt"), "TLS_KEY_FILE="+volume.file("tls.key"), "DRAIN_DELAY=0s")...)
	p.await(config.PathReady, http.StatusOK)
	token := p.register("alice")

	address := fmt.Sprintf("127.0.0.1:%d", port)
	newClient := func() *http.Client {
		return &http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), ServerName: host},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
		}}
	}
	expires := func(client *http.Client) time.Time {
		t.Helper()
		answer, err := client.Get("https://" + host + config.PathHealth)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.ProtoMajor != 2 || answer.StatusCode != http.StatusOK {
			t.Errorf("%s %d", answer.Proto, answer.StatusCode)
		}
		return answer.TLS.PeerCertificates[0].NotAfter
	}
	client := newClient()
	if got := expires(client); !got.Equal(soon) {
		t.Errorf("the first certificate expires at %v, want %v", got, soon)
	}

	p.url = "https://" + host
	upload := p.wavUpload(token, 20<<20, 3)
	body, half, renewed := upload.Body, make(chan struct{}), make(chan struct{})
	upload.Body = io.NopCloser(io.MultiReader(io.LimitReader(body, 10<<20), pause{half, renewed}, body))
	uploaded := make(chan error, 1)
	go func() {
		answer, err := client.Do(upload)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode != http.StatusCreated || !answer.TLS.PeerCertificates[0].NotAfter.Equal(soon) {
				err = fmt.Errorf("%d on a connection whose certificate expires at %v", answer.StatusCode, answer.TLS.PeerCertificates[0].NotAfter)
			}
		}
		uploaded <- err
	}()
	<-half
	cert, key = authority.Issue(t, host, later)
	volume.swap(cert, key)
	if got := expires(newClient()); !got.Equal(later) {
		t.Errorf("the renewed certificate expires at %v, want %v", got, later)
	}
	torn, _ := authority.Issue(t, host, later.Add(time.Hour))
	volume.swap(torn, key)
	if got := expires(newClient()); !got.Equal(later) {
		t.Errorf("with a pair that is none the certificate expires at %v, want %v", got, later)
	}
	if err := os.Remove(volume.file("..data")); err != nil {
		t.Fatal(err)
	}
	if got := expires(newClient()); !got.Equal(later) {
		t.Errorf("without files the certificate expires at %v, want %v", got, later)
	}
	close(renewed)
	if err := <-uploaded; err != nil {
		t.Error(err)
	}

	// What is refused before it is read in full reaches the client as well.
	answer, err := client.Do(p.wavUpload(token, 60<<20, 4))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if answer.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(text), "FILE_TOO_LARGE") {
		t.Errorf("a file that is too large: %d %s", answer.StatusCode, text)
	}
	p.stop()
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// pause is a part of a body that comes when it is let go.
type pause struct{ begun, end chan struct{} }

func (p pause) Read([]byte) (int, error) {
	close(p.begun)
	<-p.end
	return 0, io.EOF
}

func TestServerRefusesABadKeyPair(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{{"TLS_CERT_FILE=/nowhere/tls.crt", "TLS_KEY_FILE=/nowhere/tls.key"}, {"TLS_CERT_FILE=/nowhere/tls.crt"}} {
		cmd := command(t, append(environment(t), append(env, fmt.Sprintf("PORT=%d", services.FreePort(t)), fmt.Sprintf("METRICS_PORT=%d", services.FreePort(t)))...), config.CommandServer)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "/nowhere/tls.crt") && !strings.Contains(string(out), "TLS_KEY_FILE") {
			t.Errorf("%v: %v\n%s", env, err, out)
		}
	}
}
