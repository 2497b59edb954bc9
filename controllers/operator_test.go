package controllers

import (
	"fmt"
	"math/rand/v2"
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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
	"github.com/assetplatform/assetplatform/test/controlplane"
)

// Tests in this file that stop and start the operator are not parallel.

// restartOperator replaces the suite's operator until the end of the test.
func restartOperator(t *testing.T, o operatorOptions) {
	t.Helper()
	stopOperator(t)
	var err error
	if operator, err = startOperator(o); err != nil {
		t.Fatal(err)
	}
	<-operator.elected
}

// stopOperator stops the suite's operator; the end of the test starts it again as it was.
func stopOperator(t *testing.T) {
	t.Helper()
	if err := operator.stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		operator.cancel()
		var err error
		if operator, err = startOperator(operatorOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

// reconciles is how many passes the operators of this process made.
func reconciles(t *testing.T) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, family := range families {
		if family.GetName() == "controller_runtime_reconcile_total" {
			for _, m := range family.GetMetric() {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return total
}

// quiet waits until the operator has sent nothing for a second; it returns the number of requests so far.
func quiet(t *testing.T) int {
	t.Helper()
	_, last := sent.since(0)
	since := time.Now()
	eventually(t, func() error {
		if _, n := sent.since(0); n != last {
			last, since = n, time.Now()
		}
		if silence := time.Since(since); silence < time.Second {
			return fmt.Errorf("silent for %s", silence)
		}
		return nil
	})
	return last
}

// Of two operators one leads; when it stops, the other takes over at once.
func TestLeaderHandsOver(t *testing.T) {
	restartOperator(t, operatorOptions{elect: true})
	second, err := startOperator(operatorOptions{elect: true})
	if err != nil {
		t.Fatal(err)
	}
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	select {
	case <-second.elected:
		t.Fatal("two operators lead")
	default:
	}
	stopped := time.Now()
	if err := operator.stop(); err != nil {
		t.Fatal(err)
	}
	operator = second
	<-second.elected
	if took := time.Since(stopped); took > 10*time.Second {
		t.Errorf("the hand-over took %s", took)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(2)) })
	waitReady(t, ap)
}

// An operator that dies at any moment of a rollout leaves nothing that the next one cannot
// go on from: one Job per attempt, Secrets as they were.
func TestOperatorKilledInTheMiddle(t *testing.T) {
	ap := newPlatform(t, nil)
	stopOperator(t)
	random := rand.New(rand.NewPCG(7, 7))
	for i := range 12 {
		started, err := startOperator(operatorOptions{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(100+random.IntN(250)) * time.Millisecond) // the moment is the input of this test
		if err := started.stop(); err != nil {
			t.Fatal(err)
		}
		if i == 6 {
			update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Image = "example.com/killed:2" })
		}
	}
	var err error
	if operator, err = startOperator(operatorOptions{}); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
	var jobs batchv1.JobList
	if err := admin.List(ctx, &jobs, client.InNamespace(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	var secrets corev1.SecretList
	if err := admin.List(ctx, &secrets, client.InNamespace(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	if len(jobs.Items) > 1 || ap.Status.Migration.Attempt > 2 {
		t.Errorf("%d Jobs, attempt %d", len(jobs.Items), ap.Status.Migration.Attempt)
	}
	if n := len(secrets.Items); n < 6 || n > 8 { // four generated, one per consumer, and what an older ReplicaSet names
		t.Errorf("%d Secrets", n)
	}
}

// A newer operator restarts nothing: it says which images it comes with and which field
// accepts each. Before a part was ready once, an operator's wrong flag can be corrected.
func TestNewOperatorRestartsNothing(t *testing.T) {
	broken := images(t, controlplane.Image{PullError: "not found"})[0]
	wrong := manifests.DefaultImages
	wrong.Redis = broken
	restartOperator(t, operatorOptions{images: wrong})
	ap := newPlatform(t, nil)
	waitCondition(t, ap, assetv1.ConditionCacheReady, metav1.ConditionFalse, assetv1.ReasonImagePull)
	restartOperator(t, operatorOptions{})
	waitReady(t, ap)
	before := templates(t, ap)

	newer := manifests.Images{Server: "example.com/assets:9", Postgres: "example.com/postgres:16", Redis: "example.com/redis:9", S3: "example.com/s3:9"}
	restartOperator(t, operatorOptions{images: newer})
	c := waitCondition(t, ap, assetv1.ConditionUpdateAvailable, metav1.ConditionTrue, assetv1.ReasonNewerImage)
	for _, offer := range []string{
		newer.Server + ": set spec.image", newer.Postgres + " for the managed database: set spec.database.managed.image",
		newer.Redis + " for the managed cache: set spec.cache.managed.image", newer.S3 + " for the managed bucket: set spec.storage.managed.image",
	} {
		if !strings.Contains(c.Message, offer) {
			t.Errorf("message %q lacks %q", c.Message, offer)
		}
	}
	quiet(t)
	if after := templates(t, ap); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the newer operator changed what runs:\n%v\n%v", before, after)
	}

	// What is not ready, or is made again, stays as well.
	set := get(t, ap, "studio-redis", &appsv1.StatefulSet{})
	if err := admin.Delete(ctx, set); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		again := &appsv1.StatefulSet{}
		if err := admin.Get(ctx, client.ObjectKeyFromObject(set), again); err != nil {
			return err
		}
		if again.UID == set.UID || again.Status.ReadyReplicas == 0 {
			return fmt.Errorf("it is not there again: %+v", again.Status)
		}
		return nil
	})
	waitReady(t, ap)
	if after := templates(t, ap); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a part that was made again runs another image:\n%v\n%v", before, after)
	}

	// The field accepts, and what it accepted stays when it is taken out again.
	update(t, ap, func(ap *assetv1.AssetPlatform) {
		ap.Spec.Cache = &assetv1.CacheSpec{Managed: &assetv1.ManagedVolumeSpec{Image: newer.Redis}}
	})
	waitReady(t, ap)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Cache = nil })
	waitReady(t, ap)
	before["studio-redis"] = newer.Redis
	if after := templates(t, ap); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("runs %v, want %v", after, before)
	}
	if c := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionUpdateAvailable); strings.Contains(c.Message, newer.Redis) {
		t.Errorf("what was accepted is still offered: %s", c.Message)
	}
}

// A part that is managed no longer and then again reads its old volume: with the image that it had.
func TestPartManagedAgainKeepsItsImage(t *testing.T) {
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	before := templates(t, ap)
	if err := admin.Create(ctx, backendSecrets(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { externalSpec(&ap.Spec) })
	waitReady(t, ap)
	restartOperator(t, operatorOptions{images: manifests.Images{Server: "example.com/assets:9", Postgres: "example.com/postgres:16", Redis: "example.com/redis:9", S3: "example.com/s3:9"}})
	c := waitCondition(t, ap, assetv1.ConditionUpdateAvailable, metav1.ConditionTrue, "")
	if strings.Contains(c.Message, "managed") {
		t.Errorf("message %q offers images of parts that are not managed", c.Message)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Database, ap.Spec.Cache, ap.Spec.Storage = nil, nil, nil })
	waitReady(t, ap)
	if after := templates(t, ap); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("runs %v, want %v", after, before)
	}
}

// templates are the images that the platform's Deployment and StatefulSets ask for, by name.
func templates(t *testing.T, ap *assetv1.AssetPlatform) map[string]string {
	t.Helper()
	images := map[string]string{"studio-server": serving(t, ap).Spec.Template.Spec.Containers[0].Image}
	for _, name := range []string{"studio-postgres", "studio-redis", "studio-s3"} {
		images[name] = get(t, ap, name, &appsv1.StatefulSet{}).Spec.Template.Spec.Containers[0].Image
	}
	return images
}

// What was generated once stays, also when the operator that made it is gone.
func TestGeneratedSecretsOutliveTheOperator(t *testing.T) {
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	before := generatedData(t, ap)
	restartOperator(t, operatorOptions{})
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Replicas = new(int32(1)) })
	waitReady(t, ap)
	if after := generatedData(t, ap); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Error("the generated values are others now")
	}
}

func generatedData(t *testing.T, ap *assetv1.AssetPlatform) map[string]map[string][]byte {
	t.Helper()
	data := map[string]map[string][]byte{}
	for _, o := range manifests.GeneratedSecrets(ap) {
		data[o.GetName()] = get(t, ap, o.GetName(), &corev1.Secret{}).Data
	}
	return data
}

// Nothing of ours keeps a namespace from going when no operator runs.
func TestNamespaceDeletionFinishesWithoutTheOperator(t *testing.T) {
	ap := newPlatform(t, func(s *assetv1.AssetPlatformSpec) { externalSpec(s); s.Replicas = new(int32(0)) }) // pods would only take the cluster long
	if err := admin.Create(ctx, backendSecrets(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
	stopOperator(t)
	deleteNamespace(t, ap.Namespace)
}

// And the operator that runs does not fill it again.
func TestNamespaceDeletionFinishesWithTheOperator(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	deleteNamespace(t, ap.Namespace)
}

func deleteNamespace(t *testing.T, name string) {
	t.Helper()
	ns := &corev1.Namespace{}
	ns.Name = name
	if err := admin.Delete(ctx, ns); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		err := admin.Get(ctx, client.ObjectKeyFromObject(ns), ns)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("namespace %s is still there: %v %v", name, err, ns.Status.Conditions)
	})
}

// An operator that starts where there is always something to do comes to the platforms
// that were there before it as well.
func TestOperatorStartsUnderLoad(t *testing.T) {
	var busy []*assetv1.AssetPlatform
	for range 2 {
		ap := newPlatformIn(t, newNamespace(t, &fakeReadiness{delay: 200 * time.Millisecond}), nil)
		waitReady(t, ap)
		busy = append(busy, ap)
	}
	stopOperator(t)
	waiting := newPlatform(t, externalSpec) // without its Secret it has no children whose events would bring it forward
	done := make(chan struct{})
	var touching sync.WaitGroup
	for _, ap := range busy {
		touching.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
				touch := fmt.Sprintf(`{"metadata":{"annotations":{"example.com/touch":"%d"}}}`, i)
				if err := admin.Patch(ctx, ap, client.RawPatch(types.MergePatchType, []byte(touch))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer touching.Wait()
	defer close(done)
	var err error
	if operator, err = startOperator(operatorOptions{workers: 1}); err != nil {
		t.Fatal(err)
	}
	waitCondition(t, waiting, assetv1.ConditionSecretsResolved, metav1.ConditionFalse, assetv1.ReasonSecretNotFound)
}
