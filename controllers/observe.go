package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	server := &appsv1.Deployment{}
	if o.server, err = found(server, r.read(ctx, p, manifests.ServerName(p.ap), server)); err != nil {
		return nil, err
	}
	o.serverSettled = o.server != nil && !p.unsettled[objectKeyOf(o.server)]
	service := &corev1.Service{}
	if o.service, err = found(service, r.read(ctx, p, manifests.ServiceName(p.ap), service)); err != nil {
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
		p.requeueIn(readinessInterval)
	}
	return o, r.observeInventory(ctx, p, o)
}

func (r *Reconciler) observeManaged(ctx context.Context, p *pass, o *observed) error {
	parts := map[manifests.Component]string{}
	if manifests.ManagedDatabase(p.ap) != nil {
		parts[manifests.ComponentPostgres] = manifests.PostgresName(p.ap)
	}
	if manifests.ManagedCache(p.ap) != nil {
		parts[manifests.ComponentRedis] = manifests.RedisName(p.ap)
	}
	if manifests.ManagedStorage(p.ap) != nil {
		parts[manifests.ComponentS3] = manifests.S3Name(p.ap)
	}
	for _, component := range []manifests.Component{manifests.ComponentPostgres, manifests.ComponentRedis, manifests.ComponentS3} {
		name, wanted := parts[component]
		if !wanted {
			continue
		}
		state := managedState{component: component}
		var err error
		set, claim := &appsv1.StatefulSet{}, &corev1.PersistentVolumeClaim{}
		if state.set, err = found(set, r.read(ctx, p, name, set)); err != nil {
			return err
		}
		if state.claim, err = found(claim, r.read(ctx, p, name, claim)); err != nil {
			return err
		}
		state.settled = state.set != nil && !p.unsettled[objectKeyOf(state.set)]
		o.managed = append(o.managed, state)
	}
	return nil
}

// observeInventory lists the children that exist and are this platform's.
func (r *Reconciler) observeInventory(ctx context.Context, p *pass, o *observed) error {
	names, err := r.applier.inventory(ctx, p.ap)
	o.inventory = names
	return err
}

func (r *Reconciler) read(ctx context.Context, p *pass, name string, into client.Object) error {
	return r.Get(ctx, client.ObjectKey{Namespace: p.ap.Namespace, Name: name}, into)
}

// found turns "not found" into nil.
func found[T client.Object](o T, err error) (T, error) {
	var none T
	switch {
	case apierrors.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("read %s: %w", kindOf(o), err)
	}
	return o, nil
}
