package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AssetRestore brings a set back into a platform. Its API pods end meanwhile, and start again when it has ended.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=assetrestores,shortName=ar,categories={assets},scope=Namespaced
// +kubebuilder:printcolumn:name="Platform",type=string,JSONPath=`.spec.platform`
// +kubebuilder:printcolumn:name="Complete",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].message`
// +kubebuilder:printcolumn:name="Set",type=string,JSONPath=`.status.set`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AssetRestore struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AssetRestoreSpec `json:"spec"`
	// +optional
	Status AssetRestoreStatus `json:"status,omitzero"`
}

// AssetRestoreList is a list of AssetRestores.
//
// +kubebuilder:object:root=true
type AssetRestoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AssetRestore `json:"items"`
}

// AssetRestoreSpec says what to bring back, and where to.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an AssetRestore is made once: make another one"
type AssetRestoreSpec struct {
	// Platform is the name of an AssetPlatform of the same namespace.
	Platform ObjectName `json:"platform"`

	RestoreSource `json:",inline"`

	// Overwrite must be the platform's name where its database is not empty: what is there is lost, but for a set that is made of it first.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Overwrite string `json:"overwrite,omitempty"`
	// NoSafetySet leaves that set out, where what is there cannot be backed up, or need not be.
	// +optional
	NoSafetySet bool `json:"noSafetySet,omitempty"`
}

// RestoreSource is a set, and what opens it.
// +kubebuilder:validation:XValidation:rule="!has(self.set) || !has(self.before)",message="set and before both name a set: leave one out"
type RestoreSource struct {
	// Destination is the name of one of the platform's own destinations. Absent: the first, unless bucket says where the sets are.
	// +kubebuilder:validation:MaxLength=20
	// +optional
	Destination string `json:"destination,omitempty"`
	// Bucket that has the sets, whoever made them.
	// +optional
	Bucket *BackupBucket `json:"bucket,omitempty"`
	// Set is the id of the set. Absent: the newest verified one that is not younger than before, or else than this request.
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-7][0-9A-HJKMNP-TV-Z]{25}$')",message="not the id of a set: status.backup.lastSet has one, and assetplatform backup list has them all"
	// +kubebuilder:validation:MaxLength=26
	// +optional
	Set string `json:"set,omitempty"`
	// Before is a time: the newest verified set that is not younger.
	// +optional
	Before *metav1.Time `json:"before,omitempty"`
	// AllowMissing restores a set that lacks bytes which the bucket had lost when the set was made: their assets cannot be downloaded.
	// +optional
	AllowMissing bool `json:"allowMissing,omitempty"`
	// RereadObjects has what the bucket holds in the right size read, and replaced where its bytes are wrong: after damage to the bucket itself.
	// It takes as long as reading all of it.
	// +optional
	RereadObjects bool `json:"rereadObjects,omitempty"`
	// IdentitySecretRef holds an identity of age (AGE-SECRET-KEY-1…) that can read the set, where that is encrypted.
	// +optional
	IdentitySecretRef *SecretKeyRef `json:"identitySecretRef,omitempty"`
	// VerifyKeySecretRef holds the Ed25519 public key (PEM) that must have signed the set. Absent: that of the platform's own signing key, if it has one.
	// +optional
	VerifyKeySecretRef *SecretKeyRef `json:"verifyKeySecretRef,omitempty"`
}

// AssetRestoreStatus is what came of it.
type AssetRestoreStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Job that restores.
	// +optional
	Job string `json:"job,omitempty"`
	// Set that was restored, and SnapshotTime, the moment that it is of.
	// +optional
	Set string `json:"set,omitempty"`
	// +optional
	SnapshotTime *metav1.Time `json:"snapshotTime,omitempty"`
	// SafetySet has what was overwritten.
	// +optional
	SafetySet string `json:"safetySet,omitempty"`
	// Conditions are Complete, and Reconciling and Stalled (kstatus).
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
