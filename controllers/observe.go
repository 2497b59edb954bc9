package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// observed is everything that the status is made from.
type observed struct {
	secretsProblem *finding
	applyProblems  []*finding
	facts          manifests.Facts
	operatorImage  string

	server        *appsv1.Deployment // nil: not there
	serverSettled bool               // server is no older than what was applied last
	managed       []managedState
	service       *corev1.Service
	readiness     []config.Readiness
	podFindings   []*finding // of all pods, the worst first
	migration     []*finding // of the running migration's pods
	databaseUp    bool       // a managed database is ready, or the database is not managed
	inventory     []string
}

// managedState is a part that the operator runs, as last seen.
type managedState struct {
	component manifests.Component
	set       *appsv1.StatefulSet // nil: not there
	settled   bool
	claim     *corev1.PersistentVolumeClaim
}

func (s managedState) ready() bool {
	return s.settled && s.set != nil && s.set.Status.ObservedGeneration >= s.set.Generation &&
		s.set.Status.ReadyReplicas == 1 && s.set.Status.UpdatedReplicas == 1
}

// observe reads from the cache, and from the server pods, what the status is made from.
func (r *Reconciler) observe(ctx context.Context, p *pass) (*observed, error) {
	o := &observed{
		secretsProblem: p.secretsProblem, applyProblems: p.applyProblems, facts: p.facts,
		operatorImage: r.Images.Server, databaseUp: p.databaseStarted,
	}
	var err error
	if o.server, err = child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{}); err != nil {
		return nil, err
	}
	o.serverSettled = o.server != nil && !p.unsettled[objectKeyOf(o.server)]
	if o.service, err = child(ctx, r, p, manifests.ServiceName(p.ap), &corev1.Service{}); err != nil {
		return nil, err
	}
	if err := r.observeManaged(ctx, p, o); err != nil {
		return nil, err
	}
	var pods corev1.PodList
	if err := r.List(ctx, &pods, inPlatform(p.ap)...); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var serverPods, others []corev1.Pod
	for _, pod := range pods.Items {
		switch manifests.Component(pod.Labels[manifests.LabelComponent]) {
		case manifests.ComponentServer:
			serverPods = append(serverPods, pod)
		case manifests.ComponentMigrate:
		default:
			others = append(others, pod)
		}
	}
	o.migration = diagnose(p.migrationPods)
	o.podFindings = append(diagnose(others), diagnose(serverPods)...)
	o.readiness = r.Readiness.readAll(ctx, serverPods)
	if len(serverPods) > 0 {
		p.requeueIn(r.interval())
	}
	o.inventory, err = r.applier.inventory(ctx, p.ap)
	return o, err
}

// observeManaged reads the parts that the operator runs.
func (r *Reconciler) observeManaged(ctx context.Context, p *pass, o *observed) error {
	for _, part := range []struct {
		component manifests.Component
		spec      *assetv1.ManagedVolumeSpec
		name      string
	}{
		{manifests.ComponentPostgres, manifests.ManagedDatabase(p.ap), manifests.PostgresName(p.ap)},
		{manifests.ComponentRedis, manifests.ManagedCache(p.ap), manifests.RedisName(p.ap)},
		{manifests.ComponentS3, manifests.ManagedStorage(p.ap), manifests.S3Name(p.ap)},
	} {
		if part.spec == nil {
			continue
		}
		state := managedState{component: part.component}
		var err error
		if state.set, err = child(ctx, r, p, part.name, &appsv1.StatefulSet{}); err != nil {
			return err
		}
		if state.claim, err = child(ctx, r, p, part.name, &corev1.PersistentVolumeClaim{}); err != nil {
			return err
		}
		state.settled = state.set != nil && !p.unsettled[objectKeyOf(state.set)]
		o.managed = append(o.managed, state)
	}
	return nil
}

// child reads a child of the platform from the cache; nil if it is not there.
func child[T client.Object](ctx context.Context, r *Reconciler, p *pass, name string, into T) (T, error) {
	var none T
	err := r.Get(ctx, client.ObjectKey{Namespace: p.ap.Namespace, Name: name}, into)
	switch {
	case apierrors.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("read %s %s: %w", kindOf(into), name, err)
	}
	return into, nil
}
