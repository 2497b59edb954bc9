package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// compareAll is the pass of a suspended platform: it changes nothing, and finds out whether what
// is there is what the spec asks for. Ready must not be true of a spec that was never applied.
func (r *Reconciler) compareAll(ctx context.Context, p *pass) error {
	last, err := r.lastCredentials(ctx, p.ap)
	if err != nil {
		return err
	}
	if last == nil {
		p.applyProblems = []*finding{suspended(p.ap, "the spec names credentials that were not read yet")}
		return nil
	}
	p.facts.Credentials = *last
	present, problems, err := r.presentCredentials(ctx, p.ap)
	if err != nil {
		return err
	}
	p.secretsProblems = problems
	if present != nil {
		p.facts.Credentials = *present
		if err := r.rotateKeys(ctx, p); err != nil {
			return err
		}
		p.rotation = nil // none goes on
	}
	if err := r.observeChildren(ctx, p); err != nil {
		return err
	}
	if err := r.observeDatabase(ctx, p); err != nil {
		return err
	}
	if err := r.resolveBackup(ctx, p); err != nil {
		return err
	}
	p.facts.ServingImage = servingImage(p.ap.Status.Migration, p.facts)
	if p.facts.ServingImage != p.facts.TargetImage {
		p.applyProblems = []*finding{suspended(p.ap, "the database is not migrated for "+p.facts.TargetImage)}
		return nil
	}
	return r.compareObjects(ctx, p)
}

// compareObjects notes that there are objects which an apply would make or change.
func (r *Reconciler) compareObjects(ctx context.Context, p *pass) error {
	var missing, differing []client.Object
	for _, object := range manifests.Build(p.ap, p.facts) {
		c, err := r.applier.compare(ctx, p.ap, object)
		_, found := asFinding(err, "")
		switch {
		case err != nil && !found:
			return err
		case c.same:
		case c.live.GetUID() == "":
			missing = append(missing, object)
		default:
			differing = append(differing, object)
		}
	}
	// What is there and differs tells more: new content is missing under a name that nobody has seen yet.
	switch all := len(differing) + len(missing); {
	case len(differing) > 0:
		p.applyProblems = []*finding{suspended(p.ap, fmt.Sprintf("%s differs from what the spec asks for, %d in all", describe(differing[0]), all))}
	case len(missing) > 0:
		p.applyProblems = []*finding{suspended(p.ap, fmt.Sprintf("%s is missing, %d in all", describe(missing[0]), all))}
	}
	return nil
}

// presentCredentials are those that the spec names and that were generated, as they are now; nil if one is not there or cannot
// be right, which the findings say of those that the spec names.
func (r *Reconciler) presentCredentials(ctx context.Context, ap *assetv1.AssetPlatform) (*manifests.Credentials, []*finding, error) {
	generated := map[string]map[string][]byte{}
	for _, wanted := range manifests.GeneratedSecrets(ap) {
		secret := &corev1.Secret{}
		if err := r.Get(ctx, client.ObjectKeyFromObject(wanted), secret); err != nil || !belongsTo(ap, secret) {
			return nil, nil, client.IgnoreNotFound(err)
		}
		generated[secret.Name] = secret.Data
	}
	c, problems, err := r.lookUpCredentials(ctx, ap, generated)
	if err != nil || len(problems) > 0 {
		return nil, problems, err
	}
	return &c, nil, nil
}

// suspended is the finding that the operator would have something to do and may not.
func suspended(ap *assetv1.AssetPlatform, what string) *finding {
	return &finding{
		reason: assetv1.ReasonSuspended, where: "AssetPlatform " + ap.Name, stalled: true,
		problem: "The operator is suspended for this platform, and " + what, remedy: "set spec.suspend to false",
	}
}
