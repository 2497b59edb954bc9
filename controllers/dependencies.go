package controllers

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// databaseVerdict also hears the migration, which speaks to the database before any server runs.
func databaseVerdict(ap *assetv1.AssetPlatform, o *observed) verdict {
	if m := ap.Status.Migration; m != nil && m.Phase == assetv1.MigrationFailed {
		switch config.Code(m.Code) {
		case config.CodeDatabaseUnreachable, config.CodeDatabaseAuth, config.CodeDatabaseMissing:
			message, remedy := migrationSaid(ap, m)
			return no(&finding{reason: assetv1.ReasonDatabaseDown, where: "Database", problem: message, remedy: remedy})
		}
	}
	return dependencyVerdict(ap, o, manifests.ComponentPostgres, assetv1.ReasonDatabaseDown, databaseText(ap), func(c config.Checks) config.Check { return c.Database })
}

// dependencyText says of a dependency whose it is and where its address is set.
type dependencyText struct{ name, remedy string }

func databaseText(ap *assetv1.AssetPlatform) dependencyText {
	if manifests.ManagedDatabase(ap) != nil {
		return dependencyText{"The managed database", "look at StatefulSet " + manifests.PostgresName(ap)}
	}
	ref := ap.Spec.Database.SecretRef
	return dependencyText{"The database", fmt.Sprintf("check the server, or the URL in Secret %s, key %s", ref.Name, ref.Key)}
}

func cacheText(ap *assetv1.AssetPlatform) dependencyText {
	if manifests.ManagedCache(ap) != nil {
		return dependencyText{"The managed cache", "look at StatefulSet " + manifests.RedisName(ap)}
	}
	ref := ap.Spec.Cache.SecretRef
	return dependencyText{"The cache", fmt.Sprintf("check the server, or the URL in Secret %s, key %s", ref.Name, ref.Key)}
}

func storageText(ap *assetv1.AssetPlatform) dependencyText {
	if manifests.ManagedStorage(ap) != nil {
		return dependencyText{"The managed bucket", "look at StatefulSet " + manifests.S3Name(ap)}
	}
	remedy := "check spec.storage and the rights of the pods' own identity"
	if ref := ap.Spec.Storage.CredentialsSecretRef; ref != nil {
		remedy = "check spec.storage and the keys in Secret " + ref.Name
	}
	return dependencyText{"The bucket " + ap.Spec.Storage.Bucket, remedy}
}

// dependencyVerdict is what the server pods themselves report of a dependency.
func dependencyVerdict(ap *assetv1.AssetPlatform, o *observed, part manifests.Component, reason string, text dependencyText, of func(config.Checks) config.Check) verdict {
	if ap.Spec.Hibernate {
		return unknown("Nothing runs that could tell: the platform hibernates")
	}
	former, fresh := asksFormer(ap, o, part), false
	if i := slices.IndexFunc(o.managed, func(m managedState) bool { return m.component == part }); i >= 0 {
		if v := managedVerdict(o.managed[i], o, text); v != nil {
			return *v
		}
		fresh = o.managed[i].fresh && !former
	}
	var reasons []string
	reported := 0
	for _, r := range o.readiness {
		switch c := of(r.Checks); c.Status {
		case config.CheckDown:
			reasons = append(reasons, c.Reason)
			reported++
		case config.CheckOK:
			reported++
		}
	}
	if len(reasons) > 0 {
		slices.Sort(reasons)
		if part == manifests.ComponentS3 && !former && strings.Contains(reasons[0], config.ForeignBucket) {
			return no(bucketTaken(ap, text))
		}
		if fresh {
			return waiting(assetv1.ReasonWaitingForManaged, text.name+" has just started, and not every server pod has found it yet")
		}
		f := &finding{
			reason: reason, where: text.name, remedy: text.remedy,
			problem: fmt.Sprintf("%s does not answer %d of %d server pods (%s)", text.name, len(reasons), reported, own(reasons[0])),
		}
		if former {
			f.former = true
			f.remedy = "these pods still have the settings from before the last change, and end when it can be rolled out: see the condition Migrated"
		}
		return no(f)
	}
	if reported == 0 {
		return unknown(unreported(o))
	}
	if former {
		return unknown(text.name + " was not asked yet: the pods that serve still have the settings from before the last change")
	}
	return yes(assetv1.ReasonAnswers, text.name+" answers the server pods")
}

// asksFormer says whether the pods that serve ask another database, or bucket, than the spec names now.
func asksFormer(ap *assetv1.AssetPlatform, o *observed, part manifests.Component) bool {
	held := o.facts.Held
	return held != nil && (part == manifests.ComponentPostgres || part == manifests.ComponentS3 && held.ConfigMap != manifests.ServerConfigMap(ap).Name)
}

// bucketTaken is the finding that another platform's id is in the bucket; for a managed one, that is the platform whose
// database was there before.
func bucketTaken(ap *assetv1.AssetPlatform, text dependencyText) *finding {
	f := &finding{
		reason: assetv1.ReasonBucketTaken, where: text.name, problem: text.name + " " + config.ForeignBucket,
		remedy: "name another one in spec.storage.bucket, or a prefix of its own in spec.storage.prefix; or, if that platform's database was given up, delete the object platform-id there",
	}
	if manifests.ManagedStorage(ap) != nil {
		f.remedy = fmt.Sprintf("if its database was given up, hand the bucket over: kubectl -n %s exec %s-0 -- find /data/buckets -maxdepth 2 -name platform-id -delete", ap.Namespace, manifests.S3Name(ap))
	}
	return f
}

// volumeLeaving warns while there is still time: a claim that is being deleted goes, with
// its data, when the last pod that uses it ends.
func volumeLeaving(claim *corev1.PersistentVolumeClaim, text dependencyText) *finding {
	return &finding{
		reason: assetv1.ReasonVolumeLeaving, where: "PersistentVolumeClaim " + claim.Name,
		problem: text.name + " loses its volume with the next restart of its pod: PersistentVolumeClaim " + claim.Name + " is being deleted",
		remedy:  "copy the data elsewhere now; after the restart an empty volume takes its place",
	}
}

// unreported says why nothing is known of the dependencies.
func unreported(o *observed) string {
	if o.server != nil && o.server.Status.AvailableReplicas > 0 {
		return fmt.Sprintf("No server pod has told the operator how it is: if that lasts, let the operator's pods reach port %d of the server's", config.ServerPort)
	}
	return "No server pod has reported yet"
}

// managedVerdict says what is wrong with a managed part itself; nil where its users are to be asked.
func managedVerdict(m managedState, o *observed, text dependencyText) *verdict {
	var v verdict
	switch leaving := m.claim != nil && m.claim.DeletionTimestamp != nil; {
	case leaving && m.set == nil:
		v = waiting(assetv1.ReasonWaitingForManaged, text.name+" starts when its former volume, which is being deleted, is gone; what still uses it, kubectl describe pvc "+m.claim.Name+" says")
	case leaving && !m.unbound():
		v = no(volumeLeaving(m.claim, text))
	case !m.ready() && (!m.refused || m.set.Status.ReadyReplicas != 1):
		v = startingVerdict(m, o, text)
	default:
		return nil
	}
	return &v
}

// startingVerdict says why a managed part is not ready.
func startingVerdict(m managedState, o *observed, text dependencyText) verdict {
	if m.claimRefusal != "" {
		return no(volumeRefused(m.claim, text, managedField(m.component), m.claimRefusal))
	}
	if m.unbound() && ptr.Deref(m.claim.Spec.StorageClassName, "") == "" {
		f := &finding{
			reason: assetv1.ReasonVolumeNotBound, where: "PersistentVolumeClaim " + m.claim.Name,
			problem: text.name + " gets no volume: its claim has no storage class, and the cluster has no default one",
			remedy:  fmt.Sprintf("set storageClassName in %s, or make a class the cluster's default", managedField(m.component)),
		}
		if m.claim.Spec.StorageClassName != nil {
			f.problem = text.name + ` gets no volume: its storage class is "", and no PersistentVolume is there that fits`
			f.remedy = fmt.Sprintf("name a class in %s, or make such a volume", managedField(m.component))
		}
		return no(f)
	}
	for _, f := range o.podFindings {
		if m.set != nil && strings.HasPrefix(f.where, "Pod "+m.set.Name+"-") {
			return no(f)
		}
	}
	if m.podRefusal != "" {
		return no(podsRefused("StatefulSet "+m.set.Name, strings.ToLower(text.name[:1])+text.name[1:], m.podRefusal))
	}
	return waiting(assetv1.ReasonWaitingForManaged, text.name+" is starting")
}

// managedField is the field of the spec that describes a managed part.
func managedField(c manifests.Component) string {
	return map[manifests.Component]string{
		manifests.ComponentPostgres: "spec.database.managed", manifests.ComponentRedis: "spec.cache.managed", manifests.ComponentS3: "spec.storage.managed",
	}[c]
}

// managedNoun is what a managed part is called in a sentence.
func managedNoun(c manifests.Component) string {
	return map[manifests.Component]string{
		manifests.ComponentPostgres: "database", manifests.ComponentRedis: "cache", manifests.ComponentS3: "bucket",
	}[c]
}
