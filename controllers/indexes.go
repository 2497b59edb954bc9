package controllers

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// What a pass looks for, the cache finds by an index: so it costs the same however many platforms a namespace has.
const (
	byPlatform = "platform" // children, by the platform's name in their label
	bySecret   = "secret"   // platforms, by the Secrets that they name, and those that they make
)

// indexChildren makes a cache find the objects of a kind by their platform.
func indexChildren(ctx context.Context, in cache.Cache, kind client.Object) error {
	err := in.IndexField(ctx, kind, byPlatform, func(o client.Object) []string {
		if name := o.GetLabels()[manifests.LabelInstance]; name != "" {
			return []string{name}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index %s: %w", kindOf(kind), err)
	}
	return nil
}

// indexPlatforms makes a cache find the platforms that a Secret may concern.
func indexPlatforms(ctx context.Context, in cache.Cache) error {
	err := in.IndexField(ctx, &assetv1.AssetPlatform{}, bySecret, func(o client.Object) []string {
		ap := o.(*assetv1.AssetPlatform)
		generated := []string{manifests.PostgresName(ap), manifests.RedisName(ap), manifests.S3Name(ap), manifests.AuthSecretName(ap)}
		return append(referencedSecrets(ap), generated...)
	})
	if err != nil {
		return fmt.Errorf("index platforms: %w", err)
	}
	return nil
}

// inPlatform selects the platform's objects.
func inPlatform(ap *assetv1.AssetPlatform) []client.ListOption {
	return []client.ListOption{client.InNamespace(ap.Namespace), client.MatchingLabels{
		manifests.LabelInstance: ap.Name, manifests.LabelManagedBy: manifests.ManagedBy,
	}}
}

// cachedInPlatform selects them in the cache, without a look at those of others.
func cachedInPlatform(ap *assetv1.AssetPlatform) []client.ListOption {
	return append(inPlatform(ap), client.MatchingFields{byPlatform: ap.Name})
}
