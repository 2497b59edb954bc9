// Package controllers keeps the platforms that AssetPlatform objects describe
// running: one reconciler per kind and the one apply loop. It talks to the
// Kubernetes API and to the readiness route of server pods, and to nothing else: it
// has no database, cache or bucket client.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// Reconciler keeps AssetPlatforms. Its exported fields are set by whoever makes it.
type Reconciler struct {
	client.Client               // reads come from the cache of our own objects
	APIReader     client.Reader // reads past the cache; for what is rare
	Images        manifests.Images
	Events        recorder.EventRecorder
	// Readiness asks a server pod for its dependencies' state.
	Readiness ReadinessReader
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Interval is how often that is looked at again which nothing tells of: what server pods
	// report, somebody else's object in our way. 0 means 30 s.
	Interval time.Duration

	applier applier
	secrets secretReader
	heard   sync.Map // platform → heard
	silent  sync.Map // platforms of which a route did not answer at the last pass
	written sync.Map // platform → writtenStatus

	optional *optionalKinds
	others   cache.Cache
}

// staleRetry is how soon a pass is repeated that the apiserver found to be working on
// an old object: the cache catches up within milliseconds.
const staleRetry = 50 * time.Millisecond

// writtenStatus is the version of a platform that a pass left. While the cache does not show it, another pass would work on
// what was before, and its status would be a conflict. That ends: a cluster that was restored has older versions for long.
type writtenStatus struct {
	resourceVersion string
	at              time.Time
}

const (
	cacheRetry = 5 * time.Millisecond // how soon the cache is looked at again
	cacheDelay = 2 * time.Second      // for how long it is waited for
)

func (w writtenStatus) hides(cached client.Object, now time.Time) bool {
	return now.Sub(w.at) < cacheDelay && olderThan(cached, w.resourceVersion)
}

// kindRetry is how soon a pass is repeated that has met a kind which the cluster is losing.
const kindRetry = time.Second

// pass is one reconciliation: the object, what was found out about it, and what
// the status has to say.
type pass struct {
	ap     *assetv1.AssetPlatform // a copy whose status is rewritten
	stored *assetv1.AssetPlatform // as it was read
	facts  manifests.Facts

	secretsProblems []*finding
	applyProblems   []*finding
	// leaving are the volume claims of managed parts that are being deleted.
	leaving map[objectKey]bool
	// staying are the managed parts that are kept where they are until the server's pods have moved.
	staying map[objectKey]bool
	// unsettled are the objects whose cached state may be older than what was just applied.
	unsettled map[objectKey]bool
	// databaseStarted is false while a managed database is not ready for the migration.
	databaseStarted bool
	migrationPods   []corev1.Pod
	rotation        *keyRotation // of the signing key; nil while none is under way
	backupProblems  []*finding   // with what spec.backup says or names
	drillProblems   []*finding   // with what it says of drills
	restoreProblem  *finding     // what keeps a restore from beginning
	// migrationRefusal is why the running migration has no pod; empty if it has one, or if nothing is known.
	migrationRefusal string

	requeueAfter time.Duration
}

// requeueIn asks for another pass after d at the latest; the shortest wish of a pass counts.
func (p *pass) requeueIn(d time.Duration) {
	if p.requeueAfter == 0 || d < p.requeueAfter {
		p.requeueAfter = d
	}
}

// refuse notes an object that cannot be made. Nothing of ours tells when that changes.
func (p *pass) refuse(problem *finding, recheck time.Duration) {
	p.applyProblems = append(p.applyProblems, problem)
	p.requeueIn(recheck)
}

// Reconcile brings one platform closer to its spec and its status up to date. A pass
// that fails says nothing: what it could not find out must not look like news.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	stored := &assetv1.AssetPlatform{}
	if err := r.Get(ctx, req.NamespacedName, stored); err != nil {
		if apierrors.IsNotFound(err) {
			r.applier.forget(req.NamespacedName)
			r.secrets.retain(req.NamespacedName, nil)
			r.heard.Delete(req.NamespacedName)
			r.silent.Delete(req.NamespacedName)
			r.written.Delete(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !stored.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // owner references do the rest: no finalizer that could hang
	}
	if last, ok := r.written.Load(req.NamespacedName); ok && last.(writtenStatus).hides(stored, r.now()) {
		return ctrl.Result{RequeueAfter: cacheRetry}, nil
	}
	p := &pass{ap: stored.DeepCopy(), stored: stored, staying: map[objectKey]bool{}, unsettled: map[objectKey]bool{}}
	err := r.reconcile(ctx, p)
	if err == nil {
		err = r.updateStatus(ctx, p)
	}
	switch {
	case ctx.Err() != nil: // the operator stops; the next one goes on
		return ctrl.Result{}, nil
	case namespaceEnds(err):
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	case kindIsGoing(err):
		return ctrl.Result{RequeueAfter: kindRetry}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: p.requeueAfter}, nil
}

// reconcile resolves the facts, gates the rollout, applies what is wanted and removes what is not.
func (r *Reconciler) reconcile(ctx context.Context, p *pass) (err error) {
	images := manifests.TargetImages(p.ap, r.Images)
	p.facts = manifests.Facts{Images: images, TargetImage: images.Server, Installed: r.optional.Installed()}
	if p.facts.IngressController, err = r.ingressController(ctx, p); err != nil {
		return err
	}
	if p.ap.Spec.Suspend {
		return r.compareAll(ctx, p)
	}
	p.facts.Credentials, p.secretsProblems, err = r.resolveCredentials(because(ctx, "secrets"), p.ap)
	if err != nil {
		return err
	}
	if len(p.secretsProblems) > 0 {
		p.requeueIn(r.interval()) // a Secret's arrival wakes us; that one may be made now, a quota raised, does not
		if known, err := r.useLastCredentials(ctx, p); err != nil || !known {
			return err
		}
	}
	if err := r.rotateKeys(because(ctx, "secrets"), p); err != nil {
		return err
	}
	if err := r.observeChildren(because(ctx, "lookup"), p); err != nil {
		return err
	}
	if err := r.resolveBackup(because(ctx, "secrets"), p); err != nil {
		return err
	}
	if err := r.observeRestore(because(ctx, "restore"), p); err != nil {
		return err
	}
	if err := r.observeMigration(because(ctx, "migration"), p); err != nil {
		return err
	}
	wanted := manifests.Build(p.ap, p.facts)
	if err := r.applyAll(ctx, p, wanted); err != nil {
		return err
	}
	if err := r.observeDatabase(ctx, p); err != nil {
		return err
	}
	if err := r.startRestore(because(ctx, "restore"), p); err != nil {
		return err
	}
	if err := r.startMigration(because(ctx, "migration"), p); err != nil {
		return err
	}
	if err := r.backUpNow(because(ctx, "backup"), p); err != nil {
		return err
	}
	if err := r.forgetOldJobs(because(ctx, "migration"), p); err != nil {
		return err
	}
	if len(p.applyProblems) > 0 {
		return nil // never remove the old while the new could not be made
	}
	oldPods, err := r.oldPodsServe(ctx, p)
	if err != nil {
		return err
	}
	return r.applier.prune(because(ctx, "prune"), p.ap, wanted, oldPods)
}

// useLastCredentials puts those that the server has had in place of those that are missing or wrong, and says whether the platform
// can be kept with them: not where there are none, nor where the spec has a value that no server would start with.
func (r *Reconciler) useLastCredentials(ctx context.Context, p *pass) (bool, error) {
	last, err := r.lastCredentials(ctx, p.ap)
	if err != nil || last == nil {
		return false, err
	}
	wrong := func(f *finding) bool { return f.reason == assetv1.ReasonInvalidSpec }
	if slices.ContainsFunc(p.secretsProblems, wrong) {
		return false, nil
	}
	more := slices.DeleteFunc(invalidCredentials(p.ap, *last), func(f *finding) bool { return !wrong(f) })
	if p.secretsProblems = append(p.secretsProblems, more...); len(more) > 0 {
		return false, nil
	}
	p.facts.Credentials = *last
	return true, nil
}

// oldPodsServe says whether pods from before the present spec may still serve: they need what they were made with.
func (r *Reconciler) oldPodsServe(ctx context.Context, p *pass) (bool, error) {
	d, err := child(ctx, r, p, manifests.ServerName(p.ap), &appsv1.Deployment{})
	if err != nil || d == nil {
		return false, err
	}
	seen := !p.unsettled[objectKeyOf(d)] && d.Status.ObservedGeneration >= d.Generation
	return p.facts.ServingImage == "" || !seen || d.Status.UpdatedReplicas != d.Status.Replicas, nil
}

// applyAll applies every object, also past one that is refused: what can be, is.
func (r *Reconciler) applyAll(ctx context.Context, p *pass, wanted []client.Object) error {
	var failed []error
	refused := map[objectKey]bool{}
	for _, object := range wanted {
		if startsFrom(object, refused) {
			p.unsettled[objectKeyOf(object)] = true
			continue // its pods would write into somebody else's volume, or read somebody else's Secret
		}
		if waits, err := r.waitsForItsVolume(ctx, p, object); err != nil || waits {
			p.unsettled[objectKeyOf(object)] = true
			failed = append(failed, err)
			continue
		}
		stays, err := r.staysForNow(ctx, p, object, wanted)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		p.staying[objectKeyOf(object)] = stays
		settled, err := r.applier.apply(ctx, p.ap, object)
		if !settled {
			p.unsettled[objectKeyOf(object)] = true
		}
		if errors.Is(err, errNotSeen) {
			p.requeueIn(cacheDelay) // its own event comes before that
		}
		claim, isClaim := object.(*corev1.PersistentVolumeClaim)
		if isClaim && (apierrors.IsInvalid(err) || apierrors.IsForbidden(err)) {
			err = r.refusedClaim(ctx, claim, err)
		}
		if problem, ok := refusalOfObject(object, err); ok {
			p.refuse(problem, r.recheck(object))
			// A claim of ours that cannot be changed is no reason to leave what uses it alone, nor is one that is fought for.
			refused[objectKeyOf(object)] = (!isClaim || problem.reason == assetv1.ReasonNameConflict) && problem.reason != assetv1.ReasonFieldConflict
		} else if err != nil && !errors.Is(err, errNotSeen) {
			failed = append(failed, err)
		}
	}
	r.applier.retain(p.ap, wanted)
	return errors.Join(failed...)
}

// waitsForItsVolume says whether a managed part is to start anew on a volume that is being deleted: its pod would keep that from
// going, and lose it with its next restart.
func (r *Reconciler) waitsForItsVolume(ctx context.Context, p *pass, object client.Object) (bool, error) {
	if _, ok := object.(*appsv1.StatefulSet); !ok || !startsFrom(object, p.leaving) {
		return false, nil
	}
	set, err := child(ctx, r, p, object.GetName(), &appsv1.StatefulSet{})
	return set == nil, err
}

// recheck is how soon an object that could not be made, or is fought for, is looked at again.
func (r *Reconciler) recheck(object client.Object) time.Duration {
	if hold := r.applier.holdsBack(objectKeyOf(object)); hold > 0 {
		return min(hold, r.interval())
	}
	return r.interval()
}

// refusedClaim makes way for a volume claim that differs from the one that is there in
// what cannot be changed: one that was never bound holds nothing. Else it says what to do.
func (r *Reconciler) refusedClaim(ctx context.Context, wanted *corev1.PersistentVolumeClaim, refusal error) error {
	live := &corev1.PersistentVolumeClaim{}
	if err := r.Get(ctx, client.ObjectKeyFromObject(wanted), live); err != nil {
		return errors.Join(refusal, client.IgnoreNotFound(err))
	}
	if namespaceEnds(refusal) {
		return refusal
	}
	if isUnbound(live) && apierrors.IsInvalid(refusal) {
		if live.DeletionTimestamp != nil {
			return nil
		}
		// Of just this version: it may be bound by now.
		unchanged := client.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion}
		return client.IgnoreNotFound(r.Delete(ctx, live, unchanged))
	}
	problem, _ := asFinding(refusal, describe(wanted))
	why, _, _ := strings.Cut(strings.TrimPrefix(problem.remedy, applyRemedy), " @@") // a diff follows
	size := live.Spec.Resources.Requests[corev1.ResourceStorage]
	problem.remedy = fmt.Sprintf("set storage in %s to the volume's present size, %s, or to more where its class can expand volumes, and leave the class as it was: %s",
		managedField(manifests.Component(wanted.Labels[manifests.LabelComponent])), &size, why)
	return problem
}

// isUnbound says whether no volume was ever found for a claim.
func isUnbound(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Status.Phase == corev1.ClaimPending && claim.Spec.VolumeName == ""
}

// leftData finds the volume claims and generated Secrets of parts that were managed once.
func (r *Reconciler) leftData(ctx context.Context, ap *assetv1.AssetPlatform) ([]client.Object, error) {
	var left []client.Object
	lists := []client.ObjectList{&corev1.PersistentVolumeClaimList{}, &corev1.SecretList{}}
	err := r.applier.children(ctx, ap, lists, func(o client.Object) {
		if belongsTo(ap, o) && isData(o) && manifests.IsLeft(ap, o.GetName()) && o.GetDeletionTimestamp() == nil {
			left = append(left, o)
		}
	})
	return left, err
}

// observeClaims finds out which volumes managed parts have, and which one the database has.
func (r *Reconciler) observeClaims(ctx context.Context, p *pass) error {
	p.facts.Claims, p.leaving = map[string]*corev1.PersistentVolumeClaim{}, map[objectKey]bool{}
	for _, part := range manifests.Parts(p.ap) {
		if part.Spec == nil {
			continue
		}
		claim, key := &corev1.PersistentVolumeClaim{}, client.ObjectKey{Namespace: p.ap.Namespace, Name: part.Name}
		err := r.Get(ctx, key, claim)
		if apierrors.IsNotFound(err) { // without our label, not in the cache yet, or not there
			err = r.APIReader.Get(ctx, key, claim)
		}
		if apierrors.IsNotFound(err) || err == nil && !belongsTo(p.ap, claim) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", describe(claim), err)
		}
		if claim.DeletionTimestamp != nil {
			p.leaving[objectKeyOf(claim)] = true
		}
		if !isUnbound(claim) {
			p.facts.Claims[part.Name] = claim
		}
		if part.Component == manifests.ComponentPostgres {
			p.facts.DatabaseVolume = string(claim.UID)
		}
		pinImage(p.ap, part.Component, claim.Annotations[assetv1.AnnotationImage])
	}
	p.facts.Images = manifests.TargetImages(p.ap, r.Images)
	return nil
}

// pinImage takes the image that can read a retained volume from its claim, where the status, which is that of
// a platform made again, names none.
func pinImage(ap *assetv1.AssetPlatform, c manifests.Component, image string) {
	if image == "" || manifests.PinnedImage(ap, c) != "" {
		return
	}
	for i := range ap.Status.Components {
		if ap.Status.Components[i].Name == string(c) {
			ap.Status.Components[i].Image = image
			return
		}
	}
	ap.Status.Components = append(ap.Status.Components, assetv1.ComponentStatus{Name: string(c), Image: image})
}

// observeChildren finds out what Build has to know of the objects that are there.
func (r *Reconciler) observeChildren(ctx context.Context, p *pass) (err error) {
	if p.facts.Left, err = r.leftData(ctx, p.ap); err != nil {
		return err
	}
	if p.facts.ServerReplicas, err = r.serverReplicas(ctx, p); err != nil {
		return err
	}
	if p.facts.InUse, err = r.upstreamsInUse(ctx, p); err != nil {
		return err
	}
	return r.observeClaims(ctx, p)
}

// observeDatabase finds out whether a migration can reach the database yet.
func (r *Reconciler) observeDatabase(ctx context.Context, p *pass) error {
	if manifests.ManagedDatabase(p.ap) == nil {
		p.databaseStarted = true
		return nil
	}
	set := &appsv1.StatefulSet{}
	err := r.Get(ctx, client.ObjectKey{Namespace: p.ap.Namespace, Name: manifests.PostgresName(p.ap)}, set)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read the managed database: %w", err)
	}
	p.databaseStarted = err == nil && set.Status.ReadyReplicas > 0
	return nil
}

// updateStatus writes the status if it says anything new.
func (r *Reconciler) updateStatus(ctx context.Context, p *pass) error {
	observed, err := r.observe(because(ctx, "diagnosis"), p)
	if err != nil {
		return err
	}
	setStatus(p.ap, observed)
	if equality.Semantic.DeepEqual(p.stored.Status, p.ap.Status) {
		return nil
	}
	// The lock keeps a pass that worked on an old object from undoing a newer status.
	patch := client.MergeFromWithOptions(p.stored, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(because(ctx, "status"), p.ap, patch, client.FieldOwner(fieldManager)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("write status: %w", err))
	}
	r.written.Store(client.ObjectKeyFromObject(p.ap), writtenStatus{p.ap.ResourceVersion, r.now()})
	r.announce(p.stored, p.ap)
	for _, lost := range observed.backup.lost {
		r.Events.Eventf(p.ap, nil, corev1.EventTypeWarning, assetv1.ReasonHistoryLost, assetv1.ConditionBackupHealthy, "%s", eventNote(lost))
	}
	return nil
}

func (r *Reconciler) interval() time.Duration {
	if r.Interval != 0 {
		return r.Interval
	}
	return 30 * time.Second
}

func (r *Reconciler) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}
