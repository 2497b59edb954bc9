package v1alpha1

// Condition types of an AssetPlatform. Each carries the observedGeneration it speaks of.
const (
	// ConditionReady is true when everything that the spec of this generation asks for is serving.
	ConditionReady = "Ready"
	// ConditionReconciling is true while work goes on (kstatus).
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when only an edit of the object can help (kstatus).
	ConditionStalled = "Stalled"
	// ConditionSecretsResolved is true when every Secret and key that the spec names is there.
	ConditionSecretsResolved = "SecretsResolved"
	// ConditionDatabaseReady, ConditionCacheReady and ConditionStorageReady are true when the dependency
	// answers, as the server pods themselves report.
	ConditionDatabaseReady = "DatabaseReady"
	ConditionCacheReady    = "CacheReady"
	ConditionStorageReady  = "StorageReady"
	// ConditionMigrated is true when the schema is at the version that the spec's image needs.
	ConditionMigrated = "Migrated"
	// ConditionAvailable is true when the server's Deployment has rolled out fully.
	ConditionAvailable = "Available"
	// ConditionRoutesReady is true when the API answers through the Ingress and the HTTPRoute that the spec asks for. Where it
	// asks for none, there is no such condition; the same holds of the next one.
	ConditionRoutesReady = "RoutesReady"
	// ConditionCertificateReady is true when the certificate for the host is there, fits and is in force.
	ConditionCertificateReady = "CertificateReady"
	// ConditionMonitoringReady is true when the ServiceMonitor and the PrometheusRule that the spec asks for are there. It does
	// not hurt Ready.
	ConditionMonitoringReady = "MonitoringReady"
	// ConditionAutoscalingReady is true when the autoscaler that the spec asks for can scale. It does not hurt Ready.
	ConditionAutoscalingReady = "AutoscalingReady"
	// ConditionBackupHealthy is true when the newest set of every destination is verified, and nothing is wrong with what is kept.
	// It, and the next two, do not hurt Ready.
	ConditionBackupHealthy = "BackupHealthy"
	// ConditionWithinRPO is true while the newest verified set is younger than spec.backup.objectives.rpo; without that there is none.
	ConditionWithinRPO = "WithinRPO"
	// ConditionRestoreProven is true when the last drill succeeded, and the next is not overdue.
	ConditionRestoreProven = "RestoreProven"
	// ConditionUpdateAvailable is true when this operator offers another image than a pinned one, of the server or of a managed part.
	ConditionUpdateAvailable = "UpdateAvailable"
)

// ConditionComplete of an AssetBackup or AssetRestore is true when it has done its work, and that was verified.
const ConditionComplete = "Complete"

// Reasons of conditions.
const (
	ReasonReady        = "Ready"
	ReasonProgressing  = "Progressing"
	ReasonSettled      = "Settled"
	ReasonNotStalled   = "NotStalled"
	ReasonNotReported  = "NotReported" // no server pod has answered yet
	ReasonResolved     = "Resolved"
	ReasonAnswers      = "Answers"
	ReasonMigrated     = "Migrated"
	ReasonRolledOut    = "RolledOut"
	ReasonUpToDate     = "UpToDate"
	ReasonNewerImage   = "NewerImage"
	ReasonInvalidSpec  = "InvalidSpec"
	ReasonNameConflict = "NameConflict" // an object of a child's name belongs to somebody else
	ReasonApplyFailed  = "ApplyFailed"  // the apiserver refused a child
	// ReasonFieldConflict says that somebody else keeps changing a field of a child.
	ReasonFieldConflict = "FieldConflict"

	ReasonSecretNotFound    = "SecretNotFound"
	ReasonSecretKeyMissing  = "SecretKeyMissing"
	ReasonSecretInvalid     = "SecretInvalid"
	ReasonSecretLost        = "SecretLost" // a volume is there, the Secret that opens it is not
	ReasonWaitingForManaged = "WaitingForManaged"

	ReasonDatabaseDown = "DatabaseDown"
	ReasonCacheDown    = "CacheDown"
	ReasonStorageDown  = "StorageDown"
	ReasonBucketTaken  = "BucketTaken" // it holds the bytes of another platform

	ReasonMigrationWaiting = "MigrationWaiting"
	ReasonMigrationRunning = "MigrationRunning"
	ReasonMigrationFailed  = "MigrationFailed"

	ReasonRollingOut         = "RollingOut"
	ReasonScaledToZero       = "ScaledToZero"
	ReasonHibernating        = "Hibernating"
	ReasonSuspended          = "Suspended"
	ReasonNotCreated         = "NotCreated"
	ReasonImagePull          = "ImagePullFailed"
	ReasonCrashLoop          = "CrashLoop"
	ReasonOutOfMemory        = "OutOfMemory"
	ReasonUnschedulable      = "Unschedulable"
	ReasonContainerConfig    = "ContainerConfig"
	ReasonPodsRefused        = "PodsRefused" // quota, an admission webhook or a security policy
	ReasonVolumeNotBound     = "VolumeNotBound"
	ReasonVolumeLeaving      = "VolumeLeaving" // its claim is being deleted while a pod still uses it
	ReasonNotReady           = "NotReady"
	ReasonUpdateNotCompleted = "UpdateNotCompleted"

	ReasonCRDNotInstalled  = "CRDNotInstalled" // the cluster lacks a kind that the spec needs
	ReasonNoController     = "NoController"    // nobody serves the Ingress
	ReasonGatewayNotFound  = "GatewayNotFound"
	ReasonRouteRefused     = "RouteRefused"     // by the Gateway
	ReasonRouteSilent      = "RouteSilent"      // the API does not answer through it
	ReasonIssuerNotReady   = "IssuerNotReady"   // or not there
	ReasonNotIssued        = "NotIssued"        // the certificate
	ReasonCertificateUnfit = "CertificateUnfit" // for the host, or expired
	ReasonIssued           = "Issued"
	ReasonApplied          = "Applied"

	ReasonNoBackup        = "NoBackup"        // the spec asks for none
	ReasonBackupWaiting   = "BackupWaiting"   // for the first set
	ReasonBackupVerified  = "BackupVerified"  // all is well
	ReasonSetDamaged      = "SetDamaged"      // a scrub has found damage
	ReasonInvalidSchedule = "InvalidSchedule" // what cron cannot read
	ReasonWithinObjective = "WithinObjective"
	ReasonSetLate         = "SetLate"           // it should be there by now
	ReasonTooOld          = "TooOld"            // the newest verified set
	ReasonScheduleTooRare = "ScheduleTooRare"   // for the objective
	ReasonDumpTooSlow     = "DumpTooSlow"       // a set takes too long for the objective
	ReasonNoDrill         = "NoDrill"           // the spec asks for none
	ReasonDrillWaiting    = "DrillWaiting"      // for the first one
	ReasonDrillOverdue    = "DrillOverdue"      // should have succeeded by now
	ReasonRestoreTooSlow  = "RestoreTooSlow"    // for the objective
	ReasonRestoreSkipped  = "RestoreSkipped"    // of an event: spec.restoreFrom met data
	ReasonProven          = "Proven"            // a drill has restored a set
	ReasonHistoryLost     = "BackupHistoryLost" // of an event: a destination has nothing of what it had

	ReasonRestoring          = "Restoring"
	ReasonRestored           = "Restored"
	ReasonPlatformNotFound   = "PlatformNotFound"
	ReasonUnknownDestination = "UnknownDestination"

	ReasonScales      = "Scales"
	ReasonCannotScale = "CannotScale"
)

// Annotations that the operator reads or writes; anything else under its domain is a mistake.
const (
	// AnnotationAdopt on a child's namesake that is not ours, "true": the operator may take it over.
	AnnotationAdopt = "assetplatform.io/adopt"
	// AnnotationRetainedFor on data that outlives its platform: the namespace/name that it belongs to.
	AnnotationRetainedFor = "assetplatform.io/retained-for"
	// AnnotationImage on a volume claim: the image that its part was last ready with, which can read it.
	AnnotationImage = "assetplatform.io/image"
	// AnnotationRetry on an AssetPlatform, any new value: try the failed migration again.
	AnnotationRetry = "assetplatform.io/retry"
	// AnnotationBackupNow on an AssetPlatform, any new value: make a set in each destination, as an AssetBackup does in one.
	AnnotationBackupNow = "assetplatform.io/backup-now"
	// AnnotationAllowCollection on an AssetPlatform, "<kept>/<removed>": a collection of blobs of just these counts may run although
	// it removes more than it keeps.
	AnnotationAllowCollection = "assetplatform.io/allow-collection"
)
