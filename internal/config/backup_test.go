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
