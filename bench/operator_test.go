package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/controllers"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
	"github.com/assetplatform/assetplatform/test/services"
)

// What the operator may cost.
const (
	limitOverRaw     = 1.3     // its time for 50 platforms, over that of the same objects applied by 8 workers
	leastPerSecond   = 75.0    // children made a second
	limitPerPlatform = 0.25    // MiB of its memory per settled platform of 25 children
	limitRepair      = 1.0     // seconds until a hand edit is put back, 99 of 100 times
	limitForeign     = 5 << 20 // bytes of its memory for 300 Secrets of others of 1 MB
	limitGrowth      = 1.5     // what a look at a settled platform costs among 500 in its namespace, over that among 50

	rollout = 50 // platforms made at once
	settled = 500
	workers = 8
)

// operatorBench is a real apiserver without controllers, and the operator's binary beside it.
type operatorBench struct {
	plane      *controlplane.ControlPlane
	admin      client.WithWatch
	kubeconfig string
	program    string
	process    *exec.Cmd
	metrics    string
}

// BenchmarkOperator measures the operator against a real apiserver. The gate is open: migrations succeed at once.
func BenchmarkOperator(b *testing.B) {
	o := newOperatorBench(b)
	o.start(b)
	empty := o.memory(b)

	o.namespace(b, "first") // the apiserver prepares each kind when it is first asked for it
	o.platforms(b, "first", 1)
	o.namespace(b, "made")
	before := o.requests(b)
	began := time.Now()
	children := o.platforms(b, "made", rollout)
	made := time.Since(began)
	sent := o.requests(b)
	for request, count := range before {
		sent[request] -= count
	}
	b.Logf("requests of the operator by cause and verb: %v", sent)
	few := o.passCost(b)
	o.stop(b) // it would look at the objects of the others, for they have its labels
	o.namespace(b, "raw")
	raw := o.raw(b, o.objects("raw", rollout))
	o.namespace(b, "kubectl")
	kubectl := o.kubectlApply(b, o.objects("kubectl", rollout))
	o.namespace(b, "helm")
	helm := o.helmInstall(b, o.objects("helm", rollout))
	b.Logf("%d platforms, %d children: operator %s, raw server-side apply %s, kubectl apply %s, helm install %s",
		rollout, children, made.Round(time.Millisecond), raw.Round(time.Millisecond), kubectl.Round(time.Millisecond), helm.Round(time.Millisecond))
	report(b, "over-raw", "ratio", made.Seconds()/raw.Seconds(), limitOverRaw)
	b.ReportMetric(leastPerSecond/(float64(children)/made.Seconds()), "children-per-second/limit")
	b.ReportMetric(float64(children)/made.Seconds(), "children-per-second")
	b.ReportMetric(made.Seconds()/kubectl.Seconds(), "over-kubectl-apply")
	b.ReportMetric(made.Seconds()/helm.Seconds(), "over-helm-install")

	o.start(b)
	children = o.platforms(b, "made", settled)
	for before := -1; before != o.writes(b); time.Sleep(3 * time.Second) { // the replicas of the last are handed over
		before = o.writes(b)
	}
	o.stop(b)
	o.start(b)
	time.Sleep(40 * time.Second) // more than an interval, at which each platform is looked at
	full := o.memory(b)
	held := children + 3*rollout*len(o.objects("raw", 1)[0]) // with what the others made, and one platform to begin with
	report(b, "memory-per-25-children", "MiB", float64(full-empty)/(1<<20)/float64(held)*25, limitPerPlatform)
	writes := o.writes(b)
	if writes > 0 {
		b.Errorf("%d writes after a restart with %d settled platforms: %v", writes, settled, o.requests(b))
	}
	b.ReportMetric(float64(writes), "writes-after-restart")
	many := o.passCost(b)
	b.ReportMetric(few, "settled-pass-ms")
	report(b, "pass-among-many", "ratio", many/few, limitGrowth)

	o.foreignSecrets(b, 300)
	time.Sleep(5 * time.Second)
	report(b, "foreign-secrets", "MB", float64(o.memory(b)-full)/(1<<20), limitForeign>>20)
	took := o.repairs(b, "made", 200)
	report(b, "repair-p99", "s", took[len(took)*99/100].Seconds(), limitRepair)
	b.ReportMetric(took[len(took)/2].Seconds(), "repair-median-s")
	b.ReportMetric(0, "ns/op") // says nothing here
}

func newOperatorBench(b *testing.B) *operatorBench {
	b.Helper()
	plane, err := controlplane.StartAPI()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = plane.Stop() })
	for _, project := range []string{"cert-manager", "gateway-api", "prometheus-operator"} {
		if err := plane.InstallCRDs(project); err != nil {
			b.Fatal(err)
		}
	}
	o := &operatorBench{plane: plane, program: build(b), kubeconfig: plane.Kubeconfig()}
	if o.admin, err = client.NewWithWatch(plane.Admin, client.Options{Scheme: controllers.NewScheme()}); err != nil {
		b.Fatal(err)
	}
	return o
}

func (o *operatorBench) start(b *testing.B) {
	b.Helper()
	metrics, probes := services.FreePort(b), services.FreePort(b)
	o.metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", metrics)
	o.process = exec.Command(o.program, "operator", "--leader-elect=false", "--concurrency="+strconv.Itoa(workers), "--log-level=error",
		fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", metrics), fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", probes))
	o.process.Env = append(os.Environ(), "KUBECONFIG="+o.kubeconfig)
	o.process.Stderr = os.Stderr
	o.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := o.process.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = o.process.Process.Kill() })
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", probes)); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				time.Sleep(3 * time.Second)
				return
			}
		}
	}
	b.Fatal("the operator is not ready")
}

func (o *operatorBench) stop(b *testing.B) {
	b.Helper()
	_ = o.process.Process.Signal(syscall.SIGTERM)
	if err := o.process.Wait(); err != nil {
		b.Fatal(err)
	}
}

func (o *operatorBench) memory(b *testing.B) int64 {
	b.Helper()
	return memory(b, o.process.Process.Pid, "VmRSS")
}

// passCost is the CPU time that a look at a settled platform takes, in milliseconds.
func (o *operatorBench) passCost(b *testing.B) float64 {
	b.Helper()
	time.Sleep(10 * time.Second) // what has just been made settles
	cpu, passes := o.metric(b, "process_cpu_seconds_total"), o.metric(b, `controller_runtime_reconcile_total{controller="assetplatform"`)
	time.Sleep(65 * time.Second) // more than two intervals
	cpu, passes = o.metric(b, "process_cpu_seconds_total")-cpu, o.metric(b, `controller_runtime_reconcile_total{controller="assetplatform"`)-passes
	b.Logf("%.0f passes took %.2f s of CPU", passes, cpu)
	return cpu / passes * 1000
}

// metric sums the series of the operator's that begin like this.
func (o *operatorBench) metric(b *testing.B, begin string) (sum float64) {
	b.Helper()
	for line := range strings.Lines(o.page(b)) {
		if strings.HasPrefix(line, begin) {
			value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]), 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}

// page is what the running operator's /metrics says.
func (o *operatorBench) page(b *testing.B) string {
	b.Helper()
	resp, err := http.Get(o.metrics)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(page)
}

var apiRequest = regexp.MustCompile(`(?m)^assetplatform_api_requests_total\{cause="([a-z]+)".*verb="([a-z]+)"\} (\d+)$`)

// requests are those of the running operator, by cause and verb.
func (o *operatorBench) requests(b *testing.B) map[string]int {
	b.Helper()
	lines := apiRequest.FindAllStringSubmatch(o.page(b), -1)
	if len(lines) == 0 {
		b.Fatal("the operator counts no requests")
	}
	counts := map[string]int{}
	for _, line := range lines {
		count, _ := strconv.Atoi(line[3])
		counts[line[1]+" "+line[2]] += count
	}
	return counts
}

// writes are those that change anything.
func (o *operatorBench) writes(b *testing.B) (n int) {
	b.Helper()
	for request, count := range o.requests(b) {
		if _, verb, _ := strings.Cut(request, " "); verb != "get" && verb != "list" && verb != "watch" {
			n += count
		}
	}
	return n
}

func (o *operatorBench) namespace(b *testing.B, name string) {
	b.Helper()
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "backend-secrets"}, StringData: map[string]string{
			"database-url": "postgres://u:p@db.example.com/assets", "redis-url": "redis://redis.example.com", "jwt-secret": strings.Repeat("k", 32),
			"s3-access-key": "a", "s3-secret-key": "s",
		}},
	} {
		if err := o.admin.Create(context.Background(), object); err != nil {
			b.Fatal(err)
		}
	}
}

// platform is one with every child that a platform without parts of its own can have.
func platform(namespace string, i int) *assetv1.AssetPlatform {
	ap := &assetv1.AssetPlatform{}
	if err := yaml.UnmarshalStrict([]byte(`
apiVersion: assetplatform.io/v1alpha1
kind: AssetPlatform
spec:
  database: {secretRef: {name: backend-secrets, key: database-url}}
  cache: {secretRef: {name: backend-secrets, key: redis-url}}
  storage: {bucket: assets, credentialsSecretRef: {name: backend-secrets}}
  auth: {jwtSecretRef: {name: backend-secrets, key: jwt-secret}}
  autoscaling: {}
  networking:
    host: assets.example.com
    ingress: {className: nginx}
    gateway: {parentRefs: [{name: public}]}
    tls: {issuerRef: {name: letsencrypt}}
`), ap); err != nil {
		panic(err) // it is our own
	}
	ap.Namespace, ap.Name = namespace, fmt.Sprintf("studio-%d", i)
	return ap
}

// platforms makes platforms 1 to n of a namespace where they are not there yet, lets their migrations succeed and their
// certificates be issued, and waits for the last of their children. It returns how many children there are.
func (o *operatorBench) platforms(b *testing.B, namespace string, n int) (children int) {
	b.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	defer stop()
	certificates := &unstructured.UnstructuredList{}
	certificates.SetGroupVersionKind(manifests.KindCertificate)
	jobs, issued, watched := o.watch(ctx, b, &batchv1.JobList{}, namespace), o.watch(ctx, b, certificates, namespace), o.watch(ctx, b, &assetv1.AssetPlatformList{}, namespace)
	go func() {
		for event := range jobs {
			if job, ok := event.Object.(*batchv1.Job); ok && event.Type != watch.Deleted && len(job.Status.Conditions) == 0 {
				o.succeed(ctx, job)
			}
		}
	}()
	go func() {
		for event := range issued {
			if c, ok := event.Object.(*unstructured.Unstructured); ok && event.Type != watch.Deleted && c.Object["status"] == nil {
				o.issue(ctx, c)
			}
		}
	}()
	each(b, n, func(i int) error {
		return client.IgnoreAlreadyExists(o.admin.Create(ctx, platform(namespace, i)))
	})
	complete := map[string]int{}
	for event := range watched {
		ap, ok := event.Object.(*assetv1.AssetPlatform)
		if ok && strings.Contains(strings.Join(ap.Status.Inventory, " "), "Deployment.apps/") {
			complete[ap.Name] = len(ap.Status.Inventory)
		}
		if len(complete) == n {
			break
		}
	}
	if len(complete) < n {
		b.Fatalf("%d of %d platforms have their children", len(complete), n)
	}
	for _, count := range complete {
		children += count
	}
	return children
}

// watch follows the objects of a namespace, from those that are there.
func (o *operatorBench) watch(ctx context.Context, b *testing.B, list client.ObjectList, namespace string) <-chan watch.Event {
	b.Helper()
	w, err := o.admin.Watch(ctx, list, client.InNamespace(namespace))
	if err != nil {
		b.Fatal(err)
	}
	return w.ResultChan()
}

// succeed ends a migration's Job as the Job controller does.
func (o *operatorBench) succeed(ctx context.Context, job *batchv1.Job) {
	now := metav1.Now()
	job.Status = batchv1.JobStatus{StartTime: &now, CompletionTime: &now, Succeeded: 1, UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{}, Conditions: []batchv1.JobCondition{
		{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue, LastTransitionTime: now, LastProbeTime: now},
		{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: now, LastProbeTime: now},
	}}
	_ = o.admin.Status().Update(ctx, job) // a conflict is another event
}

// issue gives a Certificate what cert-manager gives it in the end.
func (o *operatorBench) issue(ctx context.Context, c *unstructured.Unstructured) {
	now := time.Now().UTC()
	c.Object["status"] = map[string]any{
		"notBefore": now.Format(time.RFC3339), "notAfter": now.Add(time.Hour).Format(time.RFC3339),
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "observedGeneration": c.GetGeneration(), "lastTransitionTime": now.Format(time.RFC3339)}},
	}
	_ = o.admin.Status().Update(ctx, c)
}

// handEdits are changes as people make them, by kind.
var handEdits = map[schema.GroupVersionKind]string{
	corev1.SchemeGroupVersion.WithKind("Service"):             `{"metadata":{"labels":{"app.kubernetes.io/component":"hand"}}}`,
	appsv1.SchemeGroupVersion.WithKind("Deployment"):          `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}`,
	networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"): `{"spec":{"egress":null}}`,
	networkingv1.SchemeGroupVersion.WithKind("Ingress"):       `{"spec":{"rules":null,"defaultBackend":{"service":{"name":"x","port":{"number":1}}}}}`,
	manifests.KindHTTPRoute:                                   `{"spec":{"hostnames":["hand.example.com"]}}`,
}

// repairs edits an object of each of the platforms 1 to n, one after the other while nothing else is going on, and says how
// long each took to be put back, the shortest first.
func (o *operatorBench) repairs(b *testing.B, namespace string, n int) []time.Duration {
	b.Helper()
	ctx := context.Background()
	kinds := slices.SortedFunc(maps.Keys(handEdits), func(x, y schema.GroupVersionKind) int { return strings.Compare(x.Kind, y.Kind) })
	var took []time.Duration
	for i := range n {
		kind := kinds[i%len(kinds)]
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(kind)
		key := client.ObjectKey{Namespace: namespace, Name: fmt.Sprintf("studio-%d", i+1)}
		if kind.Kind != "Service" {
			key.Name += "-server"
		}
		if err := o.admin.Get(ctx, key, object); err != nil {
			b.Fatal(err)
		}
		before := object.Object["spec"]
		labels := object.GetLabels()
		began := time.Now()
		if err := o.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(handEdits[kind]))); err != nil {
			b.Fatal(err)
		}
		if reflect.DeepEqual(object.Object["spec"], before) && maps.Equal(object.GetLabels(), labels) {
			b.Fatalf("the edit of a %s changes nothing", kind.Kind)
		}
		for {
			if err := o.admin.Get(ctx, key, object); err != nil {
				b.Fatal(err)
			}
			if maps.Equal(object.GetLabels(), labels) && equalButAdded(before, object.Object["spec"]) {
				break
			}
			if time.Since(began) > time.Minute {
				b.Fatalf("%s %s is not put back", kind.Kind, key.Name)
			}
			time.Sleep(2 * time.Millisecond)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// equalButAdded says whether everything of before is in after: what a hand added to a field of its own may stay.
func equalButAdded(before, after any) bool {
	if fields, ok := before.(map[string]any); ok {
		there, _ := after.(map[string]any)
		for name, value := range fields {
			if !equalButAdded(value, there[name]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(before, after)
}

// foreignSecrets makes Secrets of 1 MB that no platform names.
func (o *operatorBench) foreignSecrets(b *testing.B, n int) {
	b.Helper()
	o.namespace(b, "foreign")
	data := make([]byte, 1_000_000)
	_, _ = rand.Read(data)
	each(b, n, func(i int) error {
		return o.admin.Create(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "foreign", Name: fmt.Sprintf("large-%d", i)}, Data: map[string][]byte{"data": data}})
	})
	runtime.GC()
}

// each calls do for 1 to n, by as many workers as the operator has.
func each(b *testing.B, n int, do func(i int) error) {
	b.Helper()
	next := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i + 1
	}
	close(next)
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
}
