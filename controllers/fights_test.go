package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// Somebody who changes a field of ours each time that it is put back is named, with the field; the two do not load the
// cluster, and when the other stops, the field is put back for good.
func TestFieldFight(t *testing.T) {
	t.Parallel()
	ap := newPlatform(t, nil)
	waitReady(t, ap)
	_, start := sent.since(0)
	fighting, stop := context.WithCancel(ctx)
	name := client.ObjectKey{Namespace: ap.Namespace, Name: "studio-server"}
	var rival sync.WaitGroup
	rival.Go(func() {
		for fighting.Err() == nil {
			d := &appsv1.Deployment{}
			err := admin.Get(ctx, name, d)
			if err == nil && *d.Spec.RevisionHistoryLimit != 1 {
				patch := client.MergeFrom(d.DeepCopy())
				d.Spec.RevisionHistoryLimit = new(int32(1))
				d.Spec.Template.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = quantity("1m")
				_ = admin.Patch(ctx, d, patch, client.FieldOwner("tuner"))
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	defer rival.Wait()
	defer stop()
	repairs := func(since int) (n int) {
		requests, _ := sent.since(since)
		for _, r := range requests {
			if r.namespace == ap.Namespace && r.verb == "patch" && r.resource == "deployments.apps" {
				n++
			}
		}
		return n
	}
	// A busy operator takes its time for six repairs; it is their number that counts.
	began := time.Now()
	for !isNamed(t, ap, "tuner keeps changing spec.revisionHistoryLimit of Deployment studio-server", "stop the other") {
		if n := repairs(start); n > 2*fightRepairs || time.Since(began) > 4*patience {
			t.Fatalf("nobody is named after %d repairs in %s: %s", n, time.Since(began), describeStatus(ap))
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("named after %d repairs in %s", repairs(start), time.Since(began))
	_, start = sent.since(0)
	const watched = 5 * time.Second // in which there may be one more repair
	time.Sleep(watched)
	if n := repairs(start); n > 1 {
		t.Errorf("%d repairs in %s", n, watched)
	}
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Spec.Server.LogLevel = "debug" }) // an edit of the platform is not held back
	eventually(t, func() error {
		if got, want := serving(t, ap).Spec.Template.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name, manifests.ServerConfigMap(ap).Name; got != want {
			return fmt.Errorf("the server reads %s", got)
		}
		return nil
	})
	stop()
	rival.Wait()
	waitReady(t, ap)
	if got := *serving(t, ap).Spec.RevisionHistoryLimit; got != 5 {
		t.Errorf("revisionHistoryLimit is %d", got)
	}
}

// isNamed says whether Ready tells of a field conflict in these words.
func isNamed(t *testing.T, ap *assetv1.AssetPlatform, words ...string) bool {
	t.Helper()
	if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
		t.Fatal(err)
	}
	c := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionReady)
	return c.Reason == assetv1.ReasonFieldConflict && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(c.Message, word) })
}

// What is done by hand a few times is no fight.
func TestRepairsAreNoFight(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := &applier{clock: func() time.Time { return now }}
	key := objectKey{kind: "Service"}
	for range 3 * fightRepairs {
		if a.isFight(key) {
			t.Fatal("a repair every three minutes is a fight")
		}
		a.repaired(key, "")
		now = now.Add(3 * time.Minute)
	}
	now = now.Add(fightWindow)
	for range fightRepairs {
		rival := ""
		if a.isFight(key) {
			rival = "tuner keeps changing spec.x"
		}
		a.repaired(key, rival)
		a.forget(types.NamespacedName{}) // some platform goes: that is no reason to forget another one's repairs
		now = now.Add(time.Second)
	}
	if a.fought(key, "Service x") == nil || a.holdsBack(key) != firstHold-time.Second {
		t.Errorf("held back for %s", a.holdsBack(key))
	}
	now = now.Add(firstHold)
	a.repaired(key, "tuner keeps changing spec.x")
	if a.holdsBack(key) != 2*firstHold {
		t.Errorf("held back for %s after one more repair", a.holdsBack(key))
	}
	now = now.Add(3*firstHold + time.Second)
	if f := a.fought(key, "Service x"); f != nil {
		t.Errorf("it is over, and yet: %s", f.message())
	}
	a.repaired(key, "")
	if a.holdsBack(key) > 0 {
		t.Error("one repair after a fight is a fight")
	}
}

// Somebody who comes by once a minute, as GitOps tools do, is a fight all the time, not by turns, and is over soon after.
func TestSlowRivals(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := &applier{clock: func() time.Time { return now }}
	key := objectKey{kind: "Service"}
	const rival = "argocd keeps changing spec.x"
	for minute := range 30 {
		for range 60 {
			now = now.Add(time.Second)
			if found := a.fought(key, "Service x") != nil; found != (minute >= fightRepairs) {
				t.Fatalf("in minute %d it is a fight: %t", minute, found)
			}
		}
		if a.holdsBack(key) <= 0 {
			if a.isFight(key) {
				a.repaired(key, rival)
			} else {
				a.repaired(key, "")
			}
		}
	}
	now = now.Add(longestHold + 2*time.Minute + time.Second)
	if a.fought(key, "Service x") != nil {
		t.Error("it is not over yet")
	}
}
