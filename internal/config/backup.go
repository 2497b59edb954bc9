package config

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Backup is what `assetplatform backup` runs with.
type Backup struct {
	LogLevel    slog.Level
	DatabaseURL string // DATABASE_DIRECT_URL where set, else DATABASE_URL; only with the source
	Bucket      Bucket // that of the assets; only with the source

	Destination                        Bucket
	RemoverAccessKey, RemoverSecretKey string             // both empty: those of Destination
	Recipients                         []string           // of age; empty: backups are not encrypted
	Identity                           string             // of age; empty: nothing can be decrypted
	SigningKey                         ed25519.PrivateKey // nil: manifests are not signed
	VerifyKey                          ed25519.PublicKey  // nil: nobody's signature is asked for
	Retention                          BackupRetention
	ScrubRuns                          int      // in so many everything is read once
	DrillDatabaseURL                   string   // empty: a drill starts a server of its own
	LiveDatabaseURLs                   []string // those that are set, whether they are wanted or not: no drill touches them
}

// BackupRetention says which sets stay.
type BackupRetention struct {
	All     time.Duration // every set that is younger
	Daily   int           // then one a day, for so many days
	Minimum int           // verified sets that stay at least
}

// LoadBackup reads the settings of `assetplatform backup`, like LoadServer; those of database and bucket only if they are wanted.
func LoadBackup(getenv func(string) string, source bool) (Backup, error) {
	l := loader{getenv: getenv}
	b := Backup{
		LogLevel: l.level(LogLevel),
		Destination: Bucket{
			Name: l.text(BackupBucket), Prefix: l.text(BackupPrefix), Region: l.text(BackupRegion),
			Endpoint: l.url(BackupEndpoint, "http", "https"), CA: l.certificates(BackupCA), AccessKey: l.text(BackupAccessKey), SecretKey: l.text(BackupSecretKey),
		},
		RemoverAccessKey: l.text(BackupRemoverAccessKey), RemoverSecretKey: l.text(BackupRemoverSecretKey),
		Recipients: l.list(BackupRecipients), Identity: l.text(BackupIdentity),
		Retention:        BackupRetention{All: l.duration(BackupRetentionAll), Daily: l.count(BackupRetentionDaily), Minimum: l.count(BackupRetentionMinimum)},
		ScrubRuns:        int(l.integer(BackupScrubRuns, 1)),
		DrillDatabaseURL: l.programURL(BackupDrillDatabaseURL),
	}
	for _, v := range []Var{DatabaseURL, DatabaseDirectURL} {
		if live := getenv(v.Name); live != "" {
			b.LiveDatabaseURLs = append(b.LiveDatabaseURLs, live)
		}
	}
	if prefix := b.Destination.Prefix; prefix != "" && (!strings.HasSuffix(prefix, "/") || strings.HasPrefix(prefix, "/")) {
		l.fail(BackupPrefix, "is %q: write it without a leading and with a trailing slash, like studio/", prefix)
	}
	l.both(BackupAccessKey, BackupSecretKey)
	l.both(BackupRemoverAccessKey, BackupRemoverSecretKey)
	if key, ok := l.key(BackupSigningKey, parsePrivateKey).(ed25519.PrivateKey); ok {
		b.SigningKey, b.VerifyKey = key, key.Public().(ed25519.PublicKey)
	}
	if key, ok := l.key(BackupVerifyKey, x509.ParsePKIXPublicKey).(ed25519.PublicKey); ok {
		b.VerifyKey = key
	}
	if source {
		for _, v := range []Var{DatabaseDirectURL, DatabaseURL} { // the first that is set
			if b.DatabaseURL == "" && (v.Required || getenv(v.Name) != "") {
				b.DatabaseURL = l.programURL(v)
			}
		}
		b.Bucket = l.bucket()
		if service(b.Bucket.Endpoint) == service(b.Destination.Endpoint) && b.Bucket.Name == b.Destination.Name {
			l.fail(BackupBucket, "is the bucket of the assets: name another one, for what takes the one away takes the other with it")
		}
	}
	return b, errors.Join(l.errs...)
}

// programParameters are parts of a URL that psql and pg_dump would take from its query, and our driver from elsewhere, or that name files which
// only one of them reads.
var programParameters = []string{"host", "hostaddr", "port", "user", "password", "passfile", "dbname", "database", "service", "servicefile"}

// programURL is the URL of a database that PostgreSQL's programs are given as well, which read fewer forms of it than our driver does: all of
// it must be in its place.
func (l *loader) programURL(v Var) string {
	failed := len(l.errs)
	s := l.url(v, "postgres", "postgresql")
	if s == "" || len(l.errs) > failed {
		return s
	}
	const form = "write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE, for backups hand it to psql and pg_dump"
	u, err := url.Parse(s)
	if err != nil { // url has seen that it can be read
		return s
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		l.fail(v, "has parameters that cannot be read; %s", form)
		return s
	}
	for _, parameter := range programParameters {
		if query.Has(parameter) {
			l.fail(v, "has the parameter %s; %s", parameter, form)
			return s
		}
	}
	for _, part := range []struct{ name, value string }{{"user", u.User.Username()}, {"host", u.Hostname()}, {"database", strings.TrimPrefix(u.Path, "/")}} {
		if part.value == "" {
			l.fail(v, "names no %s; %s", part.name, form)
			return s
		}
	}
	return s
}

// service is an endpoint in one spelling, to compare it with others: without the scheme's own port, and the slash at its end.
func service(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if own, ok := map[string]string{"http": ":80", "https": ":443"}[scheme]; ok {
		host = strings.TrimSuffix(host, own)
	}
	return scheme + "://" + host + strings.TrimSuffix(u.Path, "/")
}

func parsePrivateKey(der []byte) (any, error) { return x509.ParsePKCS8PrivateKey(der) }

// key reads an Ed25519 key in PEM form; nil if there is none.
func (l *loader) key(v Var, parse func(der []byte) (any, error)) any {
	text := l.text(v)
	if text == "" {
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		l.fail(v, "is no PEM text")
		return nil
	}
	key, err := parse(block.Bytes)
	switch key.(type) {
	case ed25519.PrivateKey, ed25519.PublicKey:
		return key
	}
	if err != nil { // whose text may repeat the key
		l.fail(v, "holds no key that can be read")
	} else {
		l.fail(v, "holds a key of another kind: it must be Ed25519")
	}
	return nil
}

// both fails unless both or neither of two variables are set.
func (l *loader) both(a, b Var) {
	if (l.text(a) == "") != (l.text(b) == "") {
		l.fail(a, "set both or neither of %s and %s", a.Name, b.Name)
	}
}
