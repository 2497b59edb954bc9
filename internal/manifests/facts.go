package manifests

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// Images are the operator's defaults for what a spec does not name.
type Images struct {
	Server   string // the operator's own image
	Postgres string
	Redis    string
	S3       string
}

// DefaultImages are used where the operator's flags name no others.
var DefaultImages = Images{
	Server:   "ghcr.io/assetplatform/assetplatform:dev",
	Postgres: "ghcr.io/assetplatform/postgres:15",
	Redis:    "ghcr.io/assetplatform/redis:7",
	S3:       "ghcr.io/assetplatform/s3:1",
}

// Of is the image of a component.
func (i Images) Of(c Component) string {
	return map[Component]string{ComponentServer: i.Server, ComponentPostgres: i.Postgres, ComponentRedis: i.Redis, ComponentS3: i.S3}[c]
}

// TargetImages are the images that the spec asks for. What it names no image for stays on
// the one that it was last ready with, whatever the operator is.
func TargetImages(ap *assetv1.AssetPlatform, operator Images) Images {
	part := func(spec *assetv1.ManagedVolumeSpec, c Component) string {
		if spec == nil {
			return ""
		}
		return cmp.Or(spec.Image, PinnedImage(ap, c), operator.Of(c))
	}
	return Images{
		Server:   cmp.Or(ap.Spec.Image, ap.Status.Image, operator.Server),
		Postgres: part(ManagedDatabase(ap), ComponentPostgres),
		Redis:    part(ManagedCache(ap), ComponentRedis),
		S3:       part(ManagedStorage(ap), ComponentS3),
	}
}

// PinnedImage is the image that a managed part was last ready with; empty if it never was.
func PinnedImage(ap *assetv1.AssetPlatform, c Component) string {
	for _, part := range ap.Status.Components {
		if part.Name == string(c) {
			return part.Image
		}
	}
	return ""
}

// Facts are what Build needs to know beside the spec; whoever calls it has looked them up.
type Facts struct {
	// Images of the managed parts that the spec asks for: see TargetImages.
	Images      Images
	Credentials Credentials
	// TargetImage is the server's image that the spec asks for: its own, the pinned one, or the operator's.
	TargetImage string
	// Claims are the volume claims of managed parts that have their volume, by name.
	Claims map[string]*corev1.PersistentVolumeClaim
	// DatabaseVolume is the UID of a managed database's volume claim: a new volume is a new database.
	DatabaseVolume string
	// ServingImage is the image that may serve: TargetImage once it is migrated, before that the
	// one that was, and empty while none may.
	ServingImage string
	// ServerReplicas is the number of replicas that the server's Deployment asks for now; 0 if it is not there.
	ServerReplicas int32
	// InUse are the upstreams of the server's pods, each once; a policy must not cut those that still serve from theirs.
	InUse []Upstreams
	// PlainPods says that pods serve which do not end TLS.
	PlainPods bool
	// Held is what serves while no image may serve what the spec asks for; nil if nothing does.
	Held *assetv1.MigratedStatus
	// Installed are the optional kinds that the cluster has.
	Installed map[schema.GroupVersionKind]bool
	// IngressController is the controller of the Ingress's class; empty if it is not known.
	IngressController string
	// Left is the data that IsLeft, as it is in the cluster.
	Left []client.Object
	// Restore is the restore that is under way; nil if none is.
	Restore *RestoreFacts
	// Restoring says that nothing may serve: a restore is under way, or is to come before anything else.
	Restoring bool
	// Backup has what backups need beside Credentials.
	Backup BackupFacts
	// Attempt is the number of the current migration attempt; 0 while there is none.
	Attempt int64
}

// NothingServes says whether the API is to have no pods: in hibernation, and while a restore is under way.
func (f Facts) NothingServes(ap *assetv1.AssetPlatform) bool { return ap.Spec.Hibernate || f.Restoring }

// MigrationTarget identifies what a migration is for: an image and a database. A
// change of password is no new target, or a key rotation would migrate again.
func (f Facts) MigrationTarget() string { return hash(f.TargetImage, f.DatabaseID()) }

// DatabaseID identifies the database by host, port and name, a managed one by its volume
// as well; behind a pooler, by those of the pooler, too: which database that leads to
// cannot be known from here.
func (f Facts) DatabaseID() string {
	id := databaseAddress(f.Credentials.DatabaseURL)
	if direct := f.Credentials.DatabaseDirectURL; direct != "" {
		id = append(databaseAddress(direct), id...)
	}
	if f.DatabaseVolume != "" {
		id = append(id, f.DatabaseVolume)
	}
	return hash(id...)
}

// databaseAddress is host, port and name of a database.
func databaseAddress(text string) []any {
	u, err := url.Parse(text)
	if err != nil {
		return []any{"unparsed", text} // the credentials were refused already
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	return []any{strings.ToLower(u.Hostname()), port, strings.TrimPrefix(u.Path, "/")}
}

// serviceHost is host:port of a Service of the platform's namespace, as its pods resolve it.
func serviceHost(ap *assetv1.AssetPlatform, service string, port int32) string {
	return net.JoinHostPort(fmt.Sprintf("%s.%s.svc", service, ap.Namespace), fmt.Sprint(port))
}
