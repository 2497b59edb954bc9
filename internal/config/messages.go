package config

import (
	"encoding/json"
	"os"
	"strings"
	"time"
)

// TerminationPath is where a short-lived pod leaves its Termination; it is the
// kubelet's default terminationMessagePath.
const TerminationPath = "/dev/termination-log"

// terminationLimit is the kubelet's limit of a container's termination message in bytes
// (kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure).
const terminationLimit = 4096

// Code says why a short-lived pod ended; the operator turns it into a condition's reason.
type Code string

// The codes of Termination. They are stable: operators and people branch on them.
const (
	CodeOK                  Code = "OK"
	CodeConfigInvalid       Code = "CONFIG_INVALID"
	CodeDatabaseUnreachable Code = "DATABASE_UNREACHABLE"  // refused, timed out, or host unknown
	CodeDatabaseAuth        Code = "DATABASE_AUTH_FAILED"  // wrong user or password
	CodeDatabaseMissing     Code = "DATABASE_NOT_FOUND"    // the server answers, the named database is not there
	CodeDatabaseForeign     Code = "DATABASE_NOT_OURS"     // not empty and without our marker
	CodePermissionDenied    Code = "PERMISSION_DENIED"     // the role lacks a right that a migration needs
	CodeSchemaTooNew        Code = "SCHEMA_TOO_NEW"        // the database is ahead of what this image can serve
	CodeMigrationFailed     Code = "MIGRATION_FAILED"      // a statement failed for any other reason
	CodeMigrationInProgress Code = "MIGRATION_IN_PROGRESS" // another migration held the lock beyond the deadline

	CodePgDumpMissing          Code = "PG_DUMP_MISSING"         // the image has no client programs of PostgreSQL
	CodePgDumpTooOld           Code = "PG_DUMP_TOO_OLD"         // they are older than the server
	CodeDestinationUnavailable Code = "DESTINATION_UNAVAILABLE" // the backups' bucket does not answer, or refuses
	CodeBucketUnavailable      Code = "BUCKET_UNAVAILABLE"      // that of the assets does not
	CodeBucketInUse            Code = "BUCKET_IN_USE"           // a restore was given that of a platform that serves
	CodeSourceEmptied          Code = "SOURCE_EMPTIED"          // the database has nothing, and had something at the last backup
	CodeSourceDamaged          Code = "SOURCE_DAMAGED"          // the bucket lacks bytes to which rows refer
	CodeSetDamaged             Code = "SET_DAMAGED"             // a set is not what its manifest says
	CodeNoSet                  Code = "NO_SET"                  // there is no such set, or none that is verified
	CodeTargetNotEmpty         Code = "TARGET_NOT_EMPTY"        // a restore would overwrite something, and was not told to
	CodeBackupFailed           Code = "BACKUP_FAILED"           // any other reason

	// Of a drill: what of the set it has shown to be wrong.
	CodeDrillDumpUnreadable Code = "DRILL_DUMP_UNREADABLE" // the dump is not there, not what the manifest says, or no whole dump
	CodeDrillRestoreFailed  Code = "DRILL_RESTORE_FAILED"  // the database refused what is in the dump
	CodeDrillSchema         Code = "DRILL_SCHEMA"          // another schema than the manifest's, or one that this binary cannot serve
	CodeDrillRows           Code = "DRILL_ROWS"            // other counts of rows than the manifest's
	CodeDrillReferences     Code = "DRILL_REFERENCES"      // foreign keys that may not hold
	CodeDrillBlobMissing    Code = "DRILL_BLOB_MISSING"    // rows refer to bytes that the set does not have
	CodeDrillBlobDamaged    Code = "DRILL_BLOB_DAMAGED"    // it has others
	CodeDrillServeFailed    Code = "DRILL_SERVE_FAILED"    // the server does not start, or does not serve what was restored

	CodeDrillPostgresMissing Code = "DRILL_POSTGRES_MISSING" // there are no server programs of PostgreSQL, or only older ones than the set's
	CodeDrillDatabaseLive    Code = "DRILL_DATABASE_LIVE"    // the database of the drill is the platform's
)

// ExitFinal is the exit status of a short-lived pod whose failure is Final.
const ExitFinal = 3

// Final says whether another try would end the same: nothing but time may have passed until then.
func (c Code) Final() bool {
	switch c {
	case CodeConfigInvalid, CodeDatabaseForeign, CodeSchemaTooNew, CodePgDumpMissing, CodePgDumpTooOld, CodeBucketInUse, CodeSourceEmptied, CodeSourceDamaged, CodeSetDamaged, CodeNoSet, CodeTargetNotEmpty,
		CodeDrillDumpUnreadable, CodeDrillRestoreFailed, CodeDrillSchema, CodeDrillRows, CodeDrillReferences, CodeDrillBlobMissing, CodeDrillBlobDamaged, CodeDrillServeFailed,
		CodeDrillPostgresMissing, CodeDrillDatabaseLive:
		return true
	}
	return false
}

// Termination is the message that a short-lived pod (migrate, backup,
// drill, restore) leaves for the operator, which has no database or bucket client of its own.
type Termination struct {
	Code    Code            `json:"code"`
	Message string          `json:"message"`          // what happened, one sentence, without secrets
	Remedy  string          `json:"remedy,omitempty"` // what to do about it, one sentence
	Result  json.RawMessage `json:"result,omitempty"` // SchemaRange of a migration that succeeded, BackupResult of `assetplatform backup`
}

// BackupResult is the Result of the pods that make backups, look after them, try them, and bring them back; each tells its part of it.
type BackupResult struct {
	Set          string    `json:"set,omitempty"`         // id of the set that was made, tried or restored
	SnapshotTime time.Time `json:"snapshotTime,omitzero"` // of that set
	VerifiedTime time.Time `json:"verifiedTime,omitzero"` // zero: it is not verified
	Previous     string    `json:"previous,omitempty"`    // id of the newest verified set that was there when that one was begun
	Blobs        int64     `json:"blobs,omitempty"`
	Bytes        int64     `json:"bytes,omitempty"` // of the blobs

	SafetySet string `json:"safetySet,omitempty"` // id of the set of what a restore has overwritten

	Sets       int       `json:"sets,omitempty"`      // verified sets in the destination, after a prune
	OldestTime time.Time `json:"oldestTime,omitzero"` // snapshot of the oldest verified set
	Held       string    `json:"held,omitempty"`      // why nothing was removed

	Damaged     int64    `json:"damaged,omitempty"`     // objects that a scrub found damaged
	DamagedSets []string `json:"damagedSets,omitempty"` // sets that need them, the newest ten

	Seconds float64 `json:"seconds,omitempty"` // of a drill that succeeded: a whole restore, up to a platform that serves
}

// SchemaRange is what `migrate --check` prints and what a successful migration reports.
type SchemaRange struct {
	Schema         int64 `json:"schema"`         // the schema's version after migration
	CompatibleFrom int64 `json:"compatibleFrom"` // the lowest image schema that can still serve that database
}

// WriteTermination leaves t at path, within the kubelet's size limit.
// A path that does not exist is no error: outside of a pod nobody reads it.
func WriteTermination(path string, t Termination) error {
	body, err := json.Marshal(t)
	for err == nil && len(body) > terminationLimit && t.Message != "" {
		// JSON escapes make lengths hard to predict: cut by quarters until it fits.
		t.Message = strings.ToValidUTF8(t.Message[:len(t.Message)*3/4], "")
		body, err = json.Marshal(t)
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	return os.WriteFile(path, body, 0o600)
}

// ReadTermination parses a container's termination message; ok is false for
// anything that is not one of ours.
func ReadTermination(message string) (t Termination, ok bool) {
	if err := json.Unmarshal([]byte(message), &t); err != nil || t.Code == "" {
		return Termination{}, false
	}
	return t, true
}

// ForeignBucket is in the reason of the storage check if another platform has marked the
// bucket, under this prefix, as its own; the operator knows it by these words.
const ForeignBucket = "holds the bytes of another platform"

// States of Readiness.
const (
	StatusOK          = "ok"
	StatusDegraded    = "degraded"    // this pod serves, a shared dependency is away
	StatusUnavailable = "unavailable" // this pod itself cannot serve: starting, draining, a schema that it does not fit, a bucket that has never let it in
	CheckOK           = "ok"
	CheckDown         = "down"
	CheckUnknown      = "unknown" // not looked at yet: the pod is starting
)

// Readiness is the body of PathReady. The operator reads it from each server pod.
type Readiness struct {
	Status string `json:"status"`
	Checks Checks `json:"checks"`
}

// Checks has the state of each dependency as this pod last saw it.
type Checks struct {
	Database Check `json:"database"`
	Schema   Check `json:"schema"`
	Storage  Check `json:"storage"`
	Cache    Check `json:"cache"`
}

// Check is one dependency's state. Reason is empty unless Status is CheckDown;
// then one sentence without secrets that names the host, bucket or right concerned.
type Check struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}
