package controllers

import (
	"context"
	"crypto/rand"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// generateSecrets makes the Secrets whose values nobody gave, once: one that exists
// is never written again. It returns their data by name; what somebody must mend is
// a finding.
func (r *Reconciler) generateSecrets(ctx context.Context, ap *assetv1.AssetPlatform) (map[string]map[string][]byte, error) {
	all := map[string]map[string][]byte{}
	for _, wanted := range manifests.GeneratedSecrets(ap) {
		secret := &corev1.Secret{}
		err := r.Get(ctx, client.ObjectKeyFromObject(wanted), secret)
		if apierrors.IsNotFound(err) { // without our label, not in the cache yet, or not there
			err = r.APIReader.Get(ctx, client.ObjectKeyFromObject(wanted), secret)
		}
		switch {
		case apierrors.IsNotFound(err):
			secret, err = r.generateSecret(ctx, ap, wanted.(*corev1.Secret))
		case err == nil && !belongsTo(ap, secret):
			err = conflict(ap, wanted, secret)
		}
		if problem, ok := asFinding(err, describe(wanted)); ok {
			return nil, problem
		}
		if err != nil {
			return nil, fmt.Errorf("generate %s: %w", describe(wanted), err)
		}
		for _, key := range manifests.GeneratedKeys(ap, secret.Name) {
			if len(secret.Data[key]) == 0 {
				return nil, &finding{
					reason:  assetv1.ReasonSecretKeyMissing,
					problem: fmt.Sprintf("Secret %s has lost its key %s, which was generated when the platform was made", secret.Name, key),
					where:   "Secret " + secret.Name, remedy: "put the old value back from a backup of the Secret",
				}
			}
		}
		all[secret.Name] = secret.Data
	}
	return all, nil
}

// generateSecret makes a Secret that does not exist.
func (r *Reconciler) generateSecret(ctx context.Context, ap *assetv1.AssetPlatform, wanted *corev1.Secret) (*corev1.Secret, error) {
	wanted.Data = map[string][]byte{}
	for _, key := range manifests.GeneratedKeys(ap, wanted.Name) {
		wanted.Data[key] = []byte(rand.Text() + rand.Text()) // 52 letters and digits, over 256 bits
	}
	if wanted.Name == manifests.PostgresName(ap) {
		password, err := r.databasePassword(ctx, ap)
		if err != nil {
			return nil, err
		}
		if password != "" {
			wanted.Data[manifests.KeyPassword] = []byte(password)
		}
	}
	// No owner yet, whatever the deletion policy: one that is created, not applied, could not
	// be taken away by applying, and the Secret would go with its platform for ever.
	wanted.OwnerReferences = nil
	wanted.Annotations = map[string]string{assetv1.AnnotationRetainedFor: manifests.RetainedFor(ap)}
	wanted.Type = corev1.SecretTypeOpaque
	return wanted, r.Create(ctx, wanted, client.FieldOwner(fieldManager))
}

// databasePassword is the password that a managed database has already, empty while there
// is no database. It cannot be made again, but the last copy of it may still be there.
func (r *Reconciler) databasePassword(ctx context.Context, ap *assetv1.AssetPlatform) (string, error) {
	name := client.ObjectKey{Namespace: ap.Namespace, Name: manifests.PostgresName(ap)}
	claim := &corev1.PersistentVolumeClaim{}
	err := r.APIReader.Get(ctx, name, claim)
	if apierrors.IsNotFound(err) || err == nil && !belongsTo(ap, claim) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	last, err := r.lastCredentials(ctx, ap)
	if err != nil {
		return "", err
	}
	if last != nil {
		return manifests.ManagedDatabasePassword(last.DatabaseURL), nil
	}
	return "", &finding{
		reason:  assetv1.ReasonSecretLost,
		problem: fmt.Sprintf("Secret %s with the password of the managed database is gone, but its volume is there", name.Name),
		where:   "Secret " + name.Name,
		remedy: fmt.Sprintf("restore the Secret from a backup; or, to begin with an empty database, delete StatefulSet %s and PersistentVolumeClaim %s (and those of the bucket, whose bytes nobody will know)",
			name.Name, name.Name),
	}
}
