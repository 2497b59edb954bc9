// Package config is the contract between the pods that the operator writes and
// the processes that run in them: every environment variable, port, path,
// subcommand name and message format, spelled once. The operator half writes
// these values into pods (internal/manifests), cmd reads them back and hands
// each package its own options. It must import nothing but the standard library.
package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Subcommand names of the one binary; also the first argument of each container.
const (
	CommandOperator = "operator"
	CommandServer   = "server"
	CommandMigrate  = "migrate"
	CommandPlan     = "plan"
	CommandUser     = "user"
	CommandBackup   = "backup"
)

// Ports and paths on which server pods answer.
const (
	ServerPort  = 3000
	TLSPort     = 3443
	MetricsPort = 9090

	PathHealth  = "/api/health" // 200 while the process lives; touches no dependency
	PathReady   = "/api/ready"  // Readiness as JSON; 503 while this pod cannot serve
	PathMetrics = "/metrics"    // Prometheus text format, on MetricsPort
)

// TLSDirectory is where server pods find their key pair, as tls.crt and tls.key.
const TLSDirectory = "/etc/assetplatform/tls"

// Var is one environment variable of the contract.
type Var struct {
	Name    string
	Default string // used when the variable is absent or empty
	Doc     string // one or two sentences: meaning, unit, accepted form
	// Required variables have no default; loading fails without them.
	Required bool
	// Secret variables are only ever set from a Secret's key, never as a literal.
	Secret bool
}

// The variables of the contract.
var (
	Port           = Var{Name: "PORT", Default: strconv.Itoa(ServerPort), Doc: "TCP port of the API."}
	MetricsPortVar = Var{Name: "METRICS_PORT", Default: strconv.Itoa(MetricsPort), Doc: "TCP port of /metrics."}
	TLSPortVar     = Var{Name: "TLS_PORT", Default: strconv.Itoa(TLSPort), Doc: "TCP port of the API by TLS."}
	TLSCertFile    = Var{Name: "TLS_CERT_FILE", Doc: "PEM file with the certificate chain; it is read again when it changes. Empty together with TLS_KEY_FILE: no TLS."}
	TLSKeyFile     = Var{Name: "TLS_KEY_FILE", Doc: "PEM file with the certificate's key."}
	LogLevel       = Var{Name: "LOG_LEVEL", Default: "info", Doc: "Least severe level that is logged: debug, info, warn or error."}
	DrainDelay     = Var{Name: "DRAIN_DELAY", Default: "5s", Doc: "How long a server that was told to stop keeps accepting requests while it already says that it is not ready, so that load balancers notice; a Go duration."}

	AllowedOrigins = Var{Name: "ALLOWED_ORIGINS", Doc: "Comma list of browser origins that may call the API (CORS), such as https://yourdomain.com; one * in it stands for any text, as in https://*.yourdomain.com; `*` allows every origin; empty allows none but the API's own."}
	TrustedProxies = Var{Name: "TRUSTED_PROXIES", Doc: "Comma list of CIDRs whose X-Forwarded-For header is believed; empty: none."}

	DatabaseURL       = Var{Name: "DATABASE_URL", Required: true, Secret: true, Doc: "PostgreSQL URL of the asset database, postgres://user:password@host:5432/name."}
	DatabaseDirectURL = Var{Name: "DATABASE_DIRECT_URL", Secret: true, Doc: "PostgreSQL URL that reaches the server past a transaction pooler; `migrate` uses it in place of DATABASE_URL where it is set."}
	RedisURL          = Var{Name: "REDIS_URL", Required: true, Secret: true, Doc: "Redis URL, redis://:password@host:6379/0 (rediss:// for TLS). Redis holds only what may be lost."}

	JWTSecret        = Var{Name: "JWT_SECRET", Required: true, Secret: true, Doc: "Key that signs access tokens (HS256); under 32 bytes a warning is logged."}
	JWTVerifySecrets = Var{Name: "JWT_VERIFY_SECRETS", Secret: true, Doc: "Comma list of further keys whose tokens are accepted, for a rotation without logging anyone out; a key that holds a comma is written in base64, as base64:aGksIHlvdQ==."}

	S3Bucket    = Var{Name: "S3_BUCKET_NAME", Required: true, Doc: "Bucket that holds the asset bytes. It must exist."}
	S3Prefix    = Var{Name: "S3_PREFIX", Doc: "Prefix of every object key, such as studio/; empty: none."}
	S3Region    = Var{Name: "S3_REGION", Default: "us-east-1", Doc: "Region of the bucket."}
	S3Endpoint  = Var{Name: "S3_ENDPOINT", Doc: "URL of an S3-compatible service (addressed path-style); empty: AWS."}
	S3CA        = Var{Name: "S3_CA", Secret: true, Doc: "PEM certificates of authorities that may have signed the certificate of S3_ENDPOINT, beside the system's; empty: the system's alone."}
	S3AccessKey = Var{Name: "S3_ACCESS_KEY", Secret: true, Doc: "Access key id; empty together with S3_SECRET_KEY: the AWS SDK's own chain (IRSA, pod identity)."}
	S3SecretKey = Var{Name: "S3_SECRET_KEY", Secret: true, Doc: "Secret access key."}

	MaxFileSizeImage = Var{Name: "MAX_FILE_SIZE_IMAGE", Default: "10485760", Doc: "Largest image that may be uploaded, bytes."}
	MaxFileSizeAudio = Var{Name: "MAX_FILE_SIZE_AUDIO", Default: "52428800", Doc: "Largest audio file that may be uploaded, bytes."}
	TrashRetention   = Var{Name: "TRASH_RETENTION", Default: "720h", Doc: "How long a deleted asset can be restored before it is purged; a Go duration."}
	AuditRetention   = Var{Name: "AUDIT_RETENTION", Default: "8760h", Doc: "How long the audit keeps an event; a Go duration."}

	RateLimitLoginAccount = Var{Name: "RATE_LIMIT_LOGIN_ACCOUNT", Default: "5", Doc: "Failed logins per account and address in 15 minutes; 0 switches the limit off."}
	RateLimitLoginAddress = Var{Name: "RATE_LIMIT_LOGIN_ADDRESS", Default: "30", Doc: "Failed logins per address in 15 minutes, addresses of private networks excepted (nodes and proxies; 100.64.0.0/10 is one of them); 0 switches the limit off."}
	RateLimitRegister     = Var{Name: "RATE_LIMIT_REGISTER", Default: "20", Doc: "New accounts per address in an hour, addresses of private networks excepted; 0 switches the limit off."}
	RateLimitGeneral      = Var{Name: "RATE_LIMIT_GENERAL", Default: "600", Doc: "Requests per user in a minute, or per address where nobody is logged in (addresses of private networks excepted); downloads, thumbnails and the parts of resumable uploads do not count; 0 switches the limit off."}
	RateLimitUpload       = Var{Name: "RATE_LIMIT_UPLOAD", Default: "1000", Doc: "Uploads per user in an hour; 0 switches the limit off."}
)

// The variables of `assetplatform backup`, which also reads those of the database and of the bucket. They describe the destination: the
// bucket where backups are kept.
var (
	BackupBucket           = Var{Name: "BACKUP_BUCKET_NAME", Required: true, Doc: "Bucket where backups are kept; not the one that holds the assets. It must exist."}
	BackupPrefix           = Var{Name: "BACKUP_PREFIX", Doc: "Prefix of every key there, such as studio/; empty: none."}
	BackupRegion           = Var{Name: "BACKUP_REGION", Default: "us-east-1", Doc: "Region of that bucket."}
	BackupEndpoint         = Var{Name: "BACKUP_ENDPOINT", Doc: "URL of its S3-compatible service; empty: AWS."}
	BackupCA               = Var{Name: "BACKUP_CA", Secret: true, Doc: "PEM certificates of authorities that may have signed the certificate of BACKUP_ENDPOINT, beside the system's."}
	BackupAccessKey        = Var{Name: "BACKUP_ACCESS_KEY", Secret: true, Doc: "Access key id of who writes and reads backups; empty together with BACKUP_SECRET_KEY: the AWS SDK's own chain."}
	BackupSecretKey        = Var{Name: "BACKUP_SECRET_KEY", Secret: true, Doc: "Secret access key."}
	BackupRemoverAccessKey = Var{Name: "BACKUP_REMOVER_ACCESS_KEY", Secret: true, Doc: "Access key id of who removes them; empty together with BACKUP_REMOVER_SECRET_KEY: who writes them."}
	BackupRemoverSecretKey = Var{Name: "BACKUP_REMOVER_SECRET_KEY", Secret: true, Doc: "Secret access key."}

	BackupRecipients = Var{Name: "BACKUP_RECIPIENTS", Doc: "Comma list of age recipients (age1…) who may decrypt the backups; empty: they are not encrypted."}
	BackupIdentity   = Var{Name: "BACKUP_IDENTITY", Secret: true, Doc: "age identity (AGE-SECRET-KEY-1…) with which restore and drill decrypt."}
	BackupSigningKey = Var{Name: "BACKUP_SIGNING_KEY", Secret: true, Doc: "Ed25519 private key (PEM, PKCS #8) that signs the manifests; empty: they are not signed."}
	BackupVerifyKey  = Var{Name: "BACKUP_VERIFY_KEY", Doc: "Ed25519 public key (PEM) that must have signed a manifest that is read; empty: that of BACKUP_SIGNING_KEY."}

	BackupRetentionAll     = Var{Name: "BACKUP_RETENTION_ALL", Default: "48h", Doc: "How long every set stays; a Go duration."}
	BackupRetentionDaily   = Var{Name: "BACKUP_RETENTION_DAILY", Default: "30", Doc: "For how many days one set of each day stays."}
	BackupRetentionMinimum = Var{Name: "BACKUP_RETENTION_MINIMUM", Default: "7", Doc: "How many verified sets stay, whatever their age."}

	BackupScrubRuns = Var{Name: "BACKUP_SCRUB_RUNS", Default: "30", Doc: "In how many runs `scrub` reads everything once; each reads at least 1 GiB."}

	BackupDrillDatabaseURL = Var{Name: "BACKUP_DRILL_DATABASE_URL", Secret: true, Doc: "PostgreSQL URL of an empty database in which `drill` tries a set, and which it leaves empty; empty: it starts a PostgreSQL of its own."}
)

// ServerVars are the variables that `assetplatform server` reads, in the order of the documentation.
var ServerVars = []Var{
	Port, MetricsPortVar, TLSPortVar, TLSCertFile, TLSKeyFile, LogLevel, DrainDelay, AllowedOrigins, TrustedProxies,
	DatabaseURL, RedisURL, JWTSecret, JWTVerifySecrets,
	S3Bucket, S3Prefix, S3Region, S3Endpoint, S3CA, S3AccessKey, S3SecretKey,
	MaxFileSizeImage, MaxFileSizeAudio, TrashRetention, AuditRetention,
	RateLimitLoginAccount, RateLimitLoginAddress, RateLimitRegister, RateLimitGeneral, RateLimitUpload,
}

// MigrateVars are the variables that `assetplatform migrate` reads.
var MigrateVars = []Var{LogLevel, DatabaseURL, DatabaseDirectURL}

// BackupVars are the variables that `assetplatform backup` reads, in the order of the documentation.
var BackupVars = []Var{
	LogLevel, DatabaseURL, DatabaseDirectURL, S3Bucket, S3Prefix, S3Region, S3Endpoint, S3CA, S3AccessKey, S3SecretKey,
	BackupBucket, BackupPrefix, BackupRegion, BackupEndpoint, BackupCA, BackupAccessKey, BackupSecretKey, BackupRemoverAccessKey, BackupRemoverSecretKey,
	BackupRecipients, BackupIdentity, BackupSigningKey, BackupVerifyKey, BackupRetentionAll, BackupRetentionDaily, BackupRetentionMinimum,
	BackupScrubRuns, BackupDrillDatabaseURL,
}

// Bucket says where asset bytes live and with which credentials.
type Bucket struct {
	Name, Prefix, Region string
	Endpoint             string // empty: AWS
	CA                   string // PEM; empty: the system's authorities alone
	AccessKey, SecretKey string // both empty: the SDK's own chain
}

// RateLimits are counts per window; 0 means unlimited.
type RateLimits struct {
	LoginAccount, LoginAddress int // failures per 15 minutes
	Register                   int // accounts per hour
	General                    int // requests per minute
	Upload                     int // uploads per hour
}

// Server is what `assetplatform server` runs with.
type Server struct {
	Port, MetricsPort, TLSPort         int
	TLSCertFile, TLSKeyFile            string // both empty: no TLS
	LogLevel                           slog.Level
	DrainDelay                         time.Duration
	AllowedOrigins                     []string
	TrustedProxies                     []netip.Prefix
	DatabaseURL, RedisURL              string
	JWTSecret                          string
	JWTVerifySecrets                   []string
	Bucket                             Bucket
	MaxFileSizeImage, MaxFileSizeAudio int64 // bytes
	TrashRetention, AuditRetention     time.Duration
	RateLimits                         RateLimits
}

// Migrate is what `assetplatform migrate` runs with.
type Migrate struct {
	LogLevel    slog.Level
	DatabaseURL string // DATABASE_DIRECT_URL where set, else DATABASE_URL
}

// LoadServer reads the server's settings. It reports every missing or malformed
// variable at once, each with its name and what to set it to.
func LoadServer(getenv func(string) string) (Server, error) {
	l := loader{getenv: getenv}
	s := Server{
		Port:           l.port(Port),
		MetricsPort:    l.port(MetricsPortVar),
		TLSPort:        l.port(TLSPortVar),
		TLSCertFile:    l.text(TLSCertFile),
		TLSKeyFile:     l.text(TLSKeyFile),
		LogLevel:       l.level(LogLevel),
		DrainDelay:     l.duration(DrainDelay),
		AllowedOrigins: l.origins(AllowedOrigins),
		TrustedProxies: l.prefixes(TrustedProxies),

		DatabaseURL:      l.url(DatabaseURL, "postgres", "postgresql"),
		RedisURL:         l.url(RedisURL, "redis", "rediss"),
		JWTSecret:        l.text(JWTSecret),
		JWTVerifySecrets: l.keys(JWTVerifySecrets),
		Bucket:           l.bucket(),
		MaxFileSizeImage: l.fileSize(MaxFileSizeImage),
		MaxFileSizeAudio: l.fileSize(MaxFileSizeAudio),
		TrashRetention:   l.duration(TrashRetention),
		AuditRetention:   l.duration(AuditRetention),
		RateLimits: RateLimits{
			LoginAccount: l.count(RateLimitLoginAccount), LoginAddress: l.count(RateLimitLoginAddress),
			Register: l.count(RateLimitRegister), General: l.count(RateLimitGeneral), Upload: l.count(RateLimitUpload),
		},
	}
	l.both(TLSCertFile, TLSKeyFile)
	return s, errors.Join(l.errs...)
}

// LoadMigrate reads the settings of `assetplatform migrate`, like LoadServer.
func LoadMigrate(getenv func(string) string) (Migrate, error) {
	l := loader{getenv: getenv}
	m := Migrate{LogLevel: l.level(LogLevel), DatabaseURL: l.directDatabase()}
	return m, errors.Join(l.errs...)
}

// directDatabase is the URL of who must reach the database past a transaction pooler.
func (l *loader) directDatabase() string {
	if direct := l.url(DatabaseDirectURL, "postgres", "postgresql"); direct != "" {
		return direct
	}
	return l.url(DatabaseURL, "postgres", "postgresql")
}

func (l *loader) bucket() Bucket {
	b := Bucket{
		Name: l.text(S3Bucket), Prefix: l.text(S3Prefix), Region: l.text(S3Region),
		Endpoint: l.url(S3Endpoint, "http", "https"), CA: l.certificates(S3CA), AccessKey: l.text(S3AccessKey), SecretKey: l.text(S3SecretKey),
	}
	l.both(S3AccessKey, S3SecretKey)
	return b
}

// loader parses variables and collects what is wrong with them.
// No error repeats the value of a secret variable.
type loader struct {
	getenv func(string) string
	errs   []error
}

func (l *loader) fail(v Var, format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf("%s: "+format, append([]any{v.Name}, args...)...))
}

func (l *loader) text(v Var) string {
	s := strings.TrimSpace(l.getenv(v.Name))
	if s == "" {
		s = v.Default
	}
	if s == "" && v.Required {
		l.fail(v, "is not set; %s", v.Doc)
	}
	return s
}

func (l *loader) certificates(v Var) string {
	s := l.text(v)
	if s != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(s)) {
		l.fail(v, "holds no certificate in PEM form")
	}
	return s
}

func (l *loader) list(v Var) []string {
	var out []string
	for item := range strings.SplitSeq(l.text(v), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func (l *loader) keys(v Var) []string {
	keys, ok := splitKeys(l.text(v))
	if !ok {
		l.fail(v, "has an item that begins with %s but is not base64", encodedKey)
	}
	return keys
}

func (l *loader) integer(v Var, least int64) int64 {
	s := l.text(v)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least {
		l.fail(v, "%q is not a whole number of at least %d", s, least)
	}
	return n
}

func (l *loader) count(v Var) int { return int(l.integer(v, 0)) }

// largestFile is what the bucket can take in one upload: 10,000 parts of 5 MiB.
const largestFile = 10_000 * 5 << 20

func (l *loader) fileSize(v Var) int64 {
	n := l.integer(v, 1)
	if n > largestFile {
		l.fail(v, "%d is more than can be uploaded: set at most %d bytes", n, int64(largestFile))
	}
	return n
}

func (l *loader) port(v Var) int {
	n := l.integer(v, 1)
	if n > 65535 {
		l.fail(v, "%d is not a TCP port (1-65535)", n)
	}
	return int(n)
}

func (l *loader) duration(v Var) time.Duration {
	s := l.text(v)
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		l.fail(v, "%q is not a duration such as 720h, 30m or 5s", s)
	}
	return d
}

func (l *loader) level(v Var) slog.Level {
	var level slog.Level
	s := l.text(v)
	if err := level.UnmarshalText([]byte(s)); err != nil {
		l.fail(v, "%q is none of debug, info, warn, error", s)
	}
	return level
}

func (l *loader) url(v Var, schemes ...string) string {
	s := l.text(v)
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		l.fail(v, "is not a URL; %s", v.Doc) // the parser's error repeats the URL, which may hold a password
		return s
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			l.fail(v, "has the port %s; ports are 1 to 65535", port)
		}
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme {
			return s
		}
	}
	l.fail(v, "has the scheme %q; it must be one of %s", u.Scheme, strings.Join(schemes, ", "))
	return s
}

// origin is what the custom resource's rule for allowedOrigins accepts.
var origin = regexp.MustCompile(`^https?://[^/,\s]+$`)

func (l *loader) origins(v Var) []string {
	list := l.list(v)
	for _, item := range list {
		if item != "*" && !origin.MatchString(item) {
			l.fail(v, "%q is not an origin: write scheme and host without a path, like https://yourdomain.com", item)
		}
	}
	return list
}

func (l *loader) prefixes(v Var) []netip.Prefix {
	var out []netip.Prefix
	for _, item := range l.list(v) {
		p, err := netip.ParsePrefix(item)
		if err != nil {
			l.fail(v, "%q is not a CIDR such as 10.0.0.0/8", item)
			continue
		}
		out = append(out, p)
	}
	return out
}
