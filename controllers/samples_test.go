package controllers

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// Every sample is admitted, and every object that is made of it is valid to the last field for a real apiserver, with the
// definitions of the other projects: what tools check against published schemas, and more.
func TestSamplesAreValid(t *testing.T) {
	t.Parallel()
	needCRDs(t)
	namespace := newNamespace(t, &fakeReadiness{})
	files, err := filepath.Glob("../config/samples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	objects := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			sample := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(document, &sample.Object); err != nil {
				t.Fatal(file, err)
			}
			sample.SetNamespace(namespace)
			if err := strictly(sample); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if sample.GetKind() != "AssetPlatform" {
				continue
			}
			ap := &assetv1.AssetPlatform{}
			if err := yaml.UnmarshalStrict(document, ap); err != nil {
				t.Fatal(file, err)
			}
			ap.Namespace, ap.UID = namespace, "0000"
			built, job := manifests.Plan(ap, manifests.OfflineFacts(ap, manifests.DefaultImages))
			for _, o := range append(built, job) {
				intent, err := manifests.Intent(o)
				if err != nil {
					t.Fatal(err)
				}
				if err := strictly(intent); err != nil {
					t.Errorf("%s: %s: %v", file, describe(o), err)
				}
				objects++
			}
		}
	}
	t.Logf("%d objects of %d samples", objects, len(files))
}

// strictly asks the apiserver whether it would make an object that has no unknown or double field.
func strictly(o *unstructured.Unstructured) error {
	return admin.Create(ctx, o.DeepCopy(), client.DryRunAll, client.FieldValidation("Strict"))
}
