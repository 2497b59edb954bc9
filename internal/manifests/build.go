// Package manifests turns an AssetPlatform and the facts around it into the
// objects that should exist: one file per child, pure functions, no client, clock,
// randomness or environment. It must not decide what may roll out or be removed:
// that is the controllers' business.
package manifests

import (
	"reflect"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// Build is the list of all objects that are applied for ap, in the order in which
// they are applied. Generated Secrets come without their data: see GeneratedSecrets.
func Build(ap *assetv1.AssetPlatform, f Facts) []client.Object {
	objects := append(GeneratedSecrets(ap), LeftData(ap, f)...)
	objects = append(objects, Postgres(ap, f)...)
	objects = append(objects, Redis(ap, f)...)
	objects = append(objects, S3(ap, f)...)
	objects = append(objects,
		ServerServiceAccount(ap),
		ServerConfigMap(ap),
		ServerSecret(ap, f),
		MigrateSecret(ap, f),
		RestoreSecret(ap, f),
		Service(ap, f),
		Certificate(ap, f),
		Ingress(ap, f),
		HTTPRoute(ap, f),
	)
	objects = append(objects, Backups(ap, f)...)
	objects = append(objects, NetworkPolicies(ap, f)...)
	objects = append(objects,
		PodDisruptionBudget(ap),
		ServerDeployment(ap, f),
		HorizontalPodAutoscaler(ap),
		MetricsService(ap, f),
		ServiceMonitor(ap, f),
		PrometheusRule(ap, f),
		Dashboard(ap),
	)
	return slices.DeleteFunc(objects, isNil)
}

// isNil says whether a builder has nothing to say: its object is not wanted.
func isNil(o client.Object) bool { return reflect.ValueOf(o).IsNil() }
