package controllers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// maxProblems is how many problems the status lists.
const maxProblems = 5

// verdict is one condition before it is written: true, false with a finding that
// says why, or not known yet.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
	finding *finding // set while something is wrong
}

func yes(reason, message string) verdict {
	return verdict{status: metav1.ConditionTrue, reason: reason, message: message}
}

func no(f *finding) verdict {
	return verdict{status: metav1.ConditionFalse, reason: f.reason, message: f.message(), finding: f}
}

// waiting is a false condition that is nobody's fault.
func waiting(reason, message string) verdict {
	return verdict{status: metav1.ConditionFalse, reason: reason, message: message}
}

func unknown(message string) verdict {
	return verdict{status: metav1.ConditionUnknown, reason: assetv1.ReasonNotReported, message: message}
}

// setStatus writes everything that o says into the status of ap. It is the only
// place that sets conditions, and has no clock: only a condition that changes gets
// a new transition time.
func setStatus(ap *assetv1.AssetPlatform, o *observed) {
	s := &ap.Status
	s.ObservedGeneration = ap.Generation
	s.Selector = labels.FormatLabels(manifests.Selector(ap, manifests.ComponentServer))
	s.Inventory = o.inventory
	s.Replicas = 0
	if o.server != nil {
		s.Replicas = o.server.Status.Replicas
	}
	if o.service != nil || len(o.routes) > 0 {
		s.URL = platformURL(ap, o)
	}
	s.Components = components(ap, o)

	s.Certificate = nil
	if o.certificate != nil {
		s.Certificate = o.certificate.life
	}
	var all, counting []verdict
	for _, part := range parts(ap, o) {
		if part.condition != "" {
			setCondition(ap, part.condition, part.verdict)
		}
		if part.verdict == nil {
			continue
		}
		all = append(all, *part.verdict)
		if part.counts {
			counting = append(counting, *part.verdict)
		}
	}
	s.Problems = problems(ap, o, all)
	ready := readyVerdict(ap, o, counting)
	if ready.status == metav1.ConditionTrue && !ap.Spec.Hibernate {
		s.Image = o.facts.TargetImage
		s.Version = version(s.Image)
	}
	for condition, v := range map[string]verdict{
		assetv1.ConditionReady: ready, assetv1.ConditionStalled: stalledVerdict(ready), assetv1.ConditionReconciling: reconcilingVerdict(ready),
		assetv1.ConditionUpdateAvailable: updateVerdict(ap, o),
	} {
		setCondition(ap, condition, &v)
	}
	slices.SortFunc(s.Conditions, func(a, b metav1.Condition) int { return conditionOrder(a.Type) - conditionOrder(b.Type) })
}

// part is something that Ready is made of, with its condition.
type part struct {
	condition string   // empty: none tells of it alone
	verdict   *verdict // nil: the spec does not ask for it, and there is no such condition
	counts    bool     // for Ready
}

// parts come in the order in which Ready speaks of them.
func parts(ap *assetv1.AssetPlatform, o *observed) []part {
	always := func(condition string, v verdict) part { return part{condition, &v, true} }
	return []part{
		always(assetv1.ConditionSecretsResolved, secretsResolved(o)),
		{"", restoringVerdict(o), true},
		always(assetv1.ConditionMigrated, migratedVerdict(ap, o)),
		always(assetv1.ConditionDatabaseReady, databaseVerdict(ap, o)),
		always(assetv1.ConditionStorageReady, dependencyVerdict(ap, o, manifests.ComponentS3, assetv1.ReasonStorageDown, storageText(ap), func(c config.Checks) config.Check { return c.Storage })),
		always(assetv1.ConditionCacheReady, dependencyVerdict(ap, o, manifests.ComponentRedis, assetv1.ReasonCacheDown, cacheText(ap), func(c config.Checks) config.Check { return c.Cache })),
		always(assetv1.ConditionAvailable, availableVerdict(ap, o)),
		always("", addressed(o)),
		{assetv1.ConditionCertificateReady, certificateVerdict(o.certificate), true},
		{assetv1.ConditionRoutesReady, routesVerdict(ap, o), true},
		{assetv1.ConditionMonitoringReady, monitoringVerdict(ap, o), false},
		{assetv1.ConditionAutoscalingReady, o.autoscaling, false},
		{assetv1.ConditionBackupHealthy, backupVerdict(ap, o), false},
		{assetv1.ConditionWithinRPO, rpoVerdict(ap, o), false},
		{assetv1.ConditionRestoreProven, drillVerdict(ap, o), false},
	}
}

// setCondition writes a condition, or removes it where there is no verdict.
func setCondition(ap *assetv1.AssetPlatform, condition string, v *verdict) {
	if v == nil {
		meta.RemoveStatusCondition(&ap.Status.Conditions, condition)
		return
	}
	message := v.message
	if v.finding == nil || !v.finding.former {
		message = inSpecWords(ap, message)
	}
	meta.SetStatusCondition(&ap.Status.Conditions, metav1.Condition{
		Type: condition, Status: v.status, Reason: v.reason, Message: message, ObservedGeneration: ap.Generation,
	})
}

// conditionOrder puts what people look for first.
func conditionOrder(conditionType string) int {
	return slices.Index([]string{
		assetv1.ConditionReady, assetv1.ConditionReconciling, assetv1.ConditionStalled, assetv1.ConditionSecretsResolved,
		assetv1.ConditionDatabaseReady, assetv1.ConditionCacheReady, assetv1.ConditionStorageReady,
		assetv1.ConditionMigrated, assetv1.ConditionAvailable, assetv1.ConditionCertificateReady, assetv1.ConditionRoutesReady, assetv1.ConditionMonitoringReady, assetv1.ConditionAutoscalingReady,
		assetv1.ConditionBackupHealthy, assetv1.ConditionWithinRPO, assetv1.ConditionRestoreProven, assetv1.ConditionUpdateAvailable,
	}, conditionType)
}

func secretsResolved(o *observed) verdict {
	if len(o.secretsProblems) > 0 {
		v := no(o.secretsProblems[0])
		for _, more := range o.secretsProblems[1:min(maxProblems, len(o.secretsProblems))] {
			v.message += ". " + more.message()
		}
		return v
	}
	message := "Every Secret and key is there"
	switch rotation := o.rotation; {
	case rotation == nil:
	case rotation.accepting:
		message += "; the signing key changes: every pod accepts the new one before any signs with it"
	case rotation.until.IsZero():
		message += "; tokens of the signing keys before are accepted until a quarter of an hour after this rollout"
	default:
		message += "; tokens of the signing keys before are accepted until " + rotation.until.UTC().Format(time.RFC3339)
	}
	if key := o.facts.Credentials.JWTSecret; key != "" && len(key) < config.SafeKeyLength {
		message += fmt.Sprintf("; the signing key has under %d bytes, so that others can find it out by trying and sign tokens: set a longer one", config.SafeKeyLength)
	}
	return yes(assetv1.ReasonResolved, message)
}

// migratedVerdict speaks of the image that the spec asks for.
func migratedVerdict(ap *assetv1.AssetPlatform, o *observed) verdict {
	m := ap.Status.Migration
	switch {
	case o.facts.Credentials.DatabaseURL == "":
		return unknown("Waiting for the Secrets that the spec names")
	case m == nil:
		return waiting(assetv1.ReasonMigrationWaiting, "The migration has not begun")
	case m.Phase == assetv1.MigrationSucceeded:
		return yes(assetv1.ReasonMigrated, fmt.Sprintf("The database's schema is at version %d for %s", ap.Status.Schema.Current, m.Image))
	case m.Phase == assetv1.MigrationFailed:
		return no(failedMigration(ap, m))
	case ap.Spec.Hibernate && m.Phase == assetv1.MigrationPending:
		return waiting(assetv1.ReasonMigrationWaiting, "The migration waits until the platform wakes")
	case o.facts.Restoring && m.Phase == assetv1.MigrationPending:
		return waiting(assetv1.ReasonMigrationWaiting, "The migration waits for the restore")
	case !o.databaseUp:
		return waiting(assetv1.ReasonWaitingForManaged, "The migration waits for the managed database to start")
	case len(o.migration) > 0:
		return no(o.migration[0])
	case o.migrationRefusal != "":
		return no(podsRefused("Job "+m.Job, "the migration", o.migrationRefusal))
	}
	return waiting(assetv1.ReasonMigrationRunning, fmt.Sprintf("Job %s migrates the database for %s", m.Job, m.Image))
}

func failedMigration(ap *assetv1.AssetPlatform, m *assetv1.MigrationStatus) *finding {
	message, remedy := migrationSaid(ap, m)
	f := &finding{
		reason: assetv1.ReasonMigrationFailed, where: "Job " + m.Job,
		problem: fmt.Sprintf("The migration for %s failed (%s)", m.Image, message), remedy: remedy,
	}
	if f.remedy == "" {
		f.remedy = "read the log of its pods"
	}
	f.stalled = !mendsItself(config.Code(m.Code))
	if f.stalled {
		f.remedy += "; then set another spec.image, or a new value of the annotation " + assetv1.AnnotationRetry
	} else {
		f.remedy += "; it is tried again by itself, or at once with a new value of the annotation " + assetv1.AnnotationRetry
	}
	return f
}

// migrationSaid is what a failed migration said. It takes the direct URL for its
// DATABASE_URL where there is one.
func migrationSaid(ap *assetv1.AssetPlatform, m *assetv1.MigrationStatus) (message, remedy string) {
	message, remedy = strings.TrimSuffix(m.Message, "."), strings.TrimSuffix(m.Remedy, ".")
	if sourceOf(ap, config.DatabaseDirectURL.Name) != nil {
		remedy = strings.ReplaceAll(remedy, config.DatabaseURL.Name, config.DatabaseDirectURL.Name)
	}
	return message, remedy
}

// addressed says whether the Service has the address that its type promises; no condition tells of it alone.
func addressed(o *observed) verdict {
	switch s := o.service; {
	case s == nil, !o.serviceSettled:
		return waiting(assetv1.ReasonProgressing, "The Service is being made, or changed")
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer && len(s.Status.LoadBalancer.Ingress) == 0:
		return waiting(assetv1.ReasonProgressing, fmt.Sprintf("Service %s has no address yet: if that lasts, see why with kubectl describe service, or set spec.networking.service.type to what the cluster can give", s.Name))
	}
	return yes(assetv1.ReasonReady, "The Service has its address")
}

// problems are the findings behind the verdicts, the worst first, each once.
func problems(ap *assetv1.AssetPlatform, o *observed, verdicts []verdict) []assetv1.Problem {
	findings := slices.Concat(o.applyProblems, o.secretsProblems)
	for _, v := range verdicts {
		if v.finding != nil {
			findings = append(findings, v.finding)
		}
	}
	findings = append(findings, o.podFindings...)
	var list []assetv1.Problem
	for _, f := range findings {
		p := assetv1.Problem{Problem: f.problem, Where: f.where, Remedy: f.remedy}
		if !f.former {
			p.Problem, p.Remedy = inSpecWords(ap, f.problem), inSpecWords(ap, f.remedy)
		}
		if !slices.Contains(list, p) && len(list) < maxProblems {
			list = append(list, p)
		}
	}
	return list
}

// components counts the pods of each part, and keeps the image that a managed one was last ready with.
func components(ap *assetv1.AssetPlatform, o *observed) []assetv1.ComponentStatus {
	var list []assetv1.ComponentStatus
	for _, m := range o.managed {
		c := assetv1.ComponentStatus{Name: string(m.component), Desired: 1, Image: manifests.PinnedImage(ap, m.component)}
		if m.set != nil {
			c.Ready, c.Desired = m.set.Status.ReadyReplicas, ptr.Deref(m.set.Spec.Replicas, 1)
		}
		if image := o.facts.Images.Of(m.component); m.ready() && m.runs(image) {
			c.Image = image
		}
		list = append(list, c)
	}
	// A part that is managed no longer has left its volume: managed again, it must be able to read that.
	for _, last := range ap.Status.Components {
		if last.Image != "" && !slices.ContainsFunc(list, func(c assetv1.ComponentStatus) bool { return c.Name == last.Name }) {
			list = append(list, assetv1.ComponentStatus{Name: last.Name, Image: last.Image})
		}
	}
	c := assetv1.ComponentStatus{Name: string(manifests.ComponentServer), Desired: ptr.Deref(ap.Spec.Replicas, defaultReplicas)}
	if o.server != nil {
		c.Ready, c.Desired = o.server.Status.ReadyReplicas, ptr.Deref(o.server.Spec.Replicas, 1)
	}
	list = append(list, c)
	slices.SortFunc(list, func(a, b assetv1.ComponentStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// version is the tag of an image, or the beginning of its digest.
func version(image string) string {
	if _, digest, ok := strings.Cut(image, "@sha256:"); ok {
		return digest[:min(12, len(digest))]
	}
	name := image[strings.LastIndex(image, "/")+1:]
	if _, tag, ok := strings.Cut(name, ":"); ok {
		return tag
	}
	return "latest"
}
