package controllers

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// choice is a value of a field, and whether admission takes it; a nil value leaves the field out.
type choice struct {
	value any
	bad   bool
}

type object = map[string]any

// randomPriority is a PriorityClass that is there.
const randomPriority = "random-specs"

// choices are what the generator draws from, by the path of the field.
var choices = map[string][]choice{
	"replicas":                  {{}, {value: int64(0)}, {value: int64(2)}, {value: int64(-1), bad: true}, {value: "three", bad: true}},
	"server.logLevel":           {{}, {value: "debug"}, {value: "loud", bad: true}},
	"server.maxFileSize.image":  {{}, {value: "20Mi"}, {value: int64(0), bad: true}},
	"server.extraEnv":           {{}, {value: []any{object{"name": "GOMEMLIMIT", "value": "1GiB"}}}, {value: []any{object{"name": "PORT", "value": "1"}}, bad: true}},
	"server.envFrom":            {{}, {value: []any{object{"secretRef": object{"name": "backend-secrets"}}}}},
	"autoscaling":               {{}, {}, {value: object{}}, {value: object{"minReplicas": int64(1), "maxReplicas": int64(2)}}, {value: object{"minReplicas": int64(3), "maxReplicas": int64(2)}, bad: true}},
	"disruption.maxUnavailable": {{}, {value: int64(2)}, {value: "50%"}, {value: int64(0), bad: true}},
	"serviceAccount":            {{}, {value: object{"name": "default"}}, {value: object{"annotations": object{"example.com/role": "x"}}}, {value: object{"name": "x", "annotations": object{}}, bad: true}},
	"pod.labels":                {{}, {value: object{"example.com/team": "art"}}, {value: object{"two words": "x"}, bad: true}},
	"pod.annotations":           {{}, {value: object{"example.com/owner": "any text"}}, {value: object{"a/b/c": "x"}, bad: true}},
	"pod.nodeSelector":          {{}, {}, {value: object{"kubernetes.io/arch": "amd64"}}, {value: object{"two words": "x"}, bad: true}},
	"pod.tolerations":           {{}, {value: []any{object{"key": "gpu", "operator": "Exists"}}}, {value: []any{object{"key": "gpu", "operator": "Is"}}, bad: true}},
	"pod.affinity":              {{}, {value: object{"podAntiAffinity": object{"preferredDuringSchedulingIgnoredDuringExecution": []any{object{"weight": int64(1), "podAffinityTerm": object{"topologyKey": "zone"}}}}}}},
	"pod.priorityClassName":     {{}, {}, {value: randomPriority}, {value: "Very High", bad: true}},
	"imagePullSecrets":          {{}, {value: []any{object{"name": "registry"}}}, {value: []any{object{"name": "a b"}}, bad: true}},
	"resources":                 {{}, {value: object{"requests": object{"cpu": "100m"}}}, {value: object{"limits": object{"memory": "1Gi"}}}, {value: object{"requests": object{"cpu": int64(2)}, "limits": object{"cpu": int64(1)}}, bad: true}},
	"server.allowedOrigins":     {{}, {value: []any{"https://*.example.com"}}, {value: []any{"example.com/x"}, bad: true}},
	"server.trustedProxies":     {{}, {value: []any{"10.0.0.0/8"}}, {value: []any{"10.0.0.1"}, bad: true}},
	"server.trashRetention":     {{}, {value: "48h"}, {value: "soon", bad: true}},
	"server.auditRetention":     {{}, {value: "48h"}, {value: "a year", bad: true}},
	"server.rateLimits":         {{}, {value: object{"loginAccount": int64(0)}}, {value: object{"loginAddress": int64(-1)}, bad: true}},
	"database": {
		{},
		{},
		{value: object{"managed": object{}}},
		{value: object{"secretRef": object{"name": "backend-secrets", "key": "database-url"}}},
		{value: object{"secretRef": object{"name": "backend-secrets", "key": "database-url"}, "directSecretRef": object{"name": "backend-secrets", "key": "database-url"}}},
		{value: object{"managed": object{}, "secretRef": object{"name": "backend-secrets", "key": "database-url"}}, bad: true},
		{value: object{}, bad: true},
	},
	"cache": {{}, {}, {value: object{"secretRef": object{"name": "backend-secrets", "key": "redis-url"}}}, {value: object{}, bad: true}},
	"storage": {
		{},
		{},
		{value: object{"bucket": "assets", "credentialsSecretRef": object{"name": "backend-secrets"}}},
		{value: object{"bucket": "assets"}},
		{value: object{"bucket": "assets", "prefix": "studio/", "region": "eu-central-1", "endpoint": "https://s3.example.com"}},
		{value: object{"bucket": "Assets"}, bad: true},
		{value: object{"managed": object{}, "region": "x"}, bad: true},
	},
	"backup": {
		{},
		{},
		{value: object{"destinations": []any{object{"name": "primary", "bucket": "backups", "credentialsSecretRef": object{"name": "backend-secrets"}}}, "drill": object{}}},
		{value: object{"destinations": []any{object{"name": "primary", "bucket": "backups"}}, "objectives": object{"rpo": "1h"}, "encryption": object{"recipients": []any{"age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"}}}},
		{value: object{"destinations": []any{}}, bad: true},
	},
	"auth.jwtSecretRef":       {{}, {}, {value: object{"name": "backend-secrets", "key": "jwt-secret"}}},
	"auth.verifySecretRefs":   {{}, {}, {value: []any{object{"name": "backend-secrets", "key": "jwt-secret"}}}, {value: []any{object{"name": "backend-secrets"}}, bad: true}},
	"auth.rotation":           {{}, {}, {value: "Immediate"}, {value: "Fast", bad: true}},
	"networking.service.type": {{}, {value: "NodePort"}, {value: "ExternalName", bad: true}},
	"networking.service.port": {{}, {value: int64(8080)}, {value: int64(443)}, {value: int64(0), bad: true}},
	"networking.host":         {{}, {value: "a.example.com"}, {value: "b.example.com"}, {value: "https://a.example.com", bad: true}},
	"networking.ingress":      {{}, {}, {value: object{}}, {value: object{"className": "any"}}},
	"networking.gateway":      {{}, {}, {value: object{"parentRefs": []any{object{"name": "public"}}}}, {value: object{"parentRefs": []any{}}, bad: true}},
	"networking.tls":          {{}, {}, {value: object{"issuerRef": object{"name": "any"}}}, {value: object{"secretName": "own"}}, {value: object{}, bad: true}},
	"networking.networkPolicy": {
		{},
		{},
		{value: object{"enabled": false}},
		{value: object{"ingressFrom": []any{object{"podSelector": object{}}}, "metricsFrom": []any{object{"namespaceSelector": object{}}}}},
		{value: object{"egress": []any{object{"to": []any{object{"ipBlock": object{"cidr": "10.0.0.0/8"}}}, "ports": []any{object{"port": int64(443)}}}}}},
		{value: object{"egress": []any{object{"ports": []any{object{"port": int64(0)}}}}}, bad: true},
	},
	"networking.service.annotations": {{}, {value: object{"example.com/kind": "x"}}, {value: object{"a/b/c": "x"}, bad: true}},
	"monitoring.labels":              {{}, {value: object{"release": "prometheus"}}, {value: object{"two words": "x"}, bad: true}},
	"monitoring.scrapeInterval":      {{}, {value: "30s"}, {value: "0s", bad: true}},
	"suspend":                        {{}, {}, {}, {}, {value: true}},
	"monitoring.serviceMonitor":      {{}, {value: false}},
	"monitoring.rules":               {{}, {value: false}},
	"monitoring.dashboard":           {{}, {value: false}},
	"deletionPolicy":                 {{}, {value: "Delete"}, {value: "Keep", bad: true}},
	"hibernate":                      {{}, {}, {}, {value: true}},
	"migrations.backoffLimit":        {{}, {value: int64(0)}, {value: int64(11), bad: true}},
}

// randomSpec draws a spec, and says whether admission should take it. Most draws take no bad value: else few would be good.
func randomSpec(random *rand.Rand) (spec object, good bool) {
	spec, good = object{}, true
	spoil := random.IntN(3) == 0
	for _, path := range slices.Sorted(maps.Keys(choices)) {
		of := choices[path]
		drawn := of[random.IntN(len(of))]
		if drawn.bad && (!spoil || !good) {
			drawn = of[0]
		}
		good = good && !drawn.bad
		if drawn.value == nil {
			continue
		}
		if err := unstructured.SetNestedField(spec, drawn.value, split(path)...); err != nil {
			panic(err)
		}
	}
	n, _, _ := unstructured.NestedMap(spec, "networking")
	has := func(field string) bool { return n[field] != nil }
	port, _, _ := unstructured.NestedInt64(n, "service", "port")
	_, cpu, _ := unstructured.NestedFieldNoCopy(spec, "resources", "requests", "cpu")
	switch {
	case spec["autoscaling"] != nil && spec["resources"] != nil && !cpu,
		(has("ingress") || has("gateway") || has("tls")) && !has("host"),
		has("tls") && has("gateway") && !has("ingress"),
		has("tls") && !has("ingress") && port == 443:
		good = false
	}
	return spec, good
}

func split(path string) []string {
	var parts []string
	for start, i := 0, 0; i <= len(path); i++ {
		if i == len(path) || path[i] == '.' {
			parts = append(parts, path[start:i])
			start = i + 1
		}
	}
	return parts
}

// Whatever a spec is: admission takes it or refuses it as the rules say; what it takes comes to its end or says what it waits
// for; and a platform that goes from one to another has the objects of the one it is at, and none of any other.
func TestRandomSpecs(t *testing.T) {
	t.Parallel()
	needCRDs(t)
	platforms, specs := 2, 5 // that are taken, of each
	if os.Getenv("SOAK") != "" {
		platforms, specs = 10, 30
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	priority := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: randomPriority}, Value: 1}
	if err := admin.Create(ctx, priority); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	for i := range platforms {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			ap := newExternalPlatform(t, nil)
			taken, refused := 0, 0
			for taken < specs {
				spec, good := randomSpec(random)
				if !setSpec(t, ap, spec, good) {
					refused++
					continue
				}
				taken++
				converges(t, ap, spec)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d specs taken, %d refused", taken, refused)
		})
	}
}

// setSpec edits the platform; it says whether admission took the spec.
func setSpec(t *testing.T, ap *assetv1.AssetPlatform, spec object, good bool) bool {
	t.Helper()
	for {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(assetv1.GroupVersion.WithKind("AssetPlatform"))
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), o); err != nil {
			t.Fatal(err)
		}
		o.Object["spec"] = spec
		switch err := admin.Update(ctx, o); {
		case apierrors.IsConflict(err):
			continue
		case err != nil && !apierrors.IsInvalid(err):
			t.Fatal(err)
		case (err == nil) != good:
			t.Fatalf("taken: %t, want %t: %v\n%v", err == nil, good, err, spec)
		}
		return good
	}
}

// converges waits until the platform is as the spec says, as far as anybody serves routes and certificates here.
func converges(t *testing.T, ap *assetv1.AssetPlatform, spec object) {
	t.Helper()
	eventually(t, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(ap), ap); err != nil {
			return err
		}
		if ap.Status.ObservedGeneration != ap.Generation {
			return fmt.Errorf("generation %d was not looked at", ap.Generation)
		}
		ready := meta.FindStatusCondition(ap.Status.Conditions, assetv1.ConditionReady)
		if ap.Spec.Suspend { // it says whether what is there is what the spec asks for
			if ready.Status == metav1.ConditionTrue || ready.Reason == assetv1.ReasonSuspended {
				return nil
			}
			return fmt.Errorf("suspended: %v: %s", spec, describeStatus(ap))
		}
		if err := autoscale(ap); err != nil {
			return err
		}
		rests := assetv1.ConditionAvailable
		if ap.Spec.Hibernate {
			rests = assetv1.ConditionReady
		}
		waitsForOthers := ap.Spec.Networking.TLS != nil || ap.Spec.Networking.Ingress != nil || ap.Spec.Networking.Gateway != nil
		switch {
		case !meta.IsStatusConditionTrue(ap.Status.Conditions, rests):
			return fmt.Errorf("%v: %s", spec, describeStatus(ap))
		case ready.Status != metav1.ConditionTrue && !waitsForOthers:
			return fmt.Errorf("%v: %s", spec, describeStatus(ap))
		}
		return strays(t, ap)
	})
}

// autoscale does what the autoscaler does, which this cluster has none of: it brings the number of pods into its bounds.
func autoscale(ap *assetv1.AssetPlatform) error {
	a := ap.Spec.Autoscaling
	if a == nil || ap.Spec.Hibernate {
		return nil
	}
	d := &appsv1.Deployment{}
	if err := admin.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: manifests.ServerName(ap)}, d); err != nil {
		return err
	}
	n := ptr.Deref(d.Spec.Replicas, 1)
	if within := min(max(n, a.MinReplicas), a.MaxReplicas); within != n {
		patch := client.MergeFrom(d.DeepCopy())
		d.Spec.Replicas = &within
		return admin.Patch(ctx, d, patch, client.FieldOwner("horizontal-pod-autoscaler"))
	}
	return nil
}

// strays says which objects are there that the present spec does not want, and which are not that it does. Data and what
// older revisions start from stay.
func strays(t *testing.T, ap *assetv1.AssetPlatform) error {
	t.Helper()
	wanted := keysOf(currentObjects(t, ap))
	for _, o := range children(t, ap) {
		key := objectKeyOf(o)
		kept := o.GetKind() == "PersistentVolumeClaim" || o.GetKind() == "Secret" || o.GetKind() == "ConfigMap" && ptr.Deref(immutable(o), false) || o.GetKind() == "ServiceAccount"
		// Asleep, another database is not migrated: the server may have to wake with the one of before.
		kept = kept || ap.Spec.Hibernate && managedField(componentOf(o)) != ""
		if !wanted[key] && !kept {
			return fmt.Errorf("%s is there, and nobody wants it: %+v", describe(o), ap.Spec)
		}
		delete(wanted, key)
	}
	for key := range wanted {
		if key.kind != "Deployment" || !ap.Spec.Hibernate {
			return fmt.Errorf("%s %s is wanted, and not there", key.kind, key.name.Name)
		}
	}
	return nil
}

func immutable(o *unstructured.Unstructured) *bool {
	value, found, _ := unstructured.NestedBool(o.Object, "immutable")
	if !found {
		return nil
	}
	return &value
}
