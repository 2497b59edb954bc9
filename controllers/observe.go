package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// observed is everything that the status is made from.
type observed struct {
	secretsProblems []*finding
	applyProblems   []*finding
	facts           manifests.Facts
	operatorImages  manifests.Images
	rotation        *keyRotation // of the signing key; nil while none is under way

	server        *appsv1.Deployment // nil: not there
	serverSettled bool               // server is no older than what was applied last
	managed       []managedState
	service       *corev1.Service
	// serviceSettled says that service is no older than what was applied last.
	serviceSettled bool
	routes         []*route
	certificate    *certificate // nil: the spec asks for none
	autoscaling    *verdict     // nil: the spec asks for none
	backup         backupState
	restoreProblem *finding
	readiness      []config.Readiness
	nodes          []string   // addresses of those that server pods are on, sorted
	podFindings    []*finding // of all pods, the worst first
	// pods are how many the server and the managed parts have that run, or still end.
	pods      int
	migration []*finding // of the running migration's pods
	// migrationRefusal is why the running migration has no pod.
	migrationRefusal string
	databaseUp       bool // a managed database is ready, or the database is not managed
	inventory        []string
}

// managedState is a part that the operator runs, as last seen.
type managedState struct {
	component manifests.Component
	spec      assetv1.ManagedVolumeSpec
	set       *appsv1.StatefulSet // nil: not there
	settled   bool
	// stays says that it is kept where it is until the server's pods have moved.
	stays bool
	// fresh says that its pod is ready since a moment: the server pods look for it every few seconds.
	fresh bool
	// refused says that the cluster would not have the set as it is wanted: as it was before, it may run on.
	refused bool
	claim   *corev1.PersistentVolumeClaim
	// podRefusal is why it has no pod, claimRefusal why it has no volume.
	podRefusal, claimRefusal string
}

// unbound says whether the part waits for its volume.
func (s managedState) unbound() bool {
	return s.claim != nil && isUnbound(s.claim)
}

// seen says whether what is known of the part is no older than what was asked of it.
func (s managedState) seen() bool {
	return s.settled && s.set != nil && s.set.Status.ObservedGeneration >= s.set.Generation
}

func (s managedState) ready() bool {
	return s.seen() && s.set.Status.ReadyReplicas == 1 && s.set.Status.UpdatedReplicas == 1
}

// runs says whether an image is what the part's StatefulSet asks for. After a pass that
// could apply nothing, that need not be what the spec asks for.
func (s managedState) runs(image string) bool {
	return s.set != nil && slices.ContainsFunc(s.set.Spec.Template.Spec.Containers, func(c corev1.Container) bool {
		return c.Name == string(s.component) && c.Image == image
	})
}

// observe reads from the cache, and from the server pods, what the status is made from.
func (r *Reconciler) observe(ctx context.Context, p *pass) (_ *observed, err error) {
	o := &observed{
		secretsProblems: p.secretsProblems, applyProblems: p.applyProblems, facts: p.facts, rotation: p.rotation,
		operatorImages: r.Images, databaseUp: p.databaseStarted, restoreProblem: p.restoreProblem,
	}
	if o.server, err = child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{}); err != nil {
		return nil, err
	}
	o.serverSettled = o.server != nil && !p.unsettled[objectKeyOf(o.server)]
	if o.service, err = child(ctx, r, p, manifests.ServiceName(p.ap), &corev1.Service{}); err != nil {
		return nil, err
	}
	o.serviceSettled = o.service != nil && !p.unsettled[objectKeyOf(o.service)]
	if err := r.observeManaged(ctx, p, o); err != nil {
		return nil, err
	}
	if err := r.observeRoutes(ctx, p, o); err != nil {
		return nil, err
	}
	if o.certificate, err = r.observeCertificate(ctx, p); err != nil {
		return nil, err
	}
	if o.autoscaling, err = r.observeAutoscaling(ctx, p); err != nil {
		return nil, err
	}
	if o.backup, err = r.observeBackups(ctx, p); err != nil {
		return nil, err
	}
	serverPods, managedPods, err := r.ownPods(ctx, p, o)
	if err != nil {
		return nil, err
	}
	for _, pod := range serverPods {
		if ip := pod.Status.HostIP; ip != "" && !slices.Contains(o.nodes, ip) {
			o.nodes = append(o.nodes, ip)
		}
	}
	slices.Sort(o.nodes)
	for _, pod := range slices.Concat(serverPods, managedPods) {
		if pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
			o.pods++
		}
	}
	r.findFresh(p, o, managedPods)
	o.migration, o.migrationRefusal = diagnose(p.migrationPods), p.migrationRefusal
	o.podFindings = diagnose(managedPods)
	for _, f := range diagnose(serverPods) {
		f.former = p.facts.Held != nil
		o.podFindings = append(o.podFindings, f)
	}
	o.readiness = r.askServers(ctx, p, serverPods)
	if len(serverPods) > 0 {
		p.requeueIn(r.interval())
	}
	if slices.ContainsFunc(o.readiness, anythingDown) {
		p.requeueIn(min(downRecheck, r.interval())) // its end should be seen soon
	}
	o.inventory, err = r.applier.inventory(ctx, p.ap)
	return o, err
}

// freshness is for how long a managed part may be ready and not reached by the server pods without being down.
const freshness = 20 * time.Second

// findFresh marks the managed parts whose pods have become ready a moment ago.
func (r *Reconciler) findFresh(p *pass, o *observed, pods []corev1.Pod) {
	for _, pod := range pods {
		for _, c := range pod.Status.Conditions {
			left := freshness - r.now().Sub(c.LastTransitionTime.Time)
			if c.Type != corev1.PodReady || c.Status != corev1.ConditionTrue || left <= 0 {
				continue
			}
			p.requeueIn(left)
			for i := range o.managed {
				o.managed[i].fresh = o.managed[i].fresh || o.managed[i].component == componentOf(&pod)
			}
		}
	}
}

// askServers asks the server pods how their dependencies are. Where none of them answers,
// though the kubelet finds one ready, what they said last holds for another Interval: a
// moment without an answer must not look like a dependency that is gone.
func (r *Reconciler) askServers(ctx context.Context, p *pass, pods []corev1.Pod) []config.Readiness {
	answers := r.Readiness.readAll(ctx, pods)
	platform := client.ObjectKeyFromObject(p.ap)
	if len(answers) > 0 {
		r.heard.Store(platform, heard{answers: answers, at: r.now()})
		return answers
	}
	last, ok := r.heard.Load(platform)
	if ok && slices.ContainsFunc(pods, isReady) && r.now().Sub(last.(heard).at) <= 2*r.interval() {
		return last.(heard).answers
	}
	return nil
}

// downRecheck is how soon pods are asked again that have reported a dependency down.
const downRecheck = 2 * time.Second

func anythingDown(r config.Readiness) bool {
	return slices.ContainsFunc([]config.Check{r.Checks.Database, r.Checks.Schema, r.Checks.Storage, r.Checks.Cache}, func(c config.Check) bool {
		return c.Status == config.CheckDown
	})
}

// heard is what server pods said, and when.
type heard struct {
	answers []config.Readiness
	at      time.Time
}

func isReady(pod corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// ownPods are the pods of the server and of the managed parts: those that our objects
// made, for anybody may give a pod our labels.
func (r *Reconciler) ownPods(ctx context.Context, p *pass, o *observed) (server, managed []corev1.Pod, err error) {
	makers := map[types.UID]bool{}
	for _, part := range o.managed {
		if part.set != nil {
			makers[part.set.UID] = true
		}
	}
	if managed, err = r.podsOf(ctx, p, makers); err != nil {
		return nil, nil, err
	}
	server, err = r.serverPods(ctx, p, o.server)
	return server, managed, err
}

// observeManaged reads the parts that the operator runs.
func (r *Reconciler) observeManaged(ctx context.Context, p *pass, o *observed) error {
	for _, part := range manifests.Parts(p.ap) {
		if part.Spec == nil {
			continue
		}
		state := managedState{component: part.Component, spec: *part.Spec}
		var err error
		if state.set, err = child(ctx, r, p, part.Name, &appsv1.StatefulSet{}); err != nil {
			return err
		}
		if state.claim, err = child(ctx, r, p, part.Name, &corev1.PersistentVolumeClaim{}); err != nil {
			return err
		}
		state.settled = state.set != nil && !p.unsettled[objectKeyOf(state.set)]
		state.stays = state.set != nil && p.staying[objectKeyOf(state.set)]
		state.refused = state.set != nil && slices.ContainsFunc(p.applyProblems, func(f *finding) bool { return f.where == describe(state.set) })
		if state.unbound() && !state.ready() && !p.ap.Spec.Hibernate {
			if state.claimRefusal, err = r.refusalOf(ctx, p, state.claim); err != nil {
				return err
			}
		}
		if state.seen() && state.set.Status.Replicas == 0 && !p.ap.Spec.Hibernate {
			if state.podRefusal, err = r.refusalOf(ctx, p, state.set); err != nil {
				return err
			}
		}
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
	case !belongsTo(p.ap, into):
		return none, nil // a namesake
	}
	return into, nil
}
