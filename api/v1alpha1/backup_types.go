package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupSpec says when, where and for how long copies are kept, and how they are proven.
type BackupSpec struct {
	// Schedule on which sets are made, in the form of cron. Absent: every day at 02:00, or, with objectives.rpo, so often that
	// it is met with time to spare (every 30 minutes for 1h).
	// +optional
	Schedule CronSchedule `json:"schedule,omitempty"`
	// TimeZone of all schedules, by its name in the IANA's database. Absent: Etc/UTC.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z]([-+_/A-Za-z0-9]*[A-Za-z0-9])?$') && self != 'Local'",message="not the name of a time zone: write it like Etc/UTC or Europe/Berlin"
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
	// Destinations are the buckets in which sets are kept; each gets sets of its own.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:XValidation:rule="self.all(d, self.exists_one(e, e.bucket == d.bucket && (has(e.prefix) ? e.prefix : '') == (has(d.prefix) ? d.prefix : '') && (has(e.endpoint) ? e.endpoint : '') == (has(d.endpoint) ? d.endpoint : '')))",message="two destinations are one place: give each a bucket or a prefix of its own"
	// +listType=map
	// +listMapKey=name
	Destinations []BackupDestination `json:"destinations"`
	// Retention says which sets stay. A verified one always does.
	// +optional
	Retention BackupRetention `json:"retention,omitzero"`
	// Objectives are what the sets are to achieve; the conditions measure against them.
	// +optional
	Objectives BackupObjectives `json:"objectives,omitzero"`
	// Image that makes, checks and restores sets. Absent: the platform's. Its pg_dump must not be older than the server.
	// +optional
	Image ImageReference `json:"image,omitempty"`
	// Encryption of the sets, before they leave the cluster. Absent: none but the bucket's own.
	// +optional
	Encryption *BackupEncryption `json:"encryption,omitempty"`
	// Scrub reads all that is kept again, a share at a time, and then removes what is past its time.
	// +optional
	Scrub BackupScrub `json:"scrub,omitzero"`
	// Drill restores the newest set for trial. Absent: nothing proves that the sets can be restored, and RestoreProven says so.
	// +optional
	Drill *BackupDrill `json:"drill,omitempty"`
}

// These are aliases, like those above ImageReference.
type (
	// CronSchedule is a time that comes again, in the five fields of cron, or @daily and the like.
	// +kubebuilder:validation:MinLength=5
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:XValidation:rule="self.matches('^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|[-*/,?0-9A-Za-z]+( +[-*/,?0-9A-Za-z]+){4})$')",message="not a schedule: write the five fields of cron, like 0 2 * * * for every day at 02:00, or @daily"
	CronSchedule = string
)

// BackupDestination is a bucket in which sets are kept.
type BackupDestination struct {
	// Name of the destination, for people and for objects that name it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="not a name: use lower-case letters, digits and '-', like primary"
	Name string `json:"name"`

	BackupBucket `json:",inline"`

	// RemoverCredentialsSecretRef names the Secret of somebody who may remove, where those that write may not. Absent: they may.
	// +optional
	RemoverCredentialsSecretRef *S3CredentialsRef `json:"removerCredentialsSecretRef,omitempty"`
}

// BackupBucket is a bucket that has sets, or is to have some.
type BackupBucket struct {
	// Bucket that holds the sets; it must exist, and is not that of the assets.
	Bucket BucketName `json:"bucket"`
	// Prefix of every object key in the bucket.
	// +optional
	Prefix KeyPrefix `json:"prefix,omitempty"`
	// Region of the bucket. Absent: us-east-1.
	// +optional
	Region BucketRegion `json:"region,omitempty"`
	// Endpoint of an S3-compatible service: scheme, host, port and path. Absent: AWS.
	// +optional
	Endpoint BucketEndpoint `json:"endpoint,omitempty"`
	// CASecretRef holds the certificates, as PEM, of the authorities that have signed the certificate of the endpoint.
	// +optional
	CASecretRef *SecretKeyRef `json:"caSecretRef,omitempty"`
	// CredentialsSecretRef names the Secret and its keys. Absent: the pods' own identity (IRSA, pod identity), which is that of spec.serviceAccount.
	// +optional
	CredentialsSecretRef *S3CredentialsRef `json:"credentialsSecretRef,omitempty"`
}

// BackupRetention says which sets stay.
type BackupRetention struct {
	// All is how long every set stays. Absent: 48h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && duration(self) >= duration('1h') && duration(self) <= duration('87600h')",message="write a duration from 1h to 87600h (ten years), like 48h"
	// +optional
	All *metav1.Duration `json:"all,omitempty"`
	// Daily is for how many days one set of each day stays. Absent: 30.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3650
	// +optional
	Daily *int32 `json:"daily,omitempty"`
	// Minimum is how many verified sets stay, whatever their age. Absent: 7.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Minimum *int32 `json:"minimum,omitempty"`
}

// BackupObjectives are what a studio can bear to lose.
type BackupObjectives struct {
	// RPO is how much work may be lost: the newest verified set is never to be older. Absent: WithinRPO is not told.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && duration(self) >= duration('10m') && duration(self) <= duration('8760h')",message="write a duration from 10m to 8760h (a year), like 1h"
	// +optional
	RPO *metav1.Duration `json:"rpo,omitempty"`
	// RTO is how long a restore may take; a drill by which it takes longer proves nothing. Absent: any time will do.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && duration(self) >= duration('1m') && duration(self) <= duration('8760h')",message="write a duration from 1m to 8760h (a year), like 4h"
	// +optional
	RTO *metav1.Duration `json:"rto,omitempty"`
}

// BackupEncryption makes sets that only who has the key can read.
type BackupEncryption struct {
	// Recipients are public keys of age (age1…); each of their owners can read the sets, but a new one not the blobs that are there: for that,
	// take a new prefix. One of before must stay. Absent: sets are signed only.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=100
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^age1[02-9ac-hj-np-z]{58}$')",message="not a public key of age: age-keygen prints one that begins with age1; the private one does not belong here"
	// +listType=set
	// +optional
	Recipients []string `json:"recipients,omitempty"`
	// SigningKeySecretRef holds an Ed25519 private key (PEM, PKCS #8) that signs the manifests of the sets.
	// +optional
	SigningKeySecretRef *SecretKeyRef `json:"signingKeySecretRef,omitempty"`
}

// BackupScrub says when what is kept is read again.
type BackupScrub struct {
	// Schedule of the scrub. Absent: every day at 05:00.
	// +optional
	Schedule CronSchedule `json:"schedule,omitempty"`
}

// BackupDrill says when and with what the newest set is restored for trial.
type BackupDrill struct {
	// Schedule of the drill. Absent: Sundays at 04:00.
	// +optional
	Schedule CronSchedule `json:"schedule,omitempty"`
	// Image of the drill. Absent: backup.image, or the platform's.
	// +optional
	Image ImageReference `json:"image,omitempty"`
	// DatabaseSecretRef holds the URL of an empty database to restore into. Absent: the drill's pod runs a PostgreSQL 15 of its
	// own, which is gone with it; sets of a newer PostgreSQL need a database of theirs.
	// +optional
	DatabaseSecretRef *SecretKeyRef `json:"databaseSecretRef,omitempty"`
	// IdentitySecretRef holds an identity of age (AGE-SECRET-KEY-1…) that can read the sets. Only the drill's pod has it.
	// +optional
	IdentitySecretRef *SecretKeyRef `json:"identitySecretRef,omitempty"`
}

// BackupStatus is what is known of the platform's backups.
type BackupStatus struct {
	// LastSet is the newest verified set of all destinations.
	// +optional
	LastSet string `json:"lastSet,omitempty"`
	// LastSetTime is the moment that it is of.
	// +optional
	LastSetTime *metav1.Time `json:"lastSetTime,omitempty"`
	// LastVerifiedTime is when it was found right: its dump and what came with it were read; of the rest, which scrubs read again, that it is there.
	// +optional
	LastVerifiedTime *metav1.Time `json:"lastVerifiedTime,omitempty"`
	// OldestRecoverableTime is the moment of the oldest verified set.
	// +optional
	OldestRecoverableTime *metav1.Time `json:"oldestRecoverableTime,omitempty"`
	// DueTime is when the next verified set is to be there at the latest: by the objective, or else when two of the schedule are missing.
	// +optional
	DueTime *metav1.Time `json:"dueTime,omitempty"`
	// LastProvenTime is when a drill last succeeded, and RestoreDuration how long a restore takes by it: what was measured until the platform
	// served, and what copying all bytes into an empty bucket adds at the rate at which the drill read some.
	// +optional
	LastProvenTime *metav1.Time `json:"lastProvenTime,omitempty"`
	// +optional
	RestoreDuration *metav1.Duration `json:"restoreDuration,omitempty"`
	// Destinations has what is known of each.
	// +listType=map
	// +listMapKey=name
	// +optional
	Destinations []DestinationStatus `json:"destinations,omitempty"`
	// Now is the value of the annotation assetplatform.io/backup-now that was acted on last.
	// +optional
	Now string `json:"now,omitempty"`
}

// DestinationStatus is what is known of the sets in one destination.
type DestinationStatus struct {
	Name string `json:"name"`
	// Place is the endpoint, bucket and prefix of which this is known.
	// +optional
	Place string `json:"place,omitempty"`
	// LastSet is the newest verified set, LastSetTime the moment that it is of, LastVerifiedTime when it was found right.
	// +optional
	LastSet string `json:"lastSet,omitempty"`
	// +optional
	LastSetTime *metav1.Time `json:"lastSetTime,omitempty"`
	// +optional
	LastVerifiedTime *metav1.Time `json:"lastVerifiedTime,omitempty"`
	// OldestRecoverableTime is the moment of the oldest verified set.
	// +optional
	OldestRecoverableTime *metav1.Time `json:"oldestRecoverableTime,omitempty"`
	// LastBackup, LastScrub, LastPrune and LastDrill are the newest runs that ended.
	// +optional
	LastBackup *BackupRun `json:"lastBackup,omitempty"`
	// +optional
	LastScrub *BackupRun `json:"lastScrub,omitempty"`
	// +optional
	LastPrune *BackupRun `json:"lastPrune,omitempty"`
	// +optional
	LastDrill *BackupRun `json:"lastDrill,omitempty"`
	// LastProven is the newest drill that succeeded.
	// +optional
	LastProven *BackupRun `json:"lastProven,omitempty"`
}

// BackupRun is one that ended.
type BackupRun struct {
	// Job that it was.
	Job string `json:"job"`
	// Time when it ended.
	Time metav1.Time `json:"time"`
	// Duration from its start.
	// +optional
	Duration metav1.Duration `json:"duration,omitzero"`
	// Succeeded says whether it did what it should.
	Succeeded bool `json:"succeeded"`
	// Code, Message and Remedy are its own words about what went wrong, or about why nothing was removed.
	// +optional
	Code string `json:"code,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
	// +optional
	Remedy string `json:"remedy,omitempty"`
}
