package controllers

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// The apiserver refuses what is wrong with the field and the remedy, and admits what is right.
func TestAdmission(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, &fakeReadiness{})
	for i, a := range admissions() {
		name := a.name
		if name == "" {
			name = fmt.Sprintf("rule-%d", i)
		}
		try := func(spec string) error {
			o := platformFrom(t, namespace, name, spec)
			if a.old == "" {
				return admin.Create(ctx, o, client.DryRunAll)
			}
			before := platformFrom(t, namespace, name, a.old)
			if err := admin.Create(ctx, before); client.IgnoreAlreadyExists(err) != nil {
				t.Fatal(err)
			}
			if err := admin.Get(ctx, client.ObjectKeyFromObject(before), before); err != nil {
				t.Fatal(err)
			}
			o.SetResourceVersion(before.GetResourceVersion())
			return retryDryRun(o, before)
		}
		for _, spec := range a.accept {
			if err := try(spec); err != nil {
				t.Errorf("%s: %q is refused: %v", a.field, spec, err)
			}
		}
		for _, spec := range a.reject {
			err := try(spec)
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), a.message) || !strings.Contains(err.Error(), a.field+": ") {
				t.Errorf("%s: %q: want %q, got %v", a.field, spec, a.message, err)
			}
		}
	}
}

func retryDryRun(o, before client.Object) error {
	for {
		err := admin.Update(ctx, o, client.DryRunAll)
		if !apierrors.IsConflict(err) {
			return err
		}
		if err := admin.Get(ctx, client.ObjectKeyFromObject(before), before); err != nil {
			return err
		}
		o.SetResourceVersion(before.GetResourceVersion())
	}
}

func platformFrom(t *testing.T, namespace, name, spec string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{}}
	var content map[string]any
	if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
		t.Fatal(spec, err)
	}
	o.Object["spec"] = content
	o.SetGroupVersionKind(assetv1.GroupVersion.WithKind("AssetPlatform"))
	o.SetName(name)
	o.SetNamespace(namespace)
	return o
}

// Every rule of the generated CRD has a case that is admitted and one that is refused.
func TestEveryRuleHasItsCases(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../config/crd/bases/assetplatform.io_assetplatforms.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	rules := map[string]bool{}
	var walk func(field string, s apiextensionsv1.JSONSchemaProps)
	walk = func(field string, s apiextensionsv1.JSONSchemaProps) {
		for _, rule := range s.XValidations {
			rules[strings.TrimPrefix(field, ".")+": "+rule.Message] = true
		}
		for name, property := range s.Properties {
			walk(field+"."+name, property)
		}
		if s.AdditionalProperties != nil {
			walk(field+"[k]", *s.AdditionalProperties.Schema)
		}
		if s.Items != nil {
			walk(field+"[0]", *s.Items.Schema)
		}
	}
	walk("", *crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
	if len(rules) < 48 {
		t.Errorf("only %d rules were found", len(rules))
	}
	cases := admissions()
	for rule := range maps.Keys(rules) {
		accepted, rejected := false, false
		for _, a := range cases {
			if field, message, _ := strings.Cut(rule, ": "); a.field == field && strings.HasPrefix(message, strings.TrimSuffix(a.message, "; set it to the present size or more")) {
				accepted = accepted || len(a.accept) > 0
				rejected = rejected || len(a.reject) > 0
			}
		}
		if !accepted || !rejected {
			t.Errorf("%s: accepted %t, rejected %t", rule, accepted, rejected)
		}
	}
}
