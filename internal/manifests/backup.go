package manifests

import (
	"cmp"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
)

// BackupFacts are what backups need to know beside the spec and the platform's own credentials.
type BackupFacts struct {
	// Destinations are the credentials of each, by name; one whose Secrets are missing is not among them.
	Destinations     map[string]DestinationCredentials
	SigningKey       string // PEM; empty: sets are not signed
	Identity         string // of age, for the drill
	DrillDatabaseURL string // empty: the drill's pod runs a PostgreSQL of its own
	PostgresImage    string // of that one
	// Secrets are the data of those that the spec names, by name; only where they go with the sets.
	Secrets map[string]map[string][]byte
	// LeftOut are the components for which the spec cannot be followed: they are not built, and what there is of them stays.
	LeftOut []Component
	// Migrated says that the database has a schema: before that there is nothing to keep.
	Migrated bool
}

// DestinationCredentials are the values of the Secrets that a destination names.
type DestinationCredentials struct {
	AccessKey, SecretKey               string // empty: the pods' own identity
	CA                                 string
	RemoverAccessKey, RemoverSecretKey string // empty: as above
}

// ContainerPrune is the container of a scrub's pod that removes what is past its time.
const ContainerPrune = "prune"

// objectDirectory is where a backup's pod finds the AssetPlatform object, in objectFile.
const (
	objectDirectory = "/platform"
	objectFile      = "platform.yaml"
)

// Backups are the CronJobs that make, scrub and drill the sets of each destination, with what they start from.
func Backups(ap *assetv1.AssetPlatform, f Facts) (objects []client.Object) {
	b := ap.Spec.Backup
	if b == nil {
		return nil
	}
	object := platformObject(ap, f)
	objects = append(objects, object)
	for i := range b.Destinations {
		d := destination{ap: ap, f: f, spec: &b.Destinations[i]}
		var known bool
		if d.credentials, known = f.Backup.Destinations[d.spec.Name]; !known {
			continue
		}
		add := func(c Component, made []client.Object) {
			if !slices.Contains(f.Backup.LeftOut, c) {
				objects = append(objects, made...)
			}
		}
		add(ComponentBackup, d.backup(object))
		add(ComponentScrub, d.scrub())
		add(ComponentDrill, d.drill())
	}
	seen := map[string]bool{} // what is the same for two of them has one name
	return slices.DeleteFunc(objects, func(o client.Object) bool {
		key := o.GetObjectKind().GroupVersionKind().Kind + o.GetName()
		again := seen[key]
		seen[key] = true
		return again
	})
}

// platformObject holds the AssetPlatform object as it goes with the sets; where those are encrypted, also the Secrets that it names.
func platformObject(ap *assetv1.AssetPlatform, f Facts) client.Object {
	text := document(&assetv1.AssetPlatform{
		TypeMeta:   typeMeta(assetv1.GroupVersion, "AssetPlatform"),
		ObjectMeta: metav1.ObjectMeta{Name: ap.Name, Namespace: ap.Namespace},
		Spec:       ap.Spec,
	})
	if len(f.Backup.Secrets) == 0 {
		data := map[string]string{objectFile: text}
		return &corev1.ConfigMap{
			TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "ConfigMap"),
			ObjectMeta: meta(ap, ComponentBackup, childName(ap, "object-"+hash(data))),
			Immutable:  ptr.To(true),
			Data:       data,
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Backup.Secrets)) {
		text += "---\n" + document(&corev1.Secret{
			TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "Secret"),
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ap.Namespace},
			Data:       f.Backup.Secrets[name],
		})
	}
	data := map[string][]byte{objectFile: []byte(text)}
	return &corev1.Secret{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "Secret"),
		ObjectMeta: meta(ap, ComponentBackup, childName(ap, "object-"+hash(data))),
		Immutable:  ptr.To(true),
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
}

// document is an object as YAML.
func document(o client.Object) string {
	intent, err := Intent(o)
	if err != nil {
		panic(err) // only our own types come here
	}
	text, err := yaml.Marshal(intent.Object)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// destination is where the sets of a platform are kept, with what the pods need that work there.
type destination struct {
	ap          *assetv1.AssetPlatform
	f           Facts
	spec        *assetv1.BackupDestination
	credentials DestinationCredentials
}

// work is a container that runs a subcommand of backup.
type work struct {
	name       string // of the container
	subcommand string
	args       []string
	settings   variables
	secret     *corev1.Secret
	resources  corev1.ResourceRequirements
}

// bucket says where the destination is.
func (d destination) bucket() variables { return archiveVariables(d.spec.BackupBucket) }

// signedBucket is for who reads sets, and has no key that signs.
func (d destination) signedBucket() variables {
	v := d.bucket()
	v[config.BackupVerifyKey] = verifyKey(d.f.Backup.SigningKey)
	return v
}

func archiveVariables(b assetv1.BackupBucket) variables {
	return variables{config.BackupBucket: b.Bucket, config.BackupPrefix: b.Prefix, config.BackupRegion: b.Region, config.BackupEndpoint: b.Endpoint}
}

// secret holds what opens the destination, and more.
func (d destination) secret(c Component, more variables) *corev1.Secret {
	v := variables{config.BackupAccessKey: d.credentials.AccessKey, config.BackupSecretKey: d.credentials.SecretKey, config.BackupCA: d.credentials.CA}
	maps.Copy(v, proxyVariables(d.ap, d.f.Credentials))
	maps.Copy(v, more)
	return environmentSecret(d.ap, c, v)
}

// backup makes sets. It alone reads the platform's database and bucket, and has the key that signs.
func (d destination) backup(object client.Object) []client.Object {
	c := d.f.Credentials
	settings := bucketVariables(d.ap)
	maps.Copy(settings, d.bucket())
	if e := d.ap.Spec.Backup.Encryption; e != nil {
		settings[config.BackupRecipients] = strings.Join(e.Recipients, ",")
	}
	w := work{
		name: string(ComponentBackup), subcommand: "create", args: []string{"--object=" + path.Join(objectDirectory, objectFile)}, settings: settings,
		secret: d.secret(ComponentBackup, variables{
			config.DatabaseURL: c.DatabaseURL, config.DatabaseDirectURL: c.DatabaseDirectURL,
			config.S3AccessKey: c.S3AccessKey, config.S3SecretKey: c.S3SecretKey, config.S3CA: c.S3CA, config.BackupSigningKey: d.f.Backup.SigningKey,
		}),
		resources: resources("100m", "128Mi", "", "512Mi"),
	}
	identity := c.S3AccessKey == "" && ManagedStorage(d.ap) == nil || d.credentials.AccessKey == ""
	job := d.cronJob(ComponentBackup, BackupSchedule(d.ap), cmp.Or(d.ap.Spec.Backup.Image, d.image()), identity, w)
	pod := &job.Spec.JobTemplate.Spec.Template.Spec
	source := corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: object.GetName()}}}
	if _, ok := object.(*corev1.Secret); ok {
		source = corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: object.GetName()}}
	}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "platform", VolumeSource: source})
	pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "platform", MountPath: objectDirectory, ReadOnly: true})
	return []client.Object{w.secret, job}
}

// scrub reads again what is kept, and then removes what is past its time, also where something is damaged: that must not stay for ever, and
// the newest set that is whole does. The container that may remove does nothing else, and none of them knows the platform.
func (d destination) scrub() []client.Object {
	b := d.ap.Spec.Backup
	scrub := work{name: string(ComponentScrub), subcommand: "scrub", args: []string{"--go-on"}, settings: d.signedBucket(), secret: d.secret(ComponentScrub, nil), resources: resources("50m", "64Mi", "", "256Mi")}
	settings := d.signedBucket()
	if all := b.Retention.All; all != nil {
		settings[config.BackupRetentionAll] = all.Duration.String()
	}
	if daily := b.Retention.Daily; daily != nil {
		settings[config.BackupRetentionDaily] = strconv.Itoa(int(*daily))
	}
	if minimum := b.Retention.Minimum; minimum != nil {
		settings[config.BackupRetentionMinimum] = strconv.Itoa(int(*minimum))
	}
	remover := variables{config.BackupRemoverAccessKey: d.credentials.RemoverAccessKey, config.BackupRemoverSecretKey: d.credentials.RemoverSecretKey}
	prune := work{name: ContainerPrune, subcommand: "prune", settings: settings, secret: d.secret(ComponentScrub, remover), resources: resources("50m", "64Mi", "", "256Mi")}
	if allowed := d.ap.Annotations[assetv1.AnnotationAllowCollection]; allowed != "" {
		prune.args = []string{"--allow-collection=" + allowed}
	}
	job := d.cronJob(ComponentScrub, ScrubSchedule(d.ap), cmp.Or(b.Image, d.image()), d.credentials.AccessKey == "", scrub, prune)
	return []client.Object{scrub.secret, prune.secret, job}
}

// drill restores the newest set where it harms nobody. It alone has the key that decrypts.
func (d destination) drill() []client.Object {
	b := d.ap.Spec.Backup
	if b.Drill == nil {
		return nil
	}
	own := d.f.Backup.DrillDatabaseURL == ""
	url := d.f.Backup.DrillDatabaseURL
	if own {
		url = fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", postgresUser, drillPassword, postgresPort, postgresDatabase)
	}
	w := work{
		name: string(ComponentDrill), subcommand: "drill", settings: d.signedBucket(),
		secret:    d.secret(ComponentDrill, variables{config.BackupIdentity: d.f.Backup.Identity, config.BackupDrillDatabaseURL: url}),
		resources: resources("100m", "128Mi", "", "512Mi"),
	}
	job := d.cronJob(ComponentDrill, DrillSchedule(d.ap), cmp.Or(b.Drill.Image, b.Image, d.image()), d.credentials.AccessKey == "", w)
	if own {
		pod := &job.Spec.JobTemplate.Spec.Template.Spec
		pod.InitContainers = append(pod.InitContainers, drillPostgres(d.f.Backup.PostgresImage))
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	}
	return []client.Object{w.secret, job}
}

// drillPassword need not be secret: only the drill's own pod reaches the server.
const drillPassword = "drill"

// drillPostgres is the server into which a drill restores, a sidecar that ends with the drill, and all data with it
// (kubernetes.io/docs/concepts/workloads/pods/sidecar-containers; from Kubernetes 1.29 on).
func drillPostgres(image string) corev1.Container {
	return restricted(corev1.Container{
		Name: string(ComponentPostgres), Image: image, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
		// What is lost with the machine is nothing.
		Args: []string{"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "max_wal_size=4GB", "-c", "autovacuum=off"},
		Env: []corev1.EnvVar{
			{Name: "POSTGRES_USER", Value: postgresUser}, {Name: "POSTGRES_DB", Value: postgresDatabase}, {Name: "POSTGRES_PASSWORD", Value: drillPassword},
		},
		Resources:    resources("100m", "256Mi", "", "1Gi"),
		StartupProbe: postgresProbe(),
		VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: postgresData}},
	})
}

// image is that of the platform whose schema the database has.
func (d destination) image() string {
	if d.f.Held != nil {
		return d.f.Held.Image
	}
	return cmp.Or(d.f.ServingImage, d.f.TargetImage)
}

// cronJob runs works one after the other; the next only after the success of the one before.
func (d destination) cronJob(c Component, schedule, image string, identity bool, works ...work) *batchv1.CronJob {
	var containers []corev1.Container
	for _, w := range works {
		containers = append(containers, restricted(w.container(d.ap, image)))
	}
	last := len(containers) - 1
	template := podTemplate(d.ap, c, corev1.Container{})
	template.Spec.InitContainers, template.Spec.Containers = slices.Clone(containers[:last]), containers[last:]
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	template.Labels[LabelDestination] = d.spec.Name
	if identity {
		template.Spec.ServiceAccountName = ServiceAccountName(d.ap)
	}
	labels := Labels(d.ap, c)
	labels[LabelDestination] = d.spec.Name
	job := &batchv1.CronJob{
		TypeMeta:   typeMeta(batchv1.SchemeGroupVersion, "CronJob"),
		ObjectMeta: meta(d.ap, c, CronJobName(d.ap, c, d.spec.Name)),
		Spec: batchv1.CronJobSpec{
			Schedule: schedule, TimeZone: ptr.To(TimeZone(d.ap)), ConcurrencyPolicy: batchv1.ForbidConcurrent,
			Suspend: ptr.To(d.f.NothingServes(d.ap) || !d.f.Backup.Migrated),
			// A cluster that was away at the time makes up for it.
			StartingDeadlineSeconds:    ptr.To[int64](6 * 3600),
			SuccessfulJobsHistoryLimit: ptr.To[int32](3), FailedJobsHistoryLimit: ptr.To[int32](3),
			JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: batchv1.JobSpec{
					BackoffLimit: ptr.To[int32](2), ActiveDeadlineSeconds: ptr.To[int64](24 * 3600), PodReplacementPolicy: ptr.To(batchv1.Failed), PodFailurePolicy: failFast(), Template: template,
				},
			},
		},
	}
	job.Labels[LabelDestination] = d.spec.Name
	return job
}

func (w work) container(ap *assetv1.AssetPlatform, image string) corev1.Container {
	container := corev1.Container{
		Name: w.name, Image: image, Resources: w.resources, EnvFrom: environment("", w.secret.Name),
		Args: append([]string{config.CommandBackup, w.subcommand, fmt.Sprintf("--platform=%s/%s", ap.Namespace, ap.Name)}, w.args...),
	}
	values := w.settings.set()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: values[name]})
	}
	return container
}

// BackupObjects are the names of a platform's CronJobs.
func BackupObjects(ap *assetv1.AssetPlatform) (names []string) {
	if ap.Spec.Backup == nil {
		return nil
	}
	for _, d := range ap.Spec.Backup.Destinations {
		names = append(names, CronJobName(ap, ComponentBackup, d.Name), CronJobName(ap, ComponentScrub, d.Name))
		if ap.Spec.Backup.Drill != nil {
			names = append(names, CronJobName(ap, ComponentDrill, d.Name))
		}
	}
	return names
}

// verifyKey is the public half of a signing key, as PEM; empty if there is none that can be read.
func verifyKey(signing string) string {
	block, _ := pem.Decode([]byte(signing))
	if block == nil {
		return ""
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := key.(ed25519.PrivateKey)
	if err != nil || !ok {
		return ""
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// JobOf is a Job as a CronJob would make it, of another name and owner. It does not hold up the owner's deletion, for which the operator
// would need another right.
func JobOf(cron *batchv1.CronJob, name string, owner *metav1.OwnerReference) *batchv1.Job {
	template := cron.Spec.JobTemplate.DeepCopy()
	owner.BlockOwnerDeletion = nil
	return &batchv1.Job{
		TypeMeta:   typeMeta(batchv1.SchemeGroupVersion, "Job"),
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: cron.Namespace, Labels: template.Labels, OwnerReferences: []metav1.OwnerReference{*owner}},
		Spec:       template.Spec,
	}
}

// BackupNowName is the name of the Job that makes a set because of a value of the annotation assetplatform.io/backup-now.
func BackupNowName(ap *assetv1.AssetPlatform, destination, asked string) string {
	return childName(ap, "backup-"+destination+"-"+hash(asked))
}
