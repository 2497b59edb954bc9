package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// lastCredentials are the values that the spec's references held when they could last
// be read, taken from the copies that were made of them; nil if none were. A platform
// whose Secret is away is kept with these: a Secret that is lost must not stop repair.
func (r *Reconciler) lastCredentials(ctx context.Context, ap *assetv1.AssetPlatform) (*manifests.Credentials, error) {
	servers, err := r.copiesNamed(ctx, ap, manifests.ComponentServer)
	if err != nil || len(servers) == 0 {
		return nil, err
	}
	server := servers[0]
	// After a change that was taken back, the newest copy is not the last one: what serves knows.
	serving := &appsv1.Deployment{}
	err = r.Get(ctx, client.ObjectKey{Namespace: ap.Namespace, Name: manifests.ServerName(ap)}, serving)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read the server's Deployment: %w", err)
	}
	for _, copied := range servers {
		if startsFrom(serving, map[objectKey]bool{objectKeyOf(&copied): true}) {
			server = copied
		}
	}
	migrates, err := r.copiesNamed(ctx, ap, manifests.ComponentMigrate)
	if err != nil {
		return nil, err
	}
	url := config.DatabaseURL.Name
	for _, migrate := range migrates {
		if string(migrate.Data[url]) == string(server.Data[url]) {
			credentials := manifests.CopiedCredentials(&server, &migrate)
			return &credentials, nil
		}
	}
	return nil, nil
}

// copiesNamed are the copies of credentials for a component that were made from just what
// the spec names now, the newest first.
func (r *Reconciler) copiesNamed(ctx context.Context, ap *assetv1.AssetPlatform, c manifests.Component) ([]corev1.Secret, error) {
	return r.copies(ctx, ap, client.MatchingLabels{manifests.LabelComponent: string(c), manifests.LabelCredentialsOf: manifests.CredentialsOf(ap)})
}

// copies are the platform's copies of credentials with these labels, the newest first.
func (r *Reconciler) copies(ctx context.Context, ap *assetv1.AssetPlatform, with client.MatchingLabels) ([]corev1.Secret, error) {
	var secrets corev1.SecretList
	if err := r.List(ctx, &secrets, append(cachedInPlatform(ap), with)...); err != nil {
		return nil, fmt.Errorf("list copies of credentials: %w", err)
	}
	own := slices.DeleteFunc(secrets.Items, func(s corev1.Secret) bool {
		_, isCopy := s.Labels[manifests.LabelCredentialsOf]
		return !isCopy || !metav1.IsControlledBy(&s, ap)
	})
	slices.SortFunc(own, func(a, b corev1.Secret) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return own, nil
}
