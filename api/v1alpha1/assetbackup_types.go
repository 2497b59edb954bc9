package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AssetBackup asks for one set of a platform's database and bucket, now.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=assetbackups,shortName=ab,categories={assets},scope=Namespaced
// +kubebuilder:printcolumn:name="Platform",type=string,JSONPath=`.spec.platform`
// +kubebuilder:printcolumn:name="Complete",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].message`
// +kubebuilder:printcolumn:name="Set",type=string,JSONPath=`.status.set`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AssetBackup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AssetBackupSpec `json:"spec"`
	// +optional
	Status AssetBackupStatus `json:"status,omitzero"`
}

// AssetBackupList is a list of AssetBackups.
//
// +kubebuilder:object:root=true
type AssetBackupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AssetBackup `json:"items"`
}

// AssetBackupSpec says of what, and where to.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an AssetBackup is made once: make another one"
type AssetBackupSpec struct {
	// Platform is the name of an AssetPlatform of the same namespace, which has spec.backup.
	Platform ObjectName `json:"platform"`
	// Destination is the name of one of its destinations. Absent: the first.
	// +kubebuilder:validation:MaxLength=20
	// +optional
	Destination string `json:"destination,omitempty"`
}

// ObjectName is the name of an object; an alias, like those above ImageReference.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
type ObjectName = string

// AssetBackupStatus is what came of it.
type AssetBackupStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Job that makes the set.
	// +optional
	Job string `json:"job,omitempty"`
	// Set that was made and verified, SnapshotTime the moment that it is of, VerifiedTime when it was read and found right.
	// +optional
	Set string `json:"set,omitempty"`
	// +optional
	SnapshotTime *metav1.Time `json:"snapshotTime,omitempty"`
	// +optional
	VerifiedTime *metav1.Time `json:"verifiedTime,omitempty"`
	// Conditions are Complete, and Reconciling and Stalled (kstatus).
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
