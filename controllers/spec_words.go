package controllers

import (
	"fmt"
	"strings"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// inSpecWords replaces the variables that our pods speak of by what the user has set:
// nobody who reads a condition knows of DATABASE_URL.
func inSpecWords(ap *assetv1.AssetPlatform, text string) string {
	var words []string // what comes first is tried first
	if manifests.ManagedStorage(ap) != nil {
		words = append(words, config.S3AccessKey.Name+" and "+config.S3SecretKey.Name, "Secret "+manifests.S3Name(ap))
	} else {
		words = append(words, config.S3Region.Name, "spec.storage.region", config.S3Bucket.Name, "spec.storage.bucket", config.S3Prefix.Name, "spec.storage.prefix",
			config.S3Endpoint.Name, "spec.storage.endpoint")
		if ref := sourceOf(ap, config.S3CA.Name); ref == nil {
			words = append(words, config.S3CA.Name, "a key of a Secret, named in spec.storage.caSecretRef,")
		} else {
			words = append(words, config.S3CA.Name, fmt.Sprintf("key %s of Secret %s", ref.Key, ref.Name))
		}
	}
	for _, part := range []struct {
		managed   *assetv1.ManagedVolumeSpec
		name      string
		variables []config.Var
	}{
		{manifests.ManagedDatabase(ap), manifests.PostgresName(ap), []config.Var{config.DatabaseURL, config.DatabaseDirectURL}},
		{manifests.ManagedCache(ap), manifests.RedisName(ap), []config.Var{config.RedisURL}},
		{manifests.ManagedStorage(ap), manifests.S3Name(ap), []config.Var{config.S3AccessKey, config.S3SecretKey, config.S3Endpoint, config.S3Bucket, config.S3Region, config.S3Prefix}},
	} {
		for _, variable := range part.variables {
			if ref := sourceOf(ap, variable.Name); ref != nil {
				words = append(words, variable.Name, fmt.Sprintf("key %s of Secret %s", ref.Key, ref.Name))
			} else if part.managed != nil {
				words = append(words, variable.Name, "Secret or Service "+part.name)
			}
		}
	}
	return strings.NewReplacer(words...).Replace(text)
}

// plural is the ending of a word that stands for a list.
func plural(list []string) string {
	if len(list) == 1 {
		return ""
	}
	return "s"
}

// listed writes a list as a sentence does: a, b and c.
func listed(list []string, and string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " " + and + " " + list[last]
}

// counted is a number of things; one of them takes no plural.
func counted[T int | int32](n T, thing string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, thing)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
