package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// AssetPlatform is a running game-asset service: the asset API, its database,
// cache and bucket, as one object.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:path=assetplatforms,shortName=ap,categories={all,assets},scope=Namespaced
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Backup",type=date,JSONPath=`.status.backup.lastSetTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Schema",type=integer,JSONPath=`.status.schema.current`,priority=1
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.replicas`,priority=1
// +kubebuilder:printcolumn:name="Drill",type=date,JSONPath=`.status.backup.lastProvenTime`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",message="metadata.name: use at most 63 lower-case letters, digits and '-', beginning with a letter (a Service of this name is made)"
type AssetPlatform struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	// +optional
	Spec AssetPlatformSpec `json:"spec,omitempty"`
	// +optional
	Status AssetPlatformStatus `json:"status,omitzero"`
}

// AssetPlatformList is a list of AssetPlatforms.
//
// +kubebuilder:object:root=true
type AssetPlatformList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AssetPlatform `json:"items"`
}

// AssetPlatformSpec is what the platform should be. Everything has a default:
// the operator runs a small database, cache and S3 server itself where none is named.
// ---
// A limit counts as a request where there is none.
// +kubebuilder:validation:XValidation:rule="!has(self.autoscaling) || !has(self.resources) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits)",message="autoscaling: it measures against the pods' request of cpu; add resources.requests.cpu"
// +kubebuilder:validation:XValidation:rule=`!has(self.backup) || !has(self.storage) || !has(self.storage.bucket) || self.backup.destinations.all(d, d.bucket != self.storage.bucket || (has(d.endpoint) ? d.endpoint : "") != (has(self.storage.endpoint) ? self.storage.endpoint : ""))`,message="backup.destinations: one is the bucket of the assets: name another bucket, for what takes the one away takes the other with it"
// +kubebuilder:validation:XValidation:rule="!has(self.restoreFrom) || has(self.restoreFrom.bucket) || has(self.backup)",message="restoreFrom: say where the sets are, in bucket"
type AssetPlatformSpec struct {
	// Image of the asset service. Absent: the operator's own, pinned in status.image once the platform was ready.
	// +optional
	Image ImageReference `json:"image,omitempty"`

	// ImagePullSecrets are the pull secrets of every pod of the platform.
	// ---
	// The rule is less exact than SecretName's: Kubernetes' own type states no greatest length, so the apiserver
	// reckons with names of 3 MB and refuses the CRD if this expression is any longer.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:XValidation:rule="self.name != '' && self.name.size() <= 253 && !self.name.matches('[^-.a-z0-9]')",message="name: not the name of a Secret: use lower-case letters, digits, '-' and '.', like registry"
	// +listType=map
	// +listMapKey=name
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Replicas is the number of API pods; autoscaling takes its place.
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// Resources of an API pod: cpu, memory and ephemeral-storage. Absent: requests 500m and 512Mi, limits 1 CPU and 1Gi.
	// The least is 1m of cpu, 1Mi of ephemeral-storage, a request of 1Mi and a limit of 6Mi of memory.
	// ---
	// The rules go through our names, not through the keys: Kubernetes' own type states no greatest number of keys.
	// A container needs some MB to be started at all; Docker's own least is 6 MB.
	// +kubebuilder:validation:XValidation:rule="!has(self.requests) || self.requests.size() == ['cpu', 'memory', 'ephemeral-storage'].filter(r, r in self.requests).size()",message="resources.requests: takes cpu, memory and ephemeral-storage; leave out the others, the API has no use for them"
	// +kubebuilder:validation:XValidation:rule="!has(self.limits) || self.limits.size() == ['cpu', 'memory', 'ephemeral-storage'].filter(r, r in self.limits).size()",message="resources.limits: takes cpu, memory and ephemeral-storage; leave out the others, the API has no use for them"
	// +kubebuilder:validation:XValidation:rule="!has(self.requests) || ['cpu', 'memory', 'ephemeral-storage'].all(r, !(r in self.requests) || quantity(string(self.requests[r])).compareTo(quantity(r == 'cpu' ? '1m' : '1Mi')) >= 0)",message="resources.requests: write at least 1m of cpu, 1Mi of memory and 1Mi of ephemeral-storage, or leave the request out"
	// +kubebuilder:validation:XValidation:rule="!has(self.limits) || ['cpu', 'memory', 'ephemeral-storage'].all(r, !(r in self.limits) || quantity(string(self.limits[r])).compareTo(quantity(r == 'cpu' ? '1m' : r == 'memory' ? '6Mi' : '1Mi')) >= 0)",message="resources.limits: write at least 1m of cpu, 6Mi of memory and 1Mi of ephemeral-storage, or leave the limit out"
	// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || ['cpu', 'memory', 'ephemeral-storage'].all(r, !(r in self.requests) || !(r in self.limits) || quantity(string(self.requests[r])).compareTo(quantity(string(self.limits[r]))) <= 0)",message="resources: a request of cpu, memory or ephemeral-storage is above its limit; lower the request or raise the limit"
	// +kubebuilder:validation:XValidation:rule="!has(self.claims) || self.claims.size() == 0",message="resources.claims: the pods have no resource claims to name; leave it out"
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// Autoscaling lets the number of API pods follow their load. Absent: it is replicas.
	// +optional
	Autoscaling *AutoscalingSpec `json:"autoscaling,omitempty"`

	// Disruption says how many API pods a drain of nodes may take away at a time.
	// +optional
	Disruption DisruptionSpec `json:"disruption,omitzero"`

	// ServiceAccount is what the API pods run as: cloud identities bind to it.
	// +optional
	ServiceAccount ServiceAccountSpec `json:"serviceAccount,omitzero"`

	// Pod shapes the platform's pods beyond what they run.
	// +optional
	Pod PodSpec `json:"pod,omitzero"`

	// Server has the API's own settings.
	// +optional
	Server ServerSpec `json:"server,omitzero"`

	// Database is the PostgreSQL that holds everything but the bytes. Absent: managed.
	// +kubebuilder:validation:XValidation:rule="has(self.secretRef) != has(self.managed)",message="database: set exactly one of secretRef (your own PostgreSQL) and managed (the operator runs one); leave database out for managed with its defaults"
	// +kubebuilder:validation:XValidation:rule="!has(self.directSecretRef) || has(self.secretRef)",message="database.directSecretRef: only with secretRef; a managed database has no pooler to go past"
	// +optional
	Database *DatabaseSpec `json:"database,omitempty"`

	// Cache is the Redis that holds what may be lost. Absent: managed.
	// +kubebuilder:validation:XValidation:rule="has(self.secretRef) != has(self.managed)",message="cache: set exactly one of secretRef (your own Redis) and managed (the operator runs one); leave cache out for managed with its defaults"
	// +optional
	Cache *CacheSpec `json:"cache,omitempty"`

	// Storage is the bucket that holds the bytes. Absent: managed.
	// +kubebuilder:validation:XValidation:rule="has(self.bucket) != has(self.managed)",message="storage: set exactly one of bucket (your own) and managed (the operator runs an S3 server); leave storage out for managed with its defaults"
	// +kubebuilder:validation:XValidation:rule="!has(self.managed) || !(has(self.prefix) || has(self.region) || has(self.endpoint) || has(self.caSecretRef) || has(self.credentialsSecretRef))",message="storage: prefix, region, endpoint, caSecretRef and credentialsSecretRef go with bucket, not with managed"
	// +optional
	Storage *StorageSpec `json:"storage,omitempty"`

	// Auth has the keys that sign access tokens.
	// +optional
	Auth AuthSpec `json:"auth,omitzero"`

	// Migrations has the limits of the Job that brings the database's schema up to date before a rollout.
	// +optional
	Migrations MigrationsSpec `json:"migrations,omitzero"`

	// Networking says how the API is reached.
	// +optional
	Networking NetworkingSpec `json:"networking,omitzero"`

	// Monitoring has the objects that the Prometheus operator and Grafana read.
	// +optional
	Monitoring MonitoringSpec `json:"monitoring,omitzero"`

	// Backup keeps verified copies of database and bucket together in other buckets. Absent: none are made, and BackupHealthy says so.
	// +optional
	Backup *BackupSpec `json:"backup,omitempty"`

	// RestoreFrom makes a new platform from a set: nothing is migrated and nothing serves before that is restored. It is done once.
	// +optional
	RestoreFrom *RestoreSource `json:"restoreFrom,omitempty"`

	// Suspend stops the operator: what is there stays as it is, and only the status is kept up to date.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// Hibernate ends all pods and keeps everything else, the data above all.
	// +optional
	Hibernate bool `json:"hibernate,omitempty"`

	// DeletionPolicy says what happens to managed data when the platform is deleted: Retain keeps the
	// volumes and the Secrets without which they cannot be read, and a platform of this name made again takes them back.
	// A change is in force once status.observedGeneration has caught up with it.
	// +kubebuilder:default=Retain
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// AutoscalingSpec bounds the number of API pods and says when it changes.
// +kubebuilder:validation:XValidation:rule="self.minReplicas <= self.maxReplicas",message="autoscaling: minReplicas is above maxReplicas; lower one or raise the other"
type AutoscalingSpec struct {
	// MinReplicas is the least number of pods.
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	MinReplicas int32 `json:"minReplicas,omitempty"`
	// MaxReplicas is the greatest number of pods.
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	MaxReplicas int32 `json:"maxReplicas,omitempty"`
	// TargetCPUUtilizationPercentage is the average use of the pods' CPU requests that is aimed at, percent.
	// +kubebuilder:default=75
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	TargetCPUUtilizationPercentage int32 `json:"targetCPUUtilizationPercentage,omitempty"`
}

// DisruptionSpec bounds voluntary disruptions.
type DisruptionSpec struct {
	// MaxUnavailable is the number, or percentage, of API pods that may be missing because of drains. Absent: 1.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 1000 : self.matches('^([1-9][0-9]?|100)%$')",message="disruption.maxUnavailable: write a number from 1, or a percentage like 25%; none at all would block every drain of a node"
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// ServiceAccountSpec is the identity of the API pods.
// +kubebuilder:validation:XValidation:rule="!has(self.name) || !has(self.annotations)",message="serviceAccount: set name (an account that is there already) or annotations (of the account that the operator makes), not both"
type ServiceAccountSpec struct {
	// Name of a ServiceAccount in the platform's namespace. Absent: the operator makes one, <name>-server.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="not the name of a ServiceAccount: use lower-case letters, digits, '-' and '.', like game-asset-manager"
	// +optional
	Name string `json:"name,omitempty"`
	// Annotations of the ServiceAccount that the operator makes, such as eks.amazonaws.com/role-arn.
	// +optional
	Annotations Annotations `json:"annotations,omitempty"`
}

// PodSpec shapes pods. Affinity is for those of the API, the rest for all of the platform. A change restarts them: those of managed
// parts, of which there is one each, at once, so that the API is not ready until they are again.
type PodSpec struct {
	// Labels of every pod, beside the operator's own.
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('assetplatform.io/') && !k.startsWith('app.kubernetes.io/'))",message="pod.labels: those under assetplatform.io/ and app.kubernetes.io/ are the operator's own"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="pod.labels: not the key of a label: write it like example.com/team, with letters, digits, '-', '_', '.' and at most one '/'"
	// +optional
	Labels Labels `json:"labels,omitempty"`
	// Annotations of every pod.
	// +optional
	Annotations Annotations `json:"annotations,omitempty"`
	// NodeSelector has the labels that a node must have.
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="pod.nodeSelector: not the key of a label: write it like example.com/team, with letters, digits, '-', '_', '.' and at most one '/'"
	// +optional
	NodeSelector Labels `json:"nodeSelector,omitempty"`
	// Tolerations of node taints.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(t, !has(t.operator) || t.operator in ['', 'Exists', 'Equal', 'Lt', 'Gt'])",message="pod.tolerations: operator is Exists or Equal, which is meant where it is left out; Lt and Gt where the cluster has them"
	// +kubebuilder:validation:XValidation:rule="self.all(t, !has(t.effect) || t.effect in ['', 'NoSchedule', 'PreferNoSchedule', 'NoExecute'])",message="pod.tolerations: effect is NoSchedule, PreferNoSchedule or NoExecute; leave it out for all of them"
	// +kubebuilder:validation:XValidation:rule="self.all(t, has(t.operator) && t.operator == 'Exists' ? !has(t.value) || t.value == '' : has(t.key) && t.key != '')",message="pod.tolerations: write key and value of the taint, or the operator Exists and no value"
	// +kubebuilder:validation:XValidation:rule="self.all(t, !has(t.tolerationSeconds) || has(t.effect) && t.effect == 'NoExecute')",message="pod.tolerations: tolerationSeconds goes with the effect NoExecute alone"
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Affinity of the API's pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// PriorityClassName of every pod.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || !format.dns1123Subdomain().validate(self).hasValue()",message="not the name of a PriorityClass: kubectl get priorityclass lists those of the cluster"
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// DeletionPolicy says what happens to managed data when the platform is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// The deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// These are aliases: the rules of a field, and a plain string where it is used.
type (
	// ImageReference is what a container runtime takes for an image: registry, repository, tag and digest.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(([a-zA-Z0-9][-a-zA-Z0-9]*([.][a-zA-Z0-9][-a-zA-Z0-9]*)*:[0-9]+|[a-zA-Z0-9][-a-zA-Z0-9]*([.][a-zA-Z0-9][-a-zA-Z0-9]*)+|[[][0-9a-fA-F:]+[]](:[0-9]+)?)/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*(:[a-zA-Z0-9_][-a-zA-Z0-9_.]{0,127})?(@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?$')",message="not an image reference: write it like ghcr.io/assetplatform/assetplatform:v0.1.0, the repository in lower case"
	ImageReference = string

	// SecretName is the name of a Secret in the platform's namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="not the name of a Secret: use lower-case letters, digits, '-' and '.', like backend-secrets"
	SecretName = string

	// CIDR is a range of addresses.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="not a CIDR: write an address and a prefix length, like 10.0.0.0/8"
	CIDR = string

	// SecretKey is a key in a Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="not a key of a Secret: use letters, digits, '-', '_' and '.', like database-url"
	SecretKey = string

	// BucketName is the name of a bucket.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9][-.a-z0-9]*[a-z0-9]$') && !self.contains('..') && !isIP(self)",message="not the name of a bucket: use lower-case letters, digits, '-' and single '.', a letter or digit at both ends, and no IP address"
	BucketName = string

	// KeyPrefix is what all keys in a bucket begin with.
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self == '' || (!self.startsWith('/') && self.endsWith('/'))",message="write it without a leading and with a trailing slash, like studio/"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]|(^|/)[.]{0,2}/')",message="leave out control characters, and segments that are empty, '.' or '..'; write it like studio/ or studio/assets/"
	KeyPrefix = string

	// BucketRegion is the name of a region.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-zA-Z0-9][-a-zA-Z0-9]*([.][a-zA-Z0-9][-a-zA-Z0-9]*)*)?$')",message="not the name of a region: use letters, digits, '-' and single '.', like eu-central-1"
	BucketRegion = string

	// BucketEndpoint is the URL of an S3-compatible service.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self == '' || (isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '')",message="not an http or https URL, like https://s3.example.com"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[?# ]|//[^/]*@')",message="write it without user, password, query, fragment and spaces, like https://s3.example.com; everybody can read it, keys go into the Secret of credentialsSecretRef"
	BucketEndpoint = string
)

// Labels are labels of an object. (Their values have rules of their own, so they need a type of their own.)
// +kubebuilder:validation:MaxProperties=32
type Labels map[string]LabelValue

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$')",message="not the value of a label: use letters, digits, '-', '_' and '.', a letter or digit at both ends"
type LabelValue string

// Plain returns the labels as Kubernetes' own types have them; nil if there are none.
func (l Labels) Plain() map[string]string {
	var plain map[string]string
	for key, value := range l {
		if plain == nil {
			plain = map[string]string{}
		}
		plain[key] = string(value)
	}
	return plain
}

// Annotations are annotations of an object that the operator makes.
// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('assetplatform.io/'))",message="annotations under assetplatform.io/ are the operator's own"
// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k.lowerAscii()).hasValue())",message="not a key for an annotation: write it like example.com/owner, with letters, digits, '-', '_', '.' and at most one '/'"
// +kubebuilder:validation:MaxProperties=64
type Annotations map[string]string

// SecretKeyRef names one key of a Secret in the platform's namespace.
type SecretKeyRef struct {
	Name SecretName `json:"name"`
	Key  SecretKey  `json:"key"`
}

// DatabaseSpec names a PostgreSQL, or asks for a managed one.
type DatabaseSpec struct {
	// SecretRef holds the URL of your own PostgreSQL, postgres://user:password@host:5432/name.
	// +optional
	SecretRef *SecretKeyRef `json:"secretRef,omitempty"`
	// DirectSecretRef holds a URL that goes past a transaction pooler; migrations use it.
	// +optional
	DirectSecretRef *SecretKeyRef `json:"directSecretRef,omitempty"`
	// Managed asks the operator to run a PostgreSQL of one pod, for trials and small studios.
	// +optional
	Managed *ManagedVolumeSpec `json:"managed,omitempty"`
}

// CacheSpec names a Redis, or asks for a managed one.
type CacheSpec struct {
	// SecretRef holds the URL of your own Redis, redis://:password@host:6379/0.
	// +optional
	SecretRef *SecretKeyRef `json:"secretRef,omitempty"`
	// Managed asks the operator to run a Redis of one pod.
	// +optional
	Managed *ManagedVolumeSpec `json:"managed,omitempty"`
}

// StorageSpec names a bucket, or asks for a managed S3 server.
type StorageSpec struct {
	// Bucket that holds the asset bytes; it must exist.
	// +optional
	Bucket BucketName `json:"bucket,omitempty"`
	// Prefix of every object key in the bucket.
	// +optional
	Prefix KeyPrefix `json:"prefix,omitempty"`
	// Region of the bucket: letters, digits, '-' and '.', as the name of a host. Absent: us-east-1.
	// +optional
	Region BucketRegion `json:"region,omitempty"`
	// Endpoint of an S3-compatible service: scheme, host, port and path. Keys go into credentialsSecretRef. Absent: AWS.
	// +optional
	Endpoint BucketEndpoint `json:"endpoint,omitempty"`
	// CASecretRef holds the certificates, as PEM, of the authorities that have signed the certificate of the endpoint, where
	// those are not known to everybody.
	// +optional
	CASecretRef *SecretKeyRef `json:"caSecretRef,omitempty"`
	// CredentialsSecretRef names the Secret and its keys. Absent: the pods' own identity (IRSA, pod identity).
	// +optional
	CredentialsSecretRef *S3CredentialsRef `json:"credentialsSecretRef,omitempty"`
	// Managed asks the operator to run an S3 server of one pod.
	// +optional
	Managed *ManagedVolumeSpec `json:"managed,omitempty"`
}

// S3CredentialsRef names a Secret and its two keys.
type S3CredentialsRef struct {
	Name SecretName `json:"name"`
	// AccessKey is the key in the Secret that holds the access key id.
	// +kubebuilder:default=s3-access-key
	// +optional
	AccessKey SecretKey `json:"accessKey,omitempty"`
	// SecretKey is the key in the Secret that holds the secret access key.
	// +kubebuilder:default=s3-secret-key
	// +optional
	SecretKey SecretKey `json:"secretKey,omitempty"`
}

// ManagedVolumeSpec sizes a part that the operator runs in one pod on a volume of its own.
type ManagedVolumeSpec struct {
	// Storage is the size of the volume; once that is bound it can grow, not shrink. Absent: 10Gi for the database, 1Gi for the cache, 20Gi for the bucket.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Mi')) >= 0",message="storage: must be at least 1Mi"
	// +optional
	Storage *resource.Quantity `json:"storage,omitempty"`
	// StorageClassName of the volume; it is settled once the volume is bound. Absent: the cluster's default class.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || !format.dns1123Subdomain().validate(self).hasValue()",message="not the name of a StorageClass: kubectl get storageclass lists those of the cluster"
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`
	// Image that runs the part. Absent: the operator's default for it, pinned in status.components once the part was ready.
	// +optional
	Image ImageReference `json:"image,omitempty"`
}

// KeyRotation says how another signing key takes over.
// +kubebuilder:validation:Enum=Graceful;Immediate
type KeyRotation string

// Ways for another signing key to take over.
const (
	RotationGraceful  KeyRotation = "Graceful"
	RotationImmediate KeyRotation = "Immediate"
)

// AuthSpec has the keys that sign access tokens.
type AuthSpec struct {
	// JWTSecretRef holds the key that signs. Absent: one is generated once and kept.
	// +optional
	JWTSecretRef *SecretKeyRef `json:"jwtSecretRef,omitempty"`
	// Rotation says how another signing key takes over. Graceful: every pod first accepts its tokens, then every pod signs with
	// it, and tokens of the former key are accepted until the last has expired, so that nobody is logged out. Immediate: the
	// former key is given up at once, as it must be once others know it; tokens that it signed, and for the time of the
	// rollout those of the pods that are ahead, are refused, and apps refresh them. Absent: Graceful.
	// +optional
	Rotation KeyRotation `json:"rotation,omitempty"`
	// VerifySecretRefs hold keys beside it whose tokens are accepted as well. One that is taken out is accepted for another
	// quarter of an hour where pods were rolled out just before, unless rotation is Immediate.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	VerifySecretRefs []SecretKeyRef `json:"verifySecretRefs,omitempty"`
}

// MigrationsSpec limits the migration Job.
type MigrationsSpec struct {
	// BackoffLimit is the number of retries within one attempt.
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`
	// Timeout of one attempt, its retries included.
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && duration(self) >= duration('10s') && duration(self) <= duration('168h')",message="migrations.timeout: write a duration from 10s to 168h (a week), like 10m"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}
