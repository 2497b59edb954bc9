package controllers

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// ingressController is the controller of the class that the platform's Ingress has; empty if there is no such class.
func (r *Reconciler) ingressController(ctx context.Context, ap *assetv1.AssetPlatform) (string, error) {
	in := ap.Spec.Networking.Ingress
	if in == nil {
		return "", nil
	}
	var classes networkingv1.IngressClassList
	if err := r.others.List(ctx, &classes); err != nil {
		return "", fmt.Errorf("list IngressClasses: %w", err)
	}
	for _, class := range classes.Items {
		isDefault := in.ClassName == "" && class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		if class.Name == in.ClassName || isDefault {
			return class.Spec.Controller, nil
		}
	}
	return "", nil
}
