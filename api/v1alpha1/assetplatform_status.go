package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AssetPlatformStatus is what was observed.
type AssetPlatformStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Version that serves now: the tag of Image.
	// +optional
	Version string `json:"version,omitempty"`
	// Image that serves now; a platform without spec.image stays on it.
	// +optional
	Image string `json:"image,omitempty"`
	// URL under which the API answers.
	// +optional
	URL string `json:"url,omitempty"`
	// Replicas is the number of API pods that exist (scale subresource).
	// +optional
	Replicas int32 `json:"replicas"`
	// Selector finds the API pods (scale subresource).
	// +optional
	Selector string `json:"selector,omitempty"`
	// Schema is the version of the database's schema.
	// +optional
	Schema SchemaStatus `json:"schema,omitzero"`
	// Migration is the newest attempt to migrate the database.
	// +optional
	Migration *MigrationStatus `json:"migration,omitempty"`
	// Certificate is the last one for the host, also where it is in force no more.
	// +optional
	Certificate *CertificateStatus `json:"certificate,omitempty"`
	// Backup is what is known of the backups.
	// +optional
	Backup *BackupStatus `json:"backup,omitempty"`
	// Restored is the UID of the AssetRestore whose set was restored last.
	// +optional
	Restored string `json:"restored,omitempty"`
	// Components are the parts that the operator runs, and those that it ran once and may run again.
	// +listType=map
	// +listMapKey=name
	// +optional
	Components []ComponentStatus `json:"components,omitempty"`
	// Problems with the platform, the worst first, at most five; those of the autoscaler do not keep it from being ready.
	// +listType=atomic
	// +optional
	Problems []Problem `json:"problems,omitempty"`
	// Inventory lists the children, as Kind.group/name.
	// +listType=set
	// +optional
	Inventory []string `json:"inventory,omitempty"`
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SchemaStatus is the version of the database's schema.
type SchemaStatus struct {
	// Current is the version that the last successful migration left.
	// +optional
	Current int64 `json:"current,omitempty"`
	// CompatibleFrom is the lowest version whose images can serve that database.
	// +optional
	CompatibleFrom int64 `json:"compatibleFrom,omitempty"`
}

// MigrationPhase is how far an attempt has come.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed
type MigrationPhase string

// The phases of an attempt.
const (
	MigrationPending   MigrationPhase = "Pending"   // its number is reserved, its Job may not exist yet
	MigrationRunning   MigrationPhase = "Running"   // its Job exists
	MigrationSucceeded MigrationPhase = "Succeeded" // its image may serve
	MigrationFailed    MigrationPhase = "Failed"
)

// MigrationStatus is one attempt to migrate the database for an image.
type MigrationStatus struct {
	// Image whose migrations run.
	Image string `json:"image"`
	// Target is the hash of image and database (host, port, name) that the attempt is for.
	Target string `json:"target"`
	// Attempt counts the attempts of this platform; each has one Job.
	Attempt int64 `json:"attempt"`
	// Job is the name of the attempt's Job.
	Job   string         `json:"job"`
	Phase MigrationPhase `json:"phase"`
	// Code, Message and Remedy are the words of the migration itself (or of its Job) on failure; before
	// that, what keeps its pod from running.
	// +optional
	Code string `json:"code,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
	// +optional
	Remedy string `json:"remedy,omitempty"`
	// FailedTime is when the attempt failed.
	// +optional
	FailedTime *metav1.Time `json:"failedTime,omitempty"`
	// Failures counts the failed attempts in a row for this target; it spaces the automatic retries.
	// +optional
	Failures int64 `json:"failures,omitempty"`
	// Retry is the value of the assetplatform.io/retry annotation that was acted on last.
	// +optional
	Retry string `json:"retry,omitempty"`
	// DatabaseSecret is the name of the Secret that the attempt's Job reads the database's address from.
	// +optional
	DatabaseSecret string `json:"databaseSecret,omitempty"`
	// Migrated is the newest attempt that succeeded; its image may serve while a newer one has not.
	// +optional
	Migrated *MigratedStatus `json:"migrated,omitempty"`
}

// MigratedStatus is a migration that succeeded.
type MigratedStatus struct {
	Image string `json:"image"`
	// Database is the hash of the database's host, port and name.
	Database string `json:"database"`
	// ConfigMap and Secret are what the image serves with: while another database is not migrated, the server stays on them.
	// +optional
	ConfigMap string `json:"configMap,omitempty"`
	// +optional
	Secret string `json:"secret,omitempty"`
}

// ComponentStatus counts the pods of a part.
type ComponentStatus struct {
	Name    string `json:"name"`
	Ready   int32  `json:"ready"`
	Desired int32  `json:"desired"`
	// Image that a managed part was last ready with; without an image in its spec it stays on it.
	// +optional
	Image string `json:"image,omitempty"`
}

// CertificateStatus is the time in which a certificate is in force.
type CertificateStatus struct {
	NotBefore metav1.Time `json:"notBefore"`
	NotAfter  metav1.Time `json:"notAfter"`
}

// Problem is something that is wrong, where, and what to do about it.
type Problem struct {
	Problem string `json:"problem"`
	Where   string `json:"where"`
	Remedy  string `json:"remedy"`
}
