//go:build e2e

package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// user is somebody who uses a platform's API through its Service.
type user struct {
	url   string
	token string
	http  http.Client
}

// register makes a user on a platform.
func register(t *testing.T, ap *assetv1.AssetPlatform, name string) *user {
	t.Helper()
	u := connect(t, ap)
	u.session(t, "register", map[string]string{"email": name + "@example.com", "username": name, "password": "correct horse battery " + name})
	return u
}

// login logs a user of an earlier platform in.
func login(t *testing.T, ap *assetv1.AssetPlatform, name string) *user {
	t.Helper()
	u := connect(t, ap)
	u.session(t, "login", map[string]string{"username": name, "password": "correct horse battery " + name})
	return u
}

// connect is a user of the platform's Service, which answers.
func connect(t *testing.T, ap *assetv1.AssetPlatform) *user {
	t.Helper()
	return (&user{url: serviceURL(t, ap), http: http.Client{Timeout: 20 * time.Second}}).await(t)
}

// await waits until the API answers: kube-proxy follows the endpoints of a Service by about a second.
func (u *user) await(t *testing.T) *user {
	t.Helper()
	eventually(t, func() error {
		_, err := u.send(http.MethodGet, "/api/health", "", nil)
		return err
	})
	return u
}

// serviceURL is the address of the platform's Service, which the test host reaches.
func serviceURL(t *testing.T, ap *assetv1.AssetPlatform) string {
	t.Helper()
	var service corev1.Service
	if err := cluster.Get(ctx, client.ObjectKeyFromObject(ap), &service); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://%s:%d", service.Spec.ClusterIP, service.Spec.Ports[0].Port)
}

func (u *user) session(t *testing.T, route string, body map[string]string) {
	t.Helper()
	token, err := u.tokenOf(route, body)
	if err != nil {
		t.Fatal(err)
	}
	u.token = token
}

// login starts another session, and returns its access token.
func (u *user) login(credentials map[string]string) (string, error) {
	return u.tokenOf("login", map[string]string{"email": credentials["email"], "password": credentials["password"]})
}

func (u *user) tokenOf(route string, body map[string]string) (string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	got, err := u.send(http.MethodPost, "/api/auth/"+route, "application/json", text)
	if err != nil {
		return "", err
	}
	var answer struct{ Data struct{ AccessToken string } }
	err = json.Unmarshal(got, &answer)
	return answer.Data.AccessToken, err
}

// picture is a PNG that differs from every other.
func picture(t *testing.T) []byte {
	t.Helper()
	noise := make([]byte, 64*64)
	_, _ = rand.Read(noise)
	m := image.NewGray(image.Rect(0, 0, 64, 64))
	for i, v := range noise {
		m.SetGray(i%64, i/64, color.Gray{Y: v})
	}
	var out bytes.Buffer
	if err := png.Encode(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// upload stores a file and returns the asset's id.
func (u *user) upload(t *testing.T, name string, content []byte) string {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", name)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(content)
	_ = form.Close()
	var answer struct{ Data struct{ ID string } }
	u.mustSend(t, http.MethodPost, "/api/assets/upload", form.FormDataContentType(), body.Bytes(), &answer)
	return answer.Data.ID
}

// mustDownload fails unless the asset's bytes are these.
func (u *user) mustDownload(t *testing.T, id string, want []byte) {
	t.Helper()
	if err := u.download(id, want); err != nil {
		t.Fatal(err)
	}
}

func (u *user) download(id string, want []byte) error {
	got, err := u.send(http.MethodGet, "/api/assets/"+id+"/download", "", nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("asset %s came back changed: %d bytes of %d", id, len(got), len(want))
	}
	return nil
}

func (u *user) mustSend(t *testing.T, method, path, contentType string, body []byte, answer any) {
	t.Helper()
	got, err := u.send(method, path, contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, answer); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, got)
	}
}

func (u *user) send(method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	resp, err := u.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, got)
	}
	return got, err
}
