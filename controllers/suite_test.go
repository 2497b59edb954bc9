package controllers

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// operatorUser is the ServiceAccount that config/default gives the operator.
const operatorUser = "system:serviceaccount:assetplatform-system:assetplatform-operator"

var (
	plane    *controlplane.ControlPlane
	admin    client.Client // what a cluster admin does
	operator *runningOperator
	sent     requestLog // every request of the operators in this package
	seen     *history   // every status that was ever visible
	ctx      = context.Background()

	operatorLog string // its file
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil { // they wait for the cluster more than for the processor
		panic(err)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	logs, err := os.CreateTemp("", "operator-*.log")
	if err != nil {
		return 1, err
	}
	operatorLog = logs.Name()
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(logs, nil)))
	defer func() {
		if code == 0 {
			_ = os.Remove(logs.Name())
		} else {
			fmt.Fprintln(os.Stderr, "the operator's log:", logs.Name())
		}
	}()
	if plane, err = controlplane.Start(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	if _, err := plane.Kubectl("apply", "--server-side", "-k", filepath.Join("..", "config", "default")); err != nil {
		return 1, err
	}
	if admin, err = client.New(plane.Admin, client.Options{Scheme: NewScheme()}); err != nil {
		return 1, err
	}
	if seen, err = recordHistory(plane.Admin); err != nil {
		return 1, err
	}
	defer seen.stop()
	if operator, err = startOperator(operatorOptions{}); err != nil {
		return 1, err
	}
	code = m.Run()
	err = errors.Join(operator.stop(), seen.check(), checkRights(flag.Lookup("test.run").Value.String() == ""))
	return code, err
}

// runningOperator is an operator with the rights of config/default, and no more.
type runningOperator struct {
	reconciler *Reconciler
	elected    <-chan struct{}
	cancel     context.CancelFunc
	done       chan error
}

type operatorOptions struct {
	cluster   *rest.Config  // nil: the suite's, with the rights of config/default
	namespace string        // empty: all
	interval  time.Duration // 0: the operator's own
	now       func() time.Time
	elect     bool
	workers   int              // 0: 4
	images    manifests.Images // empty: manifests.DefaultImages
}

func startOperator(o operatorOptions) (*runningOperator, error) {
	cfg := rest.CopyConfig(plane.Admin)
	if o.cluster != nil {
		cfg = rest.CopyConfig(o.cluster)
	} else {
		cfg.Impersonate = rest.ImpersonationConfig{UserName: operatorUser}
		cfg.Wrap(CountRequests)
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return recordingTransport{next: next, log: &sent} })
	}
	options := CacheOptions()
	if o.namespace != "" {
		options.DefaultNamespaces = map[string]cache.Config{o.namespace: {}}
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: NewScheme(), Cache: options, Client: ClientOptions(), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller:     config.Controller{SkipNameValidation: new(true)}, // it is started again in one process
		LeaderElection: o.elect, LeaderElectionID: "operator.assetplatform.io", LeaderElectionNamespace: "assetplatform-system",
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, err
	}
	r := &Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Images: cmp.Or(o.images, manifests.DefaultImages),
		Events: mgr.GetEventRecorder("assetplatform-operator"), Readiness: NewReadinessReader(),
		Interval: o.interval, Now: o.now,
	}
	if err := r.SetupWithManager(mgr, cmp.Or(o.workers, 4)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := r.RegisterInformers(ctx, mgr); err != nil {
		cancel()
		return nil, err
	}
	started := &runningOperator{reconciler: r, elected: mgr.Elected(), cancel: cancel, done: make(chan error, 1)}
	go func() { started.done <- mgr.Start(ctx) }()
	return started, nil
}

func (o *runningOperator) stop() error {
	o.cancel()
	return <-o.done
}

// namespaces counts the tests' namespaces; each gets a loopback address for its pods.
var namespaces atomic.Int32

// newNamespace gives a test a namespace in which server pods report as readiness says.
func newNamespace(t *testing.T, readiness *fakeReadiness) string {
	t.Helper()
	n := namespaces.Add(1)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("test-%d", n)}}
	if err := admin.Create(ctx, ns); err != nil {
		t.Fatal(err)
	}
	plane.Kubelet.SetPodIP(ns.Name, readiness.serve(t))
	// Not the namespace: to delete it costs the cluster, whose two cores the other tests need, hundreds of requests.
	t.Cleanup(func() { _ = admin.DeleteAllOf(ctx, &assetv1.AssetPlatform{}, client.InNamespace(ns.Name)) })
	return ns.Name
}

// newPlatform makes a platform in a namespace of its own.
func newPlatform(t *testing.T, edit func(*assetv1.AssetPlatformSpec)) *assetv1.AssetPlatform {
	t.Helper()
	return newPlatformIn(t, newNamespace(t, &fakeReadiness{}), edit)
}

func newPlatformIn(t *testing.T, namespace string, edit func(*assetv1.AssetPlatformSpec)) *assetv1.AssetPlatform {
	t.Helper()
	ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: namespace}}
	if edit != nil {
		edit(&ap.Spec)
	}
	if err := admin.Create(ctx, ap); err != nil {
		t.Fatal(err)
	}
	return ap
}

// update edits the platform as kubectl edit does.
func update(t *testing.T, ap *assetv1.AssetPlatform, edit func(*assetv1.AssetPlatform)) {
	t.Helper()
	for {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			t.Fatal(err)
		}
		edit(ap)
		err := admin.Update(ctx, ap)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "the object has been modified") {
			t.Fatal(err)
		}
	}
}

// patience is how long a test waits for what should take a second or two, and on a busy
// machine takes longer: the cluster's controllers wait twice as long with each try.
const patience = 2 * time.Minute

// eventually waits until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// waitCondition waits until the platform of this generation has a condition with this
// status and, unless empty, reason; it returns the condition.
func waitCondition(t *testing.T, ap *assetv1.AssetPlatform, condition string, status metav1.ConditionStatus, reason string) metav1.Condition {
	t.Helper()
	var c *metav1.Condition
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		c = meta.FindStatusCondition(ap.Status.Conditions, condition)
		if c == nil || c.Status != status || c.ObservedGeneration != ap.Generation || reason != "" && c.Reason != reason {
			return fmt.Errorf("want %s=%s %s of generation %d; status is %s", condition, status, reason, ap.Generation, describeStatus(ap))
		}
		return nil
	})
	return *c
}

func waitReady(t *testing.T, ap *assetv1.AssetPlatform) {
	t.Helper()
	waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionTrue, "")
}

func describeStatus(ap *assetv1.AssetPlatform) string {
	var lines []string
	for _, c := range ap.Status.Conditions {
		lines = append(lines, fmt.Sprintf("%s=%s %s (generation %d): %s", c.Type, c.Status, c.Reason, c.ObservedGeneration, c.Message))
	}
	if m := ap.Status.Migration; m != nil {
		lines = append(lines, fmt.Sprintf("migration %+v", *m))
	}
	return "\n  " + strings.Join(lines, "\n  ")
}

// get reads a child of a platform.
func get[T client.Object](t *testing.T, ap *assetv1.AssetPlatform, name string, into T) T {
	t.Helper()
	if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: name}, into); err != nil {
		t.Fatal(err)
	}
	return into
}

// newExternalPlatform makes a platform that runs none of its parts itself, with the
// Secret of the studio's guide.
func newExternalPlatform(t *testing.T, edit func(*assetv1.AssetPlatformSpec)) *assetv1.AssetPlatform {
	t.Helper()
	namespace := newNamespace(t, &fakeReadiness{})
	if err := admin.Create(ctx, backendSecrets(namespace)); err != nil {
		t.Fatal(err)
	}
	return newPlatformIn(t, namespace, func(s *assetv1.AssetPlatformSpec) {
		externalSpec(s)
		if edit != nil {
			edit(s)
		}
	})
}

// formerKey signs the tokens of backendSecrets' platforms, newKey those after a change of it.
const formerKey, newKey = "a key of forty characters, or near to it", "another key, of forty characters or so !"

func backendSecrets(namespace string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "backend-secrets", Namespace: namespace}, StringData: map[string]string{
		"database-url":  "postgres://backend:sesame@postgres.example.com:5432/game_assets",
		"redis-url":     "rediss://:sesame@redis.example.com:6379/0",
		"jwt-secret":    formerKey,
		"s3-access-key": "access", "s3-secret-key": "sesame",
	}}
}

func externalSpec(s *assetv1.AssetPlatformSpec) {
	ref := func(key string) *assetv1.SecretKeyRef {
		return &assetv1.SecretKeyRef{Name: "backend-secrets", Key: key}
	}
	s.Database = &assetv1.DatabaseSpec{SecretRef: ref("database-url")}
	s.Cache = &assetv1.CacheSpec{SecretRef: ref("redis-url")}
	s.Storage = &assetv1.StorageSpec{Bucket: "assets", CredentialsSecretRef: &assetv1.S3CredentialsRef{Name: "backend-secrets"}}
	s.Auth.JWTSecretRef = ref("jwt-secret")
}

func quantity(s string) resource.Quantity { return resource.MustParse(s) }
