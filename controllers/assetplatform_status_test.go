package controllers

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// scene is a platform with its own database, cache and bucket, and what is seen of it: all is well.
type scene struct {
	ap *assetv1.AssetPlatform
	o  *observed
}

func newScene() *scene {
	ap := &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: "games", Generation: 7}}
	externalSpec(&ap.Spec)
	ap.Spec.Image, ap.Spec.Replicas = "example.com/assets:2", new(int32(3))
	ap.Status.Migration = &assetv1.MigrationStatus{Image: ap.Spec.Image, Job: "studio-migrate-1", Attempt: 1, Phase: assetv1.MigrationSucceeded}
	answer := config.Readiness{Status: config.StatusOK, Checks: config.Checks{
		Database: config.Check{Status: config.CheckOK}, Schema: config.Check{Status: config.CheckOK}, Storage: config.Check{Status: config.CheckOK}, Cache: config.Check{Status: config.CheckOK},
	}}
	return &scene{ap: ap, o: &observed{
		facts: manifests.Facts{
			TargetImage: ap.Spec.Image, ServingImage: ap.Spec.Image,
			Credentials: manifests.Credentials{DatabaseURL: "postgres://backend:sesame@postgres.example.com/game_assets"},
		},
		operatorImages: manifests.Images{Server: "example.com/assets:2", Postgres: "example.com/postgres:15"},
		server: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "studio-server", Namespace: "games", Generation: 4}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(3))},
			Status: appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3, ReadyReplicas: 3},
		},
		serverSettled: true, databaseUp: true, readiness: []config.Readiness{answer, answer, answer},
		service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: "games"}}, serviceSettled: true,
	}}
}

func (s *scene) managed(component manifests.Component, ready int32) {
	s.ap.Spec.Database = nil
	s.o.managed = []managedState{{component: component, settled: true, set: &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "studio-postgres"}, Status: appsv1.StatefulSetStatus{ReadyReplicas: ready, UpdatedReplicas: 1},
	}}}
}

func (s *scene) failed(code config.Code) {
	m := s.ap.Status.Migration
	m.Phase, m.Code, m.Message, m.Remedy = assetv1.MigrationFailed, string(code), "it went wrong.", "mend it."
}

// A rollout says how far it has come, also where the numbers alone would say that it is over.
func TestRolloutProgress(t *testing.T) {
	t.Parallel()
	for want, status := range map[string]appsv1.DeploymentStatus{
		"The server's pods are about to be replaced, or their number to change": {ObservedGeneration: 3, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3},
		"1 of 3 replicas are updated, 3 serve":                                  {ObservedGeneration: 4, Replicas: 4, UpdatedReplicas: 1, AvailableReplicas: 3},
		"3 replicas updated; 1 pod from before still to end":                    {ObservedGeneration: 4, Replicas: 4, UpdatedReplicas: 3, AvailableReplicas: 4},
		"2 pods of 5 to end": {ObservedGeneration: 4, Replicas: 5, UpdatedReplicas: 5, AvailableReplicas: 5},
	} {
		s := newScene()
		s.o.server.Status = status
		if got := availableVerdict(s.ap, s.o); got.status != metav1.ConditionFalse || got.message != want {
			t.Errorf("%+v: %s %q, want %q", status, got.status, got.message, want)
		}
	}
}

// A signing key that can be found by trying is in use, and said to be weak.
func TestShortSigningKey(t *testing.T) {
	t.Parallel()
	s := newScene()
	for key, weak := range map[string]bool{strings.Repeat("k", 31): true, strings.Repeat("k", 32): false} {
		s.o.facts.Credentials.JWTSecret = key
		if v := secretsResolved(s.o); v.status != metav1.ConditionTrue || strings.Contains(v.message, "set a longer one") != weak || strings.Contains(v.message, key) {
			t.Errorf("%d bytes: %s %q", len(key), v.status, v.message)
		}
	}
}

// What a managed part that has just started is not found by yet is under way; later it is down.
func TestManagedPartThatHasJustStarted(t *testing.T) {
	t.Parallel()
	for fresh, want := range map[bool]string{true: assetv1.ReasonWaitingForManaged, false: assetv1.ReasonDatabaseDown} {
		s := newScene()
		s.managed(manifests.ComponentPostgres, 1)
		s.o.managed[0].fresh = fresh
		s.o.readiness[0].Checks.Database = config.Check{Status: config.CheckDown, Reason: "refuses connections"}
		if v := databaseVerdict(s.ap, s.o); v.status != metav1.ConditionFalse || v.reason != want {
			t.Errorf("fresh %t: %s %s %s", fresh, v.status, v.reason, v.message)
		}
	}
}

// What pods from before a change of the spec say is not about the Secrets and fields that the spec names now.
func TestWordsOfFormerPods(t *testing.T) {
	t.Parallel()
	for held, want := range map[*assetv1.MigratedStatus]struct{ says, not string }{
		nil:              {"key database-url of Secret backend-secrets", "DATABASE_URL"},
		{ConfigMap: "c"}: {"DATABASE_URL", "backend-secrets"},
	} {
		s := newScene()
		s.o.facts.Held = held
		for i := range s.o.readiness {
			s.o.readiness[i].Checks.Database = config.Check{Status: config.CheckDown, Reason: "db.example.com refuses connections: correct DATABASE_URL"}
		}
		setStatus(s.ap, s.o)
		texts := []string{s.ap.Status.Problems[0].Problem + s.ap.Status.Problems[0].Remedy}
		for _, name := range []string{assetv1.ConditionDatabaseReady, assetv1.ConditionReady, assetv1.ConditionReconciling} {
			texts = append(texts, meta.FindStatusCondition(s.ap.Status.Conditions, name).Message)
		}
		for _, text := range texts {
			if !strings.Contains(text, want.says) || strings.Contains(text, want.not) {
				t.Errorf("held %v: %s", held, text)
			}
		}
	}

	// That the old database answers them says nothing about the one that the spec names; the bucket is still the spec's.
	s := newScene()
	s.o.facts.Held = &assetv1.MigratedStatus{ConfigMap: manifests.ServerConfigMap(s.ap).Name}
	s.o.readiness[0].Checks.Storage = config.Check{Status: config.CheckDown, Reason: "bucket assets does not exist: create it, or correct S3_BUCKET_NAME"}
	setStatus(s.ap, s.o)
	if c := meta.FindStatusCondition(s.ap.Status.Conditions, assetv1.ConditionDatabaseReady); c.Status != metav1.ConditionUnknown {
		t.Errorf("DatabaseReady is %s: %s", c.Status, c.Message)
	}
	if c := meta.FindStatusCondition(s.ap.Status.Conditions, assetv1.ConditionStorageReady); !strings.Contains(c.Message, "spec.storage.bucket") || !strings.Contains(c.Message, "check spec.storage") {
		t.Errorf("StorageReady says %s", c.Message)
	}
}

// Each situation gives one condition its reason, and Ready, Reconciling and Stalled follow from it.
func TestSetStatus(t *testing.T) {
	t.Parallel()
	bad := &finding{reason: assetv1.ReasonCrashLoop, where: "Pod studio-server-…", problem: "Pod studio-server-… ended with exit code 1", remedy: "read its log"}
	down := func(of func(*config.Checks) *config.Check, reason string) func(*scene) {
		return func(s *scene) { *of(&s.o.readiness[1].Checks) = config.Check{Status: config.CheckDown, Reason: reason} }
	}
	for name, test := range map[string]struct {
		change    func(*scene)
		condition string
		status    metav1.ConditionStatus
		reason    string
		ready     metav1.ConditionStatus
		stalled   bool
	}{
		"all is well": {func(*scene) {}, assetv1.ConditionAvailable, "True", assetv1.ReasonRolledOut, "True", false},
		"a Secret is missing": {func(s *scene) {
			s.o.secretsProblems = []*finding{{reason: assetv1.ReasonSecretNotFound, problem: "Secret x", where: "Secret x", remedy: "create it"}}
		}, assetv1.ConditionSecretsResolved, "False", assetv1.ReasonSecretNotFound, "False", false},
		"a name is taken": {func(s *scene) {
			s.o.applyProblems = []*finding{{reason: assetv1.ReasonNameConflict, problem: "x", where: "x", remedy: "y"}}
		}, assetv1.ConditionReady, "False", assetv1.ReasonNameConflict, "False", false},
		"not migrated yet": {func(s *scene) { s.ap.Status.Migration = nil }, assetv1.ConditionMigrated, "False", assetv1.ReasonMigrationWaiting, "False", false},
		"migrating":        {func(s *scene) { s.ap.Status.Migration.Phase = assetv1.MigrationRunning }, assetv1.ConditionMigrated, "False", assetv1.ReasonMigrationRunning, "False", false},
		"migration hangs": {func(s *scene) {
			s.ap.Status.Migration.Phase = assetv1.MigrationRunning
			s.o.migration = []*finding{bad}
		}, assetv1.ConditionMigrated, "False", assetv1.ReasonCrashLoop, "False", false},
		"waits for database": {func(s *scene) {
			s.managed(manifests.ComponentPostgres, 0)
			s.o.databaseUp = false
			s.ap.Status.Migration.Phase = assetv1.MigrationPending
		}, assetv1.ConditionMigrated, "False", assetv1.ReasonWaitingForManaged, "False", false},
		"migration failed":     {func(s *scene) { s.failed(config.CodeMigrationFailed) }, assetv1.ConditionMigrated, "False", assetv1.ReasonMigrationFailed, "False", true},
		"schema too new":       {func(s *scene) { s.failed(config.CodeSchemaTooNew) }, assetv1.ConditionMigrated, "False", assetv1.ReasonMigrationFailed, "False", true},
		"right missing":        {func(s *scene) { s.failed(config.CodePermissionDenied) }, assetv1.ConditionMigrated, "False", assetv1.ReasonMigrationFailed, "False", false},
		"database unreachable": {func(s *scene) { s.failed(config.CodeDatabaseUnreachable) }, assetv1.ConditionDatabaseReady, "False", assetv1.ReasonDatabaseDown, "False", false},
		"database down":        {down(func(c *config.Checks) *config.Check { return &c.Database }, "connection refused."), assetv1.ConditionDatabaseReady, "False", assetv1.ReasonDatabaseDown, "False", false},
		"cache down":           {down(func(c *config.Checks) *config.Check { return &c.Cache }, "timeout"), assetv1.ConditionCacheReady, "False", assetv1.ReasonCacheDown, "False", false},
		"bucket down":          {down(func(c *config.Checks) *config.Check { return &c.Storage }, "no such bucket"), assetv1.ConditionStorageReady, "False", assetv1.ReasonStorageDown, "False", false},
		"bucket taken":         {down(func(c *config.Checks) *config.Check { return &c.Storage }, "bucket x at y "+config.ForeignBucket+" (object platform-id): z"), assetv1.ConditionStorageReady, "False", assetv1.ReasonBucketTaken, "False", false},
		"nobody answers":       {func(s *scene) { s.o.readiness = nil }, assetv1.ConditionDatabaseReady, "Unknown", assetv1.ReasonNotReported, "False", false},
		"managed part starts":  {func(s *scene) { s.managed(manifests.ComponentPostgres, 0) }, assetv1.ConditionDatabaseReady, "False", assetv1.ReasonWaitingForManaged, "False", false},
		"managed part crashes": {func(s *scene) {
			s.managed(manifests.ComponentPostgres, 0)
			f := *bad
			f.where = "Pod studio-postgres-0"
			s.o.podFindings = []*finding{&f}
		}, assetv1.ConditionDatabaseReady, "False", assetv1.ReasonCrashLoop, "False", false},
		"no storage class": {func(s *scene) {
			s.managed(manifests.ComponentPostgres, 0)
			s.o.managed[0].claim = &corev1.PersistentVolumeClaim{Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
		}, assetv1.ConditionDatabaseReady, "False", assetv1.ReasonVolumeNotBound, "False", false},
		"no such storage class": {func(s *scene) {
			s.managed(manifests.ComponentPostgres, 0)
			s.o.managed[0].claim = &corev1.PersistentVolumeClaim{Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
			s.o.managed[0].claimRefusal = `storageclass.storage.k8s.io "fats" not found`
		}, assetv1.ConditionDatabaseReady, "False", assetv1.ReasonVolumeNotBound, "False", false},
		"a part's pod is refused": {func(s *scene) {
			s.managed(manifests.ComponentPostgres, 0)
			s.o.managed[0].podRefusal = `create Pod studio-postgres-0 in StatefulSet studio-postgres failed error: pods "studio-postgres-0" is forbidden: exceeded quota`
		}, assetv1.ConditionDatabaseReady, "False", assetv1.ReasonPodsRefused, "False", false},
		"the migration's pod is refused": {func(s *scene) {
			s.ap.Status.Migration.Phase = assetv1.MigrationRunning
			s.o.migrationRefusal = `Error creating: pods "studio-migrate-0123456789-x2k9q" is forbidden: exceeded quota`
		}, assetv1.ConditionMigrated, "False", assetv1.ReasonPodsRefused, "False", false},
		"no server yet":        {func(s *scene) { s.o.server = nil }, assetv1.ConditionAvailable, "False", assetv1.ReasonNotCreated, "False", false},
		"just applied":         {func(s *scene) { s.o.serverSettled = false }, assetv1.ConditionAvailable, "False", assetv1.ReasonRollingOut, "False", false},
		"not observed":         {func(s *scene) { s.o.server.Generation++ }, assetv1.ConditionAvailable, "False", assetv1.ReasonRollingOut, "False", false},
		"an old pod is left":   {func(s *scene) { s.o.server.Status.Replicas++ }, assetv1.ConditionAvailable, "False", assetv1.ReasonRollingOut, "False", false},
		"a pod is not updated": {func(s *scene) { s.o.server.Status.UpdatedReplicas-- }, assetv1.ConditionAvailable, "False", assetv1.ReasonRollingOut, "False", false},
		"a pod is not there":   {func(s *scene) { s.o.server.Status.AvailableReplicas-- }, assetv1.ConditionAvailable, "False", assetv1.ReasonRollingOut, "False", false},
		"a pod crashes":        {func(s *scene) { s.o.server.Status.AvailableReplicas--; s.o.podFindings = []*finding{bad} }, assetv1.ConditionAvailable, "False", assetv1.ReasonCrashLoop, "False", false},
		"schema does not fit": {func(s *scene) {
			s.o.server.Status.AvailableReplicas--
			s.o.readiness[0].Status = config.StatusUnavailable
			s.o.readiness[0].Checks.Schema.Reason = "the schema is 9"
		}, assetv1.ConditionAvailable, "False", assetv1.ReasonNotReady, "False", false},
		"pods are refused": {func(s *scene) {
			s.o.server.Status.AvailableReplicas--
			s.condition(appsv1.DeploymentReplicaFailure, "True", `pods "studio-server-5d9c7b8f46-x2k9q" is forbidden: exceeded quota`)
		}, assetv1.ConditionAvailable, "False", assetv1.ReasonPodsRefused, "False", false},
		"no progress": {func(s *scene) {
			s.o.server.Status.AvailableReplicas--
			s.condition(appsv1.DeploymentProgressing, "False", "x")
		}, assetv1.ConditionAvailable, "False", assetv1.ReasonUpdateNotCompleted, "False", false},
		"scaling to zero": {func(s *scene) {
			s.ap.Spec.Replicas, s.o.server.Spec.Replicas, s.o.readiness = new(int32(0)), new(int32(0)), nil
		}, assetv1.ConditionAvailable, "False", assetv1.ReasonRollingOut, "False", false},
		"scaled to zero": {func(s *scene) {
			s.ap.Spec.Replicas, s.o.server.Spec.Replicas, s.o.readiness = new(int32(0)), new(int32(0)), nil
			s.o.server.Status = appsv1.DeploymentStatus{ObservedGeneration: 4}
		}, assetv1.ConditionAvailable, "True", assetv1.ReasonScaledToZero, "True", false},
		"a newer image": {func(s *scene) {
			s.ap.Spec.Image, s.ap.Status.Image, s.o.operatorImages.Server = "", "example.com/assets:2", "example.com/assets:3"
		}, assetv1.ConditionUpdateAvailable, "True", assetv1.ReasonNewerImage, "True", false},
		"a newer image of a part": {func(s *scene) {
			s.managed(manifests.ComponentPostgres, 1)
			s.o.operatorImages.Postgres = "example.com/postgres:16"
			s.ap.Status.Components = []assetv1.ComponentStatus{{Name: "postgres", Image: "example.com/postgres:15"}}
		}, assetv1.ConditionUpdateAvailable, "True", assetv1.ReasonNewerImage, "True", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene()
			test.change(s)
			setStatus(s.ap, s.o)
			conditions := s.ap.Status.Conditions
			c := meta.FindStatusCondition(conditions, test.condition)
			if c == nil || c.Status != test.status || c.Reason != test.reason {
				t.Fatalf("want %s=%s %s; status is %s", test.condition, test.status, test.reason, describeStatus(s.ap))
			}
			ready := meta.FindStatusCondition(conditions, assetv1.ConditionReady)
			stalled, reconciling := meta.IsStatusConditionTrue(conditions, assetv1.ConditionStalled), meta.IsStatusConditionTrue(conditions, assetv1.ConditionReconciling)
			if ready.Status != test.ready || stalled != test.stalled || reconciling != (ready.Status != metav1.ConditionTrue && !stalled) {
				t.Errorf("Ready, Reconciling or Stalled is wrong: %s", describeStatus(s.ap))
			}
			if err := checkConditions(s.ap); err != nil {
				t.Error(err)
			}
			if err := checkKstatus(s.ap); err != nil {
				t.Error(err)
			}
			if n := len(s.ap.Status.Problems); (n > 0) != (ready.Reason != assetv1.ReasonProgressing && ready.Status != metav1.ConditionTrue) {
				t.Errorf("%d problems with Ready %s", n, ready.Reason)
			}
			// What is wrong ends in what to do about it.
			if c.Status == metav1.ConditionFalse && !strings.Contains(fmt.Sprint(underWay, assetv1.ReasonNotCreated, assetv1.ReasonRollingOut), c.Reason) && !strings.Contains(c.Message, ": ") {
				t.Errorf("message %q names no remedy", c.Message)
			}
			if regexp.MustCompile(`\.[:;)]|\.$`).MatchString(strings.ReplaceAll(c.Message, "…", "")) {
				t.Errorf("message %q is badly punctuated", c.Message)
			}
			again := s.ap.DeepCopy()
			setStatus(again, s.o)
			if !equality.Semantic.DeepEqual(again.Status, s.ap.Status) && test.condition != assetv1.ConditionUpdateAvailable {
				t.Errorf("the same facts give another status:\n%v\n%v", s.ap.Status, again.Status)
			}
		})
	}
}

// A part is pinned to the image that it was last ready with, whatever comes after.
func TestPinOfAPart(t *testing.T) {
	t.Parallel()
	const first, second = "example.com/postgres:1", "example.com/postgres:2"
	s := newScene()
	pass := func(asked, runs string, ready int32, want string, desired int32) {
		t.Helper()
		s.managed(manifests.ComponentPostgres, ready)
		s.o.managed[0].set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "theirs", Image: asked}, {Name: "postgres", Image: runs}}
		s.o.facts.Images.Postgres = asked
		if desired == 0 {
			s.o.managed = nil
		}
		setStatus(s.ap, s.o)
		if c := s.ap.Status.Components[0]; c.Name != "postgres" || c.Image != want || c.Desired != desired {
			t.Errorf("asked for %s, runs %s, ready %d: %+v; want the pin %q", asked, runs, ready, c, want)
		}
		if offered := meta.IsStatusConditionTrue(s.ap.Status.Conditions, assetv1.ConditionUpdateAvailable); offered != (want != "" && desired > 0) {
			t.Errorf("pin %q, managed %d: the operator's image is offered: %t", want, desired, offered)
		}
		if c := s.ap.Status.Components[1]; c.Image != "" {
			t.Errorf("the server's pin is status.image, not %+v", c)
		}
	}
	pass(first, first, 0, "", 1) // an operator's wrong flag can still be corrected
	pass(second, first, 1, "", 1)
	pass(second, second, 1, second, 1)
	pass(second, second, 0, second, 1)
	pass(first, first, 0, second, 1)  // the spec names one that does not start
	pass(first, second, 1, second, 1) // the spec names one, and nothing could be applied
	pass(first, first, 1, first, 1)
	pass("", first, 1, first, 0) // not managed any more
	pass(first, first, 0, first, 1)
}

func (s *scene) condition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, message string) {
	s.o.server.Status.Conditions = []appsv1.DeploymentCondition{{Type: kind, Status: status, Message: message}}
}

// At most five problems, each once, the worst first.
func TestProblemsAreFewAndSorted(t *testing.T) {
	t.Parallel()
	s := newScene()
	for i := range 9 {
		f := &finding{reason: assetv1.ReasonCrashLoop, problem: fmt.Sprint("pod ", i/2), where: "Pod", remedy: "r"}
		s.o.podFindings = append(s.o.podFindings, f)
	}
	s.o.applyProblems = []*finding{{reason: assetv1.ReasonNameConflict, problem: "taken", where: "x", remedy: "r"}}
	setStatus(s.ap, s.o)
	if p := s.ap.Status.Problems; len(p) != 5 || p[0].Problem != "taken" || p[1].Problem != "pod 0" || p[2].Problem != "pod 1" {
		t.Errorf("problems %+v", p)
	}
}

// The URL is what a person would type.
func TestURL(t *testing.T) {
	t.Parallel()
	for want, ingress := range map[string]corev1.LoadBalancerIngress{
		"http://203.0.113.7": {IP: "203.0.113.7"}, "http://[2001:db8::7]": {IP: "2001:db8::7"}, "http://lb.example.com": {IP: "203.0.113.7", Hostname: "lb.example.com"},
	} {
		s := newScene()
		s.o.service.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.o.service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{ingress}
		if setStatus(s.ap, s.o); s.ap.Status.URL != want {
			t.Errorf("URL %s, want %s", s.ap.Status.URL, want)
		}
	}
	n := newScene()
	n.o.service.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 31080}}}
	for _, test := range []struct {
		nodes []string
		want  string
	}{
		{nil, ""},
		{[]string{"10.0.0.2"}, "http://10.0.0.2:31080"},
		{[]string{"10.0.0.1", "10.0.0.2"}, "http://10.0.0.2:31080"},
		{nil, "http://10.0.0.2:31080"},
		{[]string{"10.0.0.3"}, "http://10.0.0.3:31080"},
	} {
		n.o.nodes = test.nodes
		if setStatus(n.ap, n.o); n.ap.Status.URL != test.want {
			t.Errorf("nodes %v: URL %q, want %q", test.nodes, n.ap.Status.URL, test.want)
		}
	}
	s := newScene()
	s.ap.Spec.Networking.Service.Port = 8080
	if setStatus(s.ap, s.o); s.ap.Status.URL != "http://studio.games.svc:8080" {
		t.Errorf("URL %s", s.ap.Status.URL)
	}
}

func TestVersionOfImage(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"ghcr.io/a/b:v1": "v1", "localhost:5000/b": "latest", "localhost:5000/b:2": "2", "b@sha256:0123456789abcdef0123": "0123456789ab",
	} {
		if got := version(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

// Conditions speak of what the user has set, not of our pods' variables.
func TestConditionsSpeakOfTheSpec(t *testing.T) {
	t.Parallel()
	own, managed := newScene().ap, &assetv1.AssetPlatform{ObjectMeta: metav1.ObjectMeta{Name: "studio", Namespace: "games"}}
	for _, test := range []struct {
		ap         *assetv1.AssetPlatform
		said, want string
	}{
		{own, "correct host and port in REDIS_URL", "correct host and port in key redis-url of Secret backend-secrets"},
		{own, "correct DATABASE_URL or DATABASE_DIRECT_URL", "correct key database-url of Secret backend-secrets or DATABASE_DIRECT_URL"},
		{own, "correct S3_REGION or S3_ENDPOINT", "correct spec.storage.region or spec.storage.endpoint"},
		{managed, "correct the password in DATABASE_URL", "correct the password in Secret or Service studio-postgres"},
		{managed, "or correct S3_ENDPOINT", "or correct Secret or Service studio-s3"},
		{managed, "correct S3_ACCESS_KEY and S3_SECRET_KEY", "correct Secret studio-s3"},
	} {
		if got := inSpecWords(test.ap, test.said); got != test.want {
			t.Errorf("%q became %q, want %q", test.said, got, test.want)
		}
	}
	s := newScene()
	s.failed(config.CodeDatabaseAuth)
	s.ap.Status.Migration.Remedy = "correct the password in DATABASE_URL."
	s.ap.Spec.Database.DirectSecretRef = &assetv1.SecretKeyRef{Name: "direct", Key: "url"}
	setStatus(s.ap, s.o)
	for _, condition := range []string{assetv1.ConditionMigrated, assetv1.ConditionDatabaseReady} {
		if c := meta.FindStatusCondition(s.ap.Status.Conditions, condition); !strings.Contains(c.Message, "the password in key url of Secret direct") {
			t.Errorf("%s says %q: the migration takes the direct URL", condition, c.Message)
		}
	}
}

// What helps against a bucket of another platform can be done: a managed one has no field for its name.
func TestBucketTaken(t *testing.T) {
	t.Parallel()
	ap := newScene().ap
	if f := bucketTaken(ap, storageText(ap)); !strings.Contains(f.message(), "The bucket assets holds the bytes of another platform") || !strings.Contains(f.remedy, "spec.storage.prefix") {
		t.Errorf("message %q", f.message())
	}
	ap.Spec.Storage = nil
	if f := bucketTaken(ap, storageText(ap)); strings.Contains(f.remedy, "spec.") || !strings.Contains(f.remedy, "exec studio-s3-0") {
		t.Errorf("remedy %q", f.remedy)
	}
}
