package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// What ownsExactly proves equal, and what it must not.
func TestOwnsExactly(t *testing.T) {
	t.Parallel()
	const fields = `{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{}},"k:{\"port\":81,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{}}},"f:selector":{}}}`
	service := func() *corev1.Service {
		return &corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: metav1.ObjectMeta{Name: "s", Labels: map[string]string{"a": "1", "theirs": "2"}, ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: fieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(fields)},
			}},
			Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: map[string]string{"x": "y"}, Ports: []corev1.ServicePort{{Port: 80, Protocol: "TCP"}, {Port: 81, Protocol: "TCP"}}},
		}
	}
	intent := func() *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "s", "labels": map[string]any{"a": "1"}},
			"spec": map[string]any{"selector": map[string]any{"x": "y"}, "ports": []any{
				map[string]any{"port": int64(80), "protocol": "TCP"}, map[string]any{"port": int64(81), "protocol": "TCP"},
			}},
		}}
	}
	for name, test := range map[string]struct {
		live func(*corev1.Service)
		want func(map[string]any)
		same bool
	}{
		"as applied":        {same: true},
		"others' fields":    {live: func(s *corev1.Service) { s.Labels["theirs"] = "3"; s.Spec.ClusterIP = "10.0.0.2" }, same: true},
		"edited label":      {live: func(s *corev1.Service) { s.Labels["a"] = "2" }},
		"lost label":        {live: func(s *corev1.Service) { delete(s.Labels, "a") }},
		"edited atomic map": {live: func(s *corev1.Service) { s.Spec.Selector["z"] = "1" }},
		"lost list item":    {live: func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] }},
		"extra list item": {live: func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 82, Protocol: "TCP"})
		}, same: true},
		"list in another order": {live: func(s *corev1.Service) { slices.Reverse(s.Spec.Ports) }},
		"another manager":       {live: func(s *corev1.Service) { s.ManagedFields[0].Manager = "kubectl" }},
		"an update of ours":     {live: func(s *corev1.Service) { s.ManagedFields[0].Operation = metav1.ManagedFieldsOperationUpdate }},
		"wanted and not owned":  {want: func(spec map[string]any) { spec["type"] = "ClusterIP" }},
		"owned and not wanted":  {want: func(spec map[string]any) { delete(spec, "selector") }},
		"a list item wanted more": {want: func(spec map[string]any) {
			spec["ports"] = append(spec["ports"].([]any), map[string]any{"port": int64(90), "protocol": "TCP"})
		}},
		"a list item wanted less": {want: func(spec map[string]any) { spec["ports"] = spec["ports"].([]any)[:1] }},
	} {
		live, want := service(), intent()
		if test.live != nil {
			test.live(live)
		}
		if test.want != nil {
			test.want(want.Object["spec"].(map[string]any))
		}
		if _, err := keepOwned(live); err != nil {
			t.Fatal(err)
		}
		if same, err := ownsExactly(live, want); err != nil || same != test.same {
			t.Errorf("%s: %t %v", name, same, err)
		}
	}
}

// Against the real apiserver: an intent that is changed at random is never proved equal
// where a server-side apply of it would change something.
func TestOwnsExactlyNeverLies(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ap := newRoutedPlatform(t)
	waitCondition(t, ap, assetv1.ConditionAvailable, metav1.ConditionTrue, "")
	mutations := 6 // of each child
	if os.Getenv("SOAK") != "" {
		mutations = 40
	}
	equal, changed, refused := 0, 0, 0
	for _, child := range children(t, ap) {
		settle := intentOf(t, ap, child)
		if err := admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(settle.DeepCopy()), client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
		for range mutations {
			intent := settle.DeepCopy()
			what := mutate(random, intent.Object)
			live := typed(t, child)
			same, err := ownsExactly(live, intent)
			if err != nil {
				t.Fatal(err)
			}
			applied := intent.DeepCopy()
			err = admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(fieldManager), client.ForceOwnership, client.DryRunAll)
			switch {
			case err != nil:
				refused++
				if same {
					t.Errorf("%s, %s: proved equal, and the apiserver refuses it: %v", describe(child), what, err)
				}
			case content(t, applied) != content(t, unstructuredOf(t, child)):
				changed++
				if same {
					t.Errorf("%s, %s: proved equal, and applying it changes\n%s to\n%s", describe(child), what, content(t, unstructuredOf(t, child)), content(t, applied))
				}
			default:
				equal++
			}
		}
	}
	t.Logf("%d mutations change something, %d nothing, %d are refused", changed, equal, refused)
	if changed < 30 {
		t.Errorf("only %d mutations changed anything", changed)
	}
}

func unstructuredOf(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	now := o.DeepCopy()
	if err := admin.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
		t.Fatal(err)
	}
	return now
}

// content is an object without what changes at each write, and without its status.
func content(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	o = o.DeepCopy()
	delete(o.Object, "status")
	entries := o.GetManagedFields()
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	o.SetGeneration(0)
	text, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	owned := ""
	for _, entry := range entries { // giving up or taking a field is a change as well
		if entry.Manager == fieldManager && entry.Operation == metav1.ManagedFieldsOperationApply {
			owned = entry.FieldsV1.GetRawString()
		}
	}
	return string(text) + owned
}

// mutate changes one random place of an intent and says what it did. Names stay.
func mutate(random *rand.Rand, object map[string]any) string {
	var places []func() string
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				here := path + "." + key
				if here == ".apiVersion" || here == ".kind" || here == ".metadata.name" || here == ".metadata.namespace" {
					continue
				}
				places = append(places, func() string { delete(v, key); return "without " + here })
				switch leaf := v[key].(type) {
				case string:
					places = append(places, func() string { v[key] = leaf + "x"; return "another " + here })
				case int64:
					places = append(places, func() string { v[key] = leaf + 1; return "another " + here })
				case bool:
					places = append(places, func() string { v[key] = !leaf; return "another " + here })
				case []any:
					if len(leaf) > 1 {
						places = append(places, func() string { slices.Reverse(leaf); return "reversed " + here }, func() string { v[key] = leaf[1:]; return "shorter " + here })
					}
				}
				walk(here, v[key])
			}
			if path == ".metadata.labels" || path == ".metadata.annotations" || path == ".data" {
				places = append(places, func() string { v["extra"] = "eA=="; return "more in " + path })
			}
		case []any:
			for i, item := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), item)
			}
		}
	}
	walk("", object)
	return places[random.IntN(len(places))]()
}
