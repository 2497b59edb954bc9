package config

import (
	"strings"
	"testing"
)

func TestLoadBackup(t *testing.T) {
	set := map[string]string{
		"DATABASE_URL": "postgres://u:p@db/assets", "S3_BUCKET_NAME": "assets", "S3_ENDPOINT": "http://s3:7070", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b",
		"BACKUP_BUCKET_NAME": "backups", "BACKUP_ENDPOINT": "http://s3:7070", "BACKUP_ACCESS_KEY": "a", "BACKUP_SECRET_KEY": "b",
	}
	load := func(source bool, changes ...string) (Backup, error) {
		return LoadBackup(func(name string) string {
			for i := 0; i < len(changes); i += 2 {
				if changes[i] == name {
					return changes[i+1]
				}
			}
			return set[name]
		}, source)
	}
	b, err := load(true)
	if err != nil || b.Destination.Name != "backups" || b.Bucket.Name != "assets" || b.Retention != (BackupRetention{All: 48 * 3600 * 1e9, Daily: 30, Minimum: 7}) {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err := load(false); err != nil || len(b.LiveDatabaseURLs) != 1 || b.DatabaseURL != "" {
		t.Errorf("a drill knows what is the platform's: %+v, %v", b.LiveDatabaseURLs, err)
	}
	if b, err := load(false, "DATABASE_URL", "", "S3_BUCKET_NAME", ""); err != nil || b.DatabaseURL != "" {
		t.Errorf("without a source: %v", err)
	}
	for variable, wrong := range map[string][]string{
		"BACKUP_PREFIX":             {"BACKUP_PREFIX", "studio"},
		"BACKUP_BUCKET_NAME":        {"BACKUP_BUCKET_NAME", "assets", "BACKUP_PREFIX", "elsewhere/"}, // what takes the one away takes the other
		"BACKUP_ACCESS_KEY":         {"BACKUP_SECRET_KEY", ""},
		"DATABASE_DIRECT_URL":       {"DATABASE_DIRECT_URL", "postgres://u:secret%20of%20the%20owner@db"},
		"BACKUP_REMOVER_ACCESS_KEY": {"BACKUP_REMOVER_ACCESS_KEY", "c"},
		"BACKUP_SIGNING_KEY":        {"BACKUP_SIGNING_KEY", "secret of the signer"},
		"BACKUP_SCRUB_RUNS":         {"BACKUP_SCRUB_RUNS", "0"},
		"BACKUP_DRILL_DATABASE_URL": {"BACKUP_DRILL_DATABASE_URL", "mysql://u:secret of the drill@db/x"},
		"BACKUP_RETENTION_MINIMUM":  {"BACKUP_RETENTION_MINIMUM", "-1"},
		"DATABASE_URL":              {"DATABASE_URL", ""},
	} {
		if _, err := load(true, wrong...); err == nil || !strings.HasPrefix(err.Error(), variable+": ") || strings.Contains(err.Error(), "secret of") {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}

// Backups hand the database's URL to PostgreSQL's programs, which read fewer forms of it than the driver: what they could read otherwise is
// refused, without a word of the password. A server may still have it.
func TestBackupDatabaseURL(t *testing.T) {
	load := func(variable, url string, source bool) error {
		set := map[string]string{
			"DATABASE_URL": "postgres://u:p@db/assets", "S3_BUCKET_NAME": "assets", "BACKUP_BUCKET_NAME": "backups", "REDIS_URL": "redis://r", "JWT_SECRET": "x", variable: url,
		}
		_, err := LoadBackup(func(name string) string { return set[name] }, source)
		return err
	}
	for _, variable := range []string{"DATABASE_URL", "DATABASE_DIRECT_URL", "BACKUP_DRILL_DATABASE_URL"} {
		for _, right := range []string{"postgres://u@db/assets", "postgresql://u:sesame@db:5432/assets?sslmode=require", "postgres://u:se%40same@[::1]:5432/assets?sslrootcert=/ca.pem"} {
			if err := load(variable, right, true); err != nil {
				t.Errorf("%s=%s: %v", variable, right, err)
			}
		}
		for wrong, says := range map[string]string{
			"postgres://db/assets": "names no user", "postgres://u:sesame@db": "names no database", "postgres://u:sesame@db/": "names no database", "postgres://u:sesame@:5432/assets": "names no host",
			"postgres://u:sesame@db/assets?host=/run/postgresql": "the parameter host", "postgres://db/assets?user=u&password=sesame": "the parameter user",
			"postgres://u@db/assets?password=sesame": "the parameter password", "postgres://u:sesame@db/?dbname=assets": "the parameter dbname",
			"postgres://u:sesame@db/assets?port=5": "the parameter port", "postgres://u:sesame@db/assets?database=x": "the parameter database", "postgres://u:sesame@db/assets?service=x": "the parameter service",
			"postgres://u:sesame@db/assets?servicefile=x": "the parameter servicefile", "postgres://u:sesame@db/assets?passfile=x": "the parameter passfile",
			"postgres://u:sesame@db/assets?x=%zz": "parameters that cannot be read",
		} {
			err := load(variable, wrong, true)
			if err == nil || !strings.HasPrefix(err.Error(), variable+": ") || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "USER:PASSWORD@HOST:PORT/DATABASE") || strings.Contains(err.Error(), "sesame") {
				t.Errorf("%s=%s: %v", variable, wrong, err)
			}
		}
	}
	if err := load("DATABASE_URL", "postgres://db/assets?user=u", false); err != nil {
		t.Errorf("without the source: %v", err)
	}
}

// The bucket of the assets is no destination, however its address is written.
func TestBucketsOfOneService(t *testing.T) {
	for endpoint, same := range map[string]bool{
		"http://s3.example.com": true, "HTTP://S3.Example.com:80/": true, "https://s3.example.com": false, "http://s3.example.com:443": false, "http://s3.example.com:8080": false, "": false,
	} {
		set := map[string]string{
			"DATABASE_URL": "postgres://u:p@db/assets", "S3_BUCKET_NAME": "assets", "S3_ENDPOINT": "http://s3.example.com/", "BACKUP_BUCKET_NAME": "assets", "BACKUP_ENDPOINT": endpoint,
		}
		if _, err := LoadBackup(func(name string) string { return set[name] }, true); (err != nil) != same {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}
