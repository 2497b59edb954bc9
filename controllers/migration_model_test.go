package controllers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// The migration gate under random interleavings of edits, Jobs that succeed, fail and
// are deleted, restarts of the operator, retries and moved databases, on a real
// apiserver without a controller-manager: the test plays the Job controller and the
// garbage collector. With SOAK=1 it goes on much longer.
func TestMigrationGateModel(t *testing.T) {
	t.Parallel()
	bare, err := controlplane.StartAPI()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bare.Stop() })
	models, steps := 2, 40
	if os.Getenv("SOAK") != "" {
		models, steps = 40, 150
	}
	seed := uint64(time.Now().UnixNano())
	t.Run("models", func(t *testing.T) {
		for i := range models {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				t.Logf("seed %d", seed+uint64(i))
				newGateModel(t, bare, fmt.Sprintf("model-%d", i), seed+uint64(i)).run(steps)
			})
		}
	})
}

type gateModel struct {
	t         *testing.T
	bare      *controlplane.ControlPlane
	admin     client.WithWatch
	random    *rand.Rand
	namespace string
	operator  *runningOperator
	database  int
	trace     []string

	mu        sync.Mutex
	now       time.Time
	jobs      map[types.UID]batchv1.Job // that exist, as the watch shows them
	succeeded map[string]bool           // image on database
	made      []batchv1.Job             // as they were made
	recorded  map[string][]int64        // when the status said of a Job that it runs or has ended
	wiped     []int64                   // when the status was wiped
	broken    []error
}

func newGateModel(t *testing.T, bare *controlplane.ControlPlane, namespace string, seed uint64) *gateModel {
	c, err := client.NewWithWatch(bare.Admin, client.Options{Scheme: NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	m := &gateModel{
		t: t, bare: bare, admin: c, random: rand.New(rand.NewPCG(seed, seed)), namespace: namespace, now: time.Now(),
		jobs: map[types.UID]batchv1.Job{}, succeeded: map[string]bool{}, recorded: map[string][]int64{},
	}
	m.must(c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	m.must(c.Create(ctx, backendSecrets(namespace)))
	ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: namespace}}
	externalSpec(&ap.Spec)
	ap.Spec.Image = "example.com/assets:1"
	m.must(c.Create(ctx, ap))
	m.watch(&batchv1.JobList{}, m.jobSeen)
	m.watch(&appsv1.DeploymentList{}, m.deploymentSeen)
	m.watch(&assetv1.AssetPlatformList{}, func(_ watch.EventType, o client.Object) {
		if status := o.(*assetv1.AssetPlatform).Status.Migration; status != nil && status.Phase != assetv1.MigrationPending {
			m.recorded[status.Job] = append(m.recorded[status.Job], revision(o))
		}
	})
	return m
}

func (m *gateModel) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v\n%s", err, strings.Join(m.trace, "\n"))
	}
}

func (m *gateModel) watch(list client.ObjectList, each func(watch.EventType, client.Object)) {
	ctx, stop := context.WithCancel(context.Background())
	m.t.Cleanup(stop)
	w, err := m.admin.Watch(ctx, list, client.InNamespace(m.namespace))
	m.must(err)
	go func() {
		for event := range w.ResultChan() {
			if o, ok := event.Object.(client.Object); ok {
				m.mu.Lock()
				each(event.Type, o)
				m.mu.Unlock()
			}
		}
	}()
}

// jobSeen: at no instant are there two Jobs that have not ended, also not one that is being
// deleted; an attempt that the status knows to have its Job gets no other.
func (m *gateModel) jobSeen(event watch.EventType, o client.Object) {
	job := o.(*batchv1.Job)
	if event == watch.Deleted {
		delete(m.jobs, job.UID)
		return
	}
	if event == watch.Added {
		m.made = append(m.made, *job)
	}
	m.jobs[job.UID] = *job
	running := 0
	for _, j := range m.jobs {
		if finished(&j) == nil {
			running++
		}
	}
	if running > 1 {
		m.broken = append(m.broken, fmt.Errorf("%d migrations may run at once", running))
	}
}

// deploymentSeen: the image that serves was migrated before, on the database that it serves from.
func (m *gateModel) deploymentSeen(_ watch.EventType, o client.Object) {
	container := o.(*appsv1.Deployment).Spec.Template.Spec.Containers[0]
	var secret corev1.Secret
	name := container.EnvFrom[1].SecretRef.Name
	if err := m.admin.Get(ctx, types.NamespacedName{Namespace: m.namespace, Name: name}, &secret); err != nil {
		return // replaced meanwhile
	}
	if serves := container.Image + " on " + host(secret.Data["DATABASE_URL"]); !m.succeeded[serves] {
		m.broken = append(m.broken, fmt.Errorf("%s serves and was never migrated", serves))
	}
}

// host is the host of a database URL.
func host(url []byte) string {
	_, rest, _ := strings.Cut(string(url), "@")
	name, _, _ := strings.Cut(rest, ":")
	return name
}

func (m *gateModel) run(steps int) {
	m.start()
	for range steps {
		m.step()
		time.Sleep(time.Duration(m.random.IntN(60)) * time.Millisecond) // how far the operator gets is part of the interleaving
		m.check()
	}
	m.converge()
	m.check()
	m.must(m.operator.stop())
}

func (m *gateModel) start() {
	var err error
	m.operator, err = startOperator(operatorOptions{cluster: m.bare.Admin, namespace: m.namespace, now: func() time.Time {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.now
	}})
	m.must(err)
}

func (m *gateModel) check() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(append(m.broken, m.madeTwice())...); err != nil {
		m.t.Fatalf("%v\n%s", err, strings.Join(m.trace, "\n"))
	}
}

func (m *gateModel) step() {
	actions := []struct {
		weight int
		name   string
		do     func()
	}{
		{3, "edit the image", func() {
			m.edit(func(ap *assetv1.AssetPlatform) {
				ap.Spec.Image = fmt.Sprintf("example.com/assets:%d", 1+m.random.IntN(4))
			})
		}},
		{1, "scale", func() { m.edit(func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(m.random.IntN(4))) }) }},
		{5, "a Job succeeds", func() { m.end(batchv1.JobComplete) }},
		{3, "a Job fails", func() { m.end(batchv1.JobFailed) }},
		{2, "a Job is deleted", m.deleteJob},
		{5, "what is being deleted goes", m.collect},
		{1, "the operator restarts", func() { m.must(m.operator.stop()); m.start() }},
		{2, "retry", func() {
			m.edit(func(ap *assetv1.AssetPlatform) {
				ap.Annotations = map[string]string{assetv1.AnnotationRetry: fmt.Sprint(m.random.Int())}
			})
		}},
		{1, "another password", func() { m.setDatabase(m.database, fmt.Sprint(m.random.Int())) }},
		{1, "another database", func() { m.setDatabase(m.random.IntN(2), "sesame") }},
		{2, "time passes", func() { m.mu.Lock(); m.now = m.now.Add(time.Hour); m.mu.Unlock() }},
		{1, "the status is wiped", m.wipeStatus},
	}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := m.random.IntN(total)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			m.trace = append(m.trace, a.name)
			a.do()
			return
		}
	}
}

func (m *gateModel) edit(change func(*assetv1.AssetPlatform)) {
	for {
		ap := m.platform()
		change(ap)
		if err := m.admin.Update(ctx, ap); !apierrors.IsConflict(err) {
			m.must(err)
			return
		}
	}
}

func (m *gateModel) platform() *assetv1.AssetPlatform {
	ap := &assetv1.AssetPlatform{}
	m.must(m.admin.Get(ctx, types.NamespacedName{Namespace: m.namespace, Name: "studio"}, ap))
	return ap
}

// running are the Jobs that have not ended, by name.
func (m *gateModel) running() []batchv1.Job {
	var jobs batchv1.JobList
	m.must(m.admin.List(ctx, &jobs, client.InNamespace(m.namespace)))
	return slices.DeleteFunc(jobs.Items, func(job batchv1.Job) bool { return finished(&job) != nil })
}

// end plays the Job controller.
func (m *gateModel) end(condition batchv1.JobConditionType) {
	for _, job := range m.running() {
		now := metav1.Now()
		job.Status.StartTime = &now
		before := batchv1.JobSuccessCriteriaMet
		if condition == batchv1.JobFailed {
			before = batchv1.JobFailureTarget
		} else {
			job.Status.Succeeded, job.Status.CompletionTime = 1, &now
			m.mu.Lock()
			m.succeeded[job.Spec.Template.Spec.Containers[0].Image+" on "+m.hostOf(&job)] = true
			m.mu.Unlock()
		}
		for _, c := range []batchv1.JobConditionType{before, condition} {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue, Reason: "Test", LastTransitionTime: now})
		}
		err := m.admin.Status().Update(ctx, &job)
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			m.must(err)
		}
	}
}

// hostOf is the database that a Job migrates.
func (m *gateModel) hostOf(job *batchv1.Job) string {
	var secret corev1.Secret
	name := job.Spec.Template.Spec.Containers[0].EnvFrom[0].SecretRef.Name
	if err := m.admin.Get(ctx, types.NamespacedName{Namespace: m.namespace, Name: name}, &secret); err != nil {
		m.broken = append(m.broken, fmt.Errorf("Job %s has lost its Secret: %w", job.Name, err))
	}
	return host(secret.Data["DATABASE_URL"])
}

func (m *gateModel) deleteJob() {
	var jobs batchv1.JobList
	m.must(m.admin.List(ctx, &jobs, client.InNamespace(m.namespace)))
	if len(jobs.Items) == 0 {
		return
	}
	job := jobs.Items[m.random.IntN(len(jobs.Items))]
	m.must(client.IgnoreNotFound(m.admin.Delete(ctx, &job, client.PropagationPolicy(metav1.DeletePropagationForeground))))
}

// collect plays the garbage collector: Jobs whose pods are gone go.
func (m *gateModel) collect() {
	var jobs batchv1.JobList
	m.must(m.admin.List(ctx, &jobs, client.InNamespace(m.namespace)))
	for _, job := range jobs.Items {
		if job.DeletionTimestamp != nil {
			patch := client.MergeFrom(job.DeepCopy())
			job.Finalizers = nil
			m.must(client.IgnoreNotFound(m.admin.Patch(ctx, &job, patch)))
		}
	}
}

func (m *gateModel) setDatabase(n int, password string) {
	m.database = n
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"stringData":{"database-url":"postgres://backend:%s@postgres-%d.example.com:5432/game_assets"}}`, password, n))
	m.must(m.admin.Patch(ctx, backendSecrets(m.namespace), patch))
}

// wipeStatus forgets everything, as a restore from a backup of the cluster may. Attempts
// are counted from one again then, and their Jobs named as they were.
func (m *gateModel) wipeStatus() {
	patch := client.RawPatch(types.MergePatchType, []byte(`{"status":{"migration":null,"conditions":null,"image":null}}`))
	ap := m.platform()
	m.must(m.admin.Status().Patch(ctx, ap, patch))
	m.wiped = append(m.wiped, revision(ap))
}

// madeTwice finds a Job that was made although the status knew that its attempt has one.
func (m *gateModel) madeTwice() error {
	for _, job := range m.made {
		for _, known := range m.recorded[job.Name] {
			wiped := slices.ContainsFunc(m.wiped, func(at int64) bool { return known < at && at < revision(&job) })
			if known < revision(&job) && !wiped {
				return fmt.Errorf("Job %s was made twice", job.Name)
			}
		}
	}
	return nil
}

// converge: when the Jobs succeed, the image that the spec asks for is served.
func (m *gateModel) converge() {
	m.t.Helper()
	want := m.platform().Spec.Image
	woken := 0
	deadline := time.Now().Add(patience)
	for {
		m.mu.Lock()
		m.now = m.now.Add(time.Hour)
		m.mu.Unlock()
		m.end(batchv1.JobComplete)
		m.collect()
		if woken++; woken%20 == 0 { // timers run by the real clock
			m.edit(func(ap *assetv1.AssetPlatform) {
				ap.Annotations = map[string]string{"example.com/wake": fmt.Sprint(woken)}
			})
		}
		var d appsv1.Deployment
		err := m.admin.Get(ctx, types.NamespacedName{Namespace: m.namespace, Name: "studio-server"}, &d)
		ap := m.platform()
		migrated := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionMigrated)
		if err == nil && d.Spec.Template.Spec.Containers[0].Image == want && migrated != nil && migrated.Status == metav1.ConditionTrue && migrated.ObservedGeneration == ap.Generation {
			var jobs batchv1.JobList
			m.must(m.admin.List(ctx, &jobs, client.InNamespace(m.namespace)))
			if len(jobs.Items) <= 1 {
				return
			}
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("does not come to serve %s: %v %s\n%s", want, err, describeStatus(ap), strings.Join(m.trace, "\n"))
		}
		time.Sleep(30 * time.Millisecond)
	}
}
