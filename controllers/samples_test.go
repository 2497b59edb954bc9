package controllers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// Every sample is admitted, and every object that is made of it is valid to the last field for a real apiserver, with the
// definitions of the other projects.
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

// The golden manifests and the samples conform to the schemas that the apiserver publishes, as kubeconform reads them.
func TestManifestsConform(t *testing.T) {
	t.Parallel()
	needCRDs(t)
	golden, err := filepath.Glob("../internal/manifests/testdata/*.golden.yaml")
	if err != nil || len(golden) == 0 {
		t.Fatal("no golden manifests", err)
	}
	files := append(golden, "../config/samples")
	schemas := t.TempDir()
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {prots: []}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	conform := func() error { // the schemas of new definitions take the apiserver a moment
		writeSchemas(t, schemas)
		out, err := exec.Command(peer(t, "kubeconform"), append([]string{"-strict", "-summary", "-schema-location", schemas + "/{{.ResourceKind}}{{.KindSuffix}}.json"}, files...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("kubeconform: %w: %s", err, out)
		}
		t.Logf("%s", out)
		return nil
	}
	eventually(t, conform)
	if files = []string{wrong}; conform() == nil {
		t.Error("an unknown field conforms")
	}
}

// writeSchemas makes a file of JSON schema of each kind of ours from the OpenAPI document of the apiserver.
func writeSchemas(t *testing.T, directory string) {
	t.Helper()
	var document struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal([]byte(mustKubectl(t, "get", "--raw", "/openapi/v2")), &document); err != nil {
		t.Fatal(err)
	}
	for _, definition := range document.Definitions {
		strict(definition)
	}
	ours := map[schema.GroupVersionKind]bool{assetv1.GroupVersion.WithKind("AssetPlatform"): true}
	for _, kind := range manifests.OptionalKinds {
		ours[kind] = true
	}
	for _, o := range ownedKinds() {
		kind, err := apiutil.GVKForObject(o, admin.Scheme())
		if err != nil {
			t.Fatal(err)
		}
		ours[kind] = true
	}
	for name, definition := range document.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue
		}
		kind := schema.GroupVersionKind{Group: field(kinds[0], "group").(string), Version: field(kinds[0], "version").(string), Kind: field(kinds[0], "kind").(string)}
		if !ours[kind] {
			continue
		}
		text, err := json.Marshal(map[string]any{"$ref": "#/definitions/" + name, "definitions": document.Definitions})
		group, _, _ := strings.Cut(kind.Group, ".")
		file := strings.ToLower(strings.ReplaceAll(kind.Kind+"-"+group+"-"+kind.Version, "--", "-")) + ".json"
		if err == nil {
			err = os.WriteFile(filepath.Join(directory, file), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// strict lets a schema refuse unknown fields, and take numbers where Kubernetes does.
func strict(schema map[string]any) {
	if schema["format"] == "int-or-string" || schema["x-kubernetes-int-or-string"] == true {
		delete(schema, "format")
		schema["type"] = []any{"integer", "string"}
	}
	properties, _ := schema["properties"].(map[string]any)
	if len(properties) > 0 && schema["additionalProperties"] == nil && schema["x-kubernetes-preserve-unknown-fields"] == nil {
		schema["additionalProperties"] = false
	}
	for _, inner := range properties {
		strict(inner.(map[string]any))
	}
	for _, name := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[name].(map[string]any); ok {
			strict(inner)
		}
	}
}
