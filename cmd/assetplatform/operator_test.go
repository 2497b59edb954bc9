package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/assetplatform/assetplatform/controllers"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// The operator says that it is ready only when its caches are full, leads, and gives
// the lease back when it is told to stop.
func TestOperatorProcess(t *testing.T) {
	plane, err := controlplane.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plane.Stop() })
	lists := make(chan struct{}) // closed: the apiserver answers lists of ConfigMaps
	t.Setenv("KUBECONFIG", slowAPIServer(t, plane.Admin, lists))

	probes := freeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- runOperator(ctx, operatorOptions{
			metricsAddress: "0", probeAddress: probes, leaderElect: true, leaderElectionNamespace: "default",
			concurrency: 1, images: manifests.DefaultImages,
		})
	}()

	wait(t, func() error { return probe(probes, "/healthz", http.StatusOK) })
	for range 3 { // it lives, and is not ready while a list is missing
		if err := probe(probes, "/readyz", http.StatusInternalServerError); err != nil {
			t.Fatal(err)
		}
	}
	close(lists)
	wait(t, func() error { return probe(probes, "/readyz", http.StatusOK) })

	cluster, err := client.New(plane.Admin, client.Options{Scheme: controllers.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	holder := func() (string, error) {
		lease := &coordinationv1.Lease{}
		err := cluster.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "operator.assetplatform.io"}, lease)
		if err != nil || lease.Spec.HolderIdentity == nil {
			return "", err
		}
		return *lease.Spec.HolderIdentity, nil
	}
	wait(t, func() error {
		if name, err := holder(); name == "" {
			return fmt.Errorf("nobody leads: %v", err)
		}
		return nil
	})

	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the operator ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the operator does not stop")
	}
	if name, err := holder(); err != nil || name != "" {
		t.Errorf("the lease is still held by %q (%v)", name, err)
	}
}

// slowAPIServer is a proxy to the apiserver that holds back lists of ConfigMaps. It
// returns the path of its kubeconfig.
func slowAPIServer(t *testing.T, admin *rest.Config, open <-chan struct{}) string {
	t.Helper()
	target, err := url.Parse(admin.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(admin)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/configmaps") {
			select {
			case <-open:
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n", server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func probe(address, path string, want int) error {
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%s answers %s; want %d", path, resp.Status, want)
	}
	return nil
}

func wait(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
