package controllers

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// What server pods report of a dependency is what the conditions say, while it lasts.
func TestDependencyThatGoesAndComesBack(t *testing.T) {
	restartOperator(t, operatorOptions{interval: time.Second}) // pods are asked; nothing tells when their answer changes
	pods := &fakeReadiness{}
	ap := newPlatformIn(t, newNamespace(t, pods), nil)
	waitReady(t, ap)
	for check, says := range map[string]struct{ condition, reason string }{
		"database": {assetv1.ConditionDatabaseReady, assetv1.ReasonDatabaseDown},
		"storage":  {assetv1.ConditionStorageReady, assetv1.ReasonStorageDown},
		"cache":    {assetv1.ConditionCacheReady, assetv1.ReasonCacheDown},
	} {
		condition := says.condition
		pods.set(check, "the "+check+" at example.com:1 refuses connections")
		c := waitCondition(t, ap, condition, metav1.ConditionFalse, says.reason) // not yet in the moment in which it has just started
		if !strings.Contains(c.Message, "example.com:1") || !strings.Contains(c.Message, ": ") {
			t.Errorf("%s says %q; want the place and a remedy", condition, c.Message)
		}
		waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, c.Reason)
		pods.set(check, "")
		waitCondition(t, ap, condition, metav1.ConditionTrue, "")
		waitReady(t, ap)
	}
}

// A moment in which no server pod answers is no news; that they stay silent is.
func TestServerPodsThatDoNotAnswer(t *testing.T) {
	restartOperator(t, operatorOptions{interval: 4 * time.Second})
	pods := &fakeReadiness{}
	ap := newPlatformIn(t, newNamespace(t, pods), nil)
	waitReady(t, ap)
	pods.silence(true)
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Annotations = map[string]string{"example.com/touch": "1"} })
	time.Sleep(time.Second) // a pass asks them in vain
	waitReady(t, ap)
	c := waitCondition(t, ap, assetv1.ConditionReady, metav1.ConditionFalse, assetv1.ReasonProgressing)
	if !strings.Contains(c.Message, "let the operator's pods reach port 3000") {
		t.Errorf("message %q", c.Message)
	}
	pods.silence(false)
	waitReady(t, ap)
}

// While a dependency is down the pods are asked more often than in Interval: a platform
// is not called broken half a minute after it has recovered.
func TestRecoveryIsSeenSoon(t *testing.T) {
	t.Parallel()
	pods := &fakeReadiness{}
	ap := newPlatformIn(t, newNamespace(t, pods), externalSpec)
	if err := admin.Create(ctx, backendSecrets(ap.Namespace)); err != nil {
		t.Fatal(err)
	}
	waitReady(t, ap)
	pods.set("cache", "the connection was refused")
	update(t, ap, func(ap *assetv1.AssetPlatform) { ap.Annotations = map[string]string{"example.com/touch": "1"} })
	waitCondition(t, ap, assetv1.ConditionCacheReady, metav1.ConditionFalse, "")
	pods.set("cache", "")
	recovered := time.Now()
	waitReady(t, ap)
	if took := time.Since(recovered); took > 25*time.Second {
		t.Errorf("after %s", took)
	}
}
