//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// proxy is a controller for Ingresses of the class nginx and for Gateways and their HTTPRoutes, with Debian's nginx: it
// reads the objects of one namespace, writes nginx's configuration and sets their status. It knows the annotations of
// ingress-nginx, and has its limits: without an annotation a body may have 1 MB.
type proxy struct {
	namespace string
	address   string // of this machine, as pods reach it
	directory string
	nginx     *exec.Cmd
	config    string
	problem   error // of the last look
	mu        sync.Mutex
}

// site is a host that nginx serves.
type site struct {
	Host, Upstream string
	Cert           string // path without .crt and .key; empty: plain HTTP
	Secure         bool
	Settings       []string
}

var nginxConfig = template.Must(template.New("").Parse(`user root; daemon off; pid {{.Dir}}/pid; error_log {{.Dir}}/error.log;
events {}
http {
  access_log off; client_body_temp_path {{.Dir}}/body; proxy_temp_path {{.Dir}}/proxy; fastcgi_temp_path {{.Dir}}/f; uwsgi_temp_path {{.Dir}}/u; scgi_temp_path {{.Dir}}/s;
  server { listen {{.Address}}:80 default_server; return 404; }
  {{- range .Sites}}
  server {
    server_name {{.Host}};
    {{- if .Secure}}
    listen {{$.Address}}:443 ssl; ssl_certificate {{.Cert}}.crt; ssl_certificate_key {{.Cert}}.key;
    {{- else}}
    listen {{$.Address}}:80;
    {{- end}}
    {{- range .Settings}}
    {{.}};
    {{- end}}
    location / { proxy_pass http://{{.Upstream}}; proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; }
  }
  {{- end}}
}
`))

var (
	gatewayKind = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "Gateway"}
	routeKind   = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
)

// startProxy serves a namespace until the end of the test.
func startProxy(t *testing.T, namespace string) *proxy {
	t.Helper()
	p := &proxy{namespace: namespace, address: hostAddress(t), directory: t.TempDir()}
	if err := p.write(nil); err != nil {
		t.Fatal(err)
	}
	p.nginx = exec.Command("/usr/sbin/nginx", "-c", filepath.Join(p.directory, "nginx.conf"), "-e", filepath.Join(p.directory, "error.log"))
	p.nginx.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.nginx.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { // before it listens to signals, one to read its configuration again is lost
		_, err := os.Stat(filepath.Join(p.directory, "pid"))
		return err
	})
	watching, stop := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Go(func() {
		for watching.Err() == nil {
			p.look()
			time.Sleep(200 * time.Millisecond)
		}
	})
	t.Cleanup(func() {
		stop()
		ended.Wait()
		_ = p.nginx.Process.Signal(syscall.SIGTERM)
		_ = p.nginx.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(p.directory, "error.log"))
			t.Logf("the proxy: %v\n%s\n%s", p.problem, p.config, text)
		}
	})
	return p
}

// hostAddress is the address of this machine that the node, and with it its pods, have a route to.
func hostAddress(t *testing.T) string {
	t.Helper()
	var nodes corev1.NodeList
	if err := cluster.List(ctx, &nodes); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", net.JoinHostPort(nodes.Items[0].Status.Addresses[0].Address, "9"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String()
}

func (p *proxy) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	sites, err := p.ingresses()
	if err == nil {
		var more []site
		if more, err = p.routes(); err == nil {
			err = p.serve(append(sites, more...))
		}
	}
	p.problem = err
}

// ingresses translates the Ingresses, and says where they are.
func (p *proxy) ingresses() ([]site, error) {
	var list networkingv1.IngressList
	if err := cluster.List(ctx, &list, client.InNamespace(p.namespace)); err != nil {
		return nil, err
	}
	var sites []site
	for _, in := range list.Items {
		if in.Spec.IngressClassName == nil || *in.Spec.IngressClassName != "nginx" {
			continue
		}
		backend := in.Spec.Rules[0].HTTP.Paths[0].Backend.Service
		upstream, err := p.upstream(backend.Name, backend.Port.Name, 0)
		if err != nil {
			return nil, err
		}
		s := site{Host: in.Spec.Rules[0].Host, Upstream: upstream, Settings: settings(in.Annotations)}
		sites = append(sites, s)
		for _, t := range in.Spec.TLS {
			if s.Cert, err = p.certificate(t.SecretName); err != nil {
				return nil, err
			}
			s.Secure = true
			sites = append(sites, s)
		}
		want := []networkingv1.IngressLoadBalancerIngress{{IP: p.address}}
		if !equality.Semantic.DeepEqual(in.Status.LoadBalancer.Ingress, want) {
			in.Status.LoadBalancer.Ingress = want
			if err := cluster.Status().Update(ctx, &in); err != nil {
				return nil, err
			}
		}
	}
	return sites, nil
}

// settings are nginx's for the annotations of ingress-nginx.
func settings(annotations map[string]string) []string {
	var list []string
	for annotation, setting := range map[string]string{
		"proxy-body-size": "client_max_body_size %s", "proxy-read-timeout": "proxy_read_timeout %ss", "proxy-send-timeout": "proxy_send_timeout %ss", "proxy-request-buffering": "proxy_request_buffering %s",
	} {
		if value, ok := annotations["nginx.ingress.kubernetes.io/"+annotation]; ok {
			list = append(list, fmt.Sprintf(setting, value))
		}
	}
	slices.Sort(list)
	return list
}

// routes accepts the HTTPRoutes of the Gateways, and translates them.
func (p *proxy) routes() ([]site, error) {
	gateways := &unstructured.UnstructuredList{}
	gateways.SetGroupVersionKind(gatewayKind)
	if err := cluster.List(ctx, gateways, client.InNamespace(p.namespace)); err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(routeKind)
	if err := cluster.List(ctx, list, client.InNamespace(p.namespace)); err != nil {
		return nil, err
	}
	var sites []site
	for i := range gateways.Items {
		g := &gateways.Items[i]
		addresses, _, _ := unstructured.NestedSlice(g.Object, "status", "addresses")
		if len(addresses) == 0 {
			g.Object["status"] = map[string]any{"addresses": []any{map[string]any{"type": "IPAddress", "value": p.address}}, "listeners": []any{}}
			if err := cluster.Status().Update(ctx, g); err != nil {
				return nil, err
			}
		}
		for j := range list.Items {
			more, err := p.route(g, &list.Items[j])
			if err != nil {
				return nil, err
			}
			sites = append(sites, more...)
		}
	}
	return sites, nil
}

func (p *proxy) route(g, route *unstructured.Unstructured) ([]site, error) {
	hosts, _, _ := unstructured.NestedStringSlice(route.Object, "spec", "hostnames")
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	backend := rules[0].(map[string]any)["backendRefs"].([]any)[0].(map[string]any)
	upstream, err := p.upstream(backend["name"].(string), "", backend["port"].(int64))
	if err != nil {
		return nil, err
	}
	listeners, _, _ := unstructured.NestedSlice(g.Object, "spec", "listeners")
	var sites []site
	for _, l := range listeners {
		s := site{Host: hosts[0], Upstream: upstream, Settings: []string{"client_max_body_size 0", "proxy_request_buffering off"}}
		if refs, found, _ := unstructured.NestedSlice(l.(map[string]any), "tls", "certificateRefs"); found {
			if s.Cert, err = p.certificate(refs[0].(map[string]any)["name"].(string)); err != nil {
				return nil, err
			}
			s.Secure = true
		}
		sites = append(sites, s)
	}
	parents, _, _ := unstructured.NestedSlice(route.Object, "status", "parents")
	if len(parents) == 0 {
		refs, _, _ := unstructured.NestedSlice(route.Object, "spec", "parentRefs")
		route.Object["status"] = map[string]any{"parents": []any{map[string]any{
			"parentRef": refs[0], "controllerName": "example.com/nginx", "conditions": []any{map[string]any{
				"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": route.GetGeneration(), "lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
			}},
		}}}
		if err := cluster.Status().Update(ctx, route); err != nil {
			return nil, err
		}
	}
	return sites, nil
}

// upstream is the address of a Service's port, by name or number.
func (p *proxy) upstream(service, port string, number int64) (string, error) {
	var s corev1.Service
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: service}, &s); err != nil {
		return "", err
	}
	for _, sp := range s.Spec.Ports {
		if sp.Name == port || int64(sp.Port) == number {
			return fmt.Sprintf("%s:%d", s.Spec.ClusterIP, sp.Port), nil
		}
	}
	return "", fmt.Errorf("Service %s has no port %s%d", service, port, number)
}

// certificate writes a key pair for nginx; the path has its version, so that a renewed one is a change.
func (p *proxy) certificate(secret string) (string, error) {
	var s corev1.Secret
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: secret}, &s); err != nil {
		return "", err
	}
	path := filepath.Join(p.directory, secret+"-"+s.ResourceVersion)
	for suffix, key := range map[string]string{".crt": corev1.TLSCertKey, ".key": corev1.TLSPrivateKeyKey} {
		if err := os.WriteFile(path+suffix, s.Data[key], 0o600); err != nil {
			return "", err
		}
	}
	return path, nil
}

// serve reloads nginx if anything changed.
func (p *proxy) serve(sites []site) error {
	before := p.config
	if err := p.write(sites); err != nil || p.config == before {
		return err
	}
	return p.nginx.Process.Signal(syscall.SIGHUP)
}

func (p *proxy) write(sites []site) error {
	var text bytes.Buffer
	if err := nginxConfig.Execute(&text, map[string]any{"Dir": p.directory, "Address": p.address, "Sites": sites}); err != nil {
		return err
	}
	p.config = text.String()
	return os.WriteFile(filepath.Join(p.directory, "nginx.conf"), text.Bytes(), 0o600)
}

// installProject applies the definitions of a project that hack/crds knows.
func installProject(t *testing.T, project string) {
	t.Helper()
	directory, err := exec.Command("../../hack/crds", project).Output()
	if err != nil {
		t.Fatal(err)
	}
	mustKubectl(t, "apply", "--server-side", "-f", strings.TrimSpace(string(directory)))
}

// startCertManager runs cert-manager beside the cluster until the end of the test.
func startCertManager(t *testing.T) {
	t.Helper()
	installProject(t, "cert-manager")
	log, err := os.Create(filepath.Join(t.TempDir(), "cert-manager.log"))
	if err != nil {
		t.Fatal(err)
	}
	manager := exec.Command(os.Getenv("E2E_CERT_MANAGER"), "--kubeconfig", os.Getenv("KUBECONFIG"))
	manager.Stdout, manager.Stderr = log, log
	manager.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = manager.Process.Kill()
		_ = manager.Wait()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("cert-manager:\n%s", text[max(0, len(text)-4000):])
		}
	})
}
