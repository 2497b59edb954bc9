package controllers

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/utils/ptr"

	"github.com/assetplatform/assetplatform/internal/manifests"
)

// ingressController is the controller of the class that the platform's Ingress has; empty if there is no such class. An Ingress
// that was made with the default class of that day keeps it.
func (r *Reconciler) ingressController(ctx context.Context, p *pass) (string, error) {
	in := p.ap.Spec.Networking.Ingress
	if in == nil {
		return "", nil
	}
	name := in.ClassName
	if name == "" {
		made, err := child(ctx, r, p, manifests.ServerName(p.ap), &networkingv1.Ingress{})
		if err != nil {
			return "", err
		}
		if made != nil {
			name = ptr.Deref(made.Spec.IngressClassName, "")
		}
	}
	var classes networkingv1.IngressClassList
	if err := r.others.List(ctx, &classes); err != nil {
		return "", fmt.Errorf("list IngressClasses: %w", err)
	}
	for _, class := range classes.Items {
		isDefault := name == "" && class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		if class.Name == name || isDefault {
			return class.Spec.Controller, nil
		}
	}
	return "", nil
}
