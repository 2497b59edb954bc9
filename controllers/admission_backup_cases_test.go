package controllers

import (
	"fmt"
	"strings"
)

// bucketAdmissions are the rules of each place that is in a bucket.
func bucketAdmissions() []admission {
	var list []admission
	for place, spec := range map[string]string{
		"spec.storage": "storage: {%s}", "spec.backup.destinations[0]": "backup: {destinations: [{name: primary, %s}]}", "spec.restoreFrom.bucket": "restoreFrom: {bucket: {%s}}",
	} {
		of := func(format string, values ...string) []string { return each(fmt.Sprintf(spec, format), values...) }
		list = append(list,
			admission{field: place + ".bucket", message: "should be at least 3 chars", reject: of("bucket: %s", "ab")},
			admission{field: place + ".bucket", message: "may not be more than 63", reject: of("bucket: %s", strings.Repeat("x", 64))},
			admission{
				field: place + ".bucket", message: "not the name of a bucket: use lower-case letters, digits, '-' and single '.', a letter or digit at both ends, and no IP address",
				accept: of("bucket: %s", "1.assets-2.example", "a-b", strings.Repeat("x", 63)),
				reject: of("bucket: %s", "Assets", "my_assets", "my assets", "-assets", "assets.", "my..assets", "192.168.5.4", "s3://assets"),
			},
			admission{
				field: place + ".prefix", message: "write it without a leading and with a trailing slash, like studio/",
				accept: of("bucket: assets, prefix: %s", "a/b/", `""`), reject: of("bucket: assets, prefix: %s", "/a/", "a"),
			},
			admission{
				field: place + ".prefix", message: "leave out control characters, and segments that are empty, '.' or '..'; write it like studio/ or studio/assets/",
				accept: of(`bucket: assets, prefix: "%s"`, "a/b/", "", ".a/b./..c/.../d..e/", "two words/ü/"),
				reject: of(`bucket: assets, prefix: "%s"`, "../../x/", "a//b/", "a b\\nc/", "/", "./", "a/./b/", "a/../", "a/..//", "a\\t/", "a\\x7f/"),
			},
			admission{
				field: place + ".region", message: "not the name of a region: use letters, digits, '-' and single '.', like eu-central-1",
				accept: of("bucket: assets, region: %s", "eu-central-1", "Default-1.x", `""`),
				reject: of("bucket: assets, region: %s", "x y", "a/b", "a_b", "a..b", "-a", "ü", `"x\n"`),
			},
			admission{field: place + ".region", message: "may not be more than 64", accept: of("bucket: assets, region: %s", strings.Repeat("x", 64)), reject: of("bucket: assets, region: %s", strings.Repeat("x", 65))},
			admission{
				field: place + ".endpoint", message: "not an http or https URL, like https://s3.example.com",
				accept: of("bucket: assets, endpoint: '%s'", "https://s3.example.com:9000", "HTTP://x", "https://[fd00::1]:9000/s3", ""),
				reject: of("bucket: assets, endpoint: '%s'", "s3.example.com", "s3://x", "https://", "https://:9000"),
			},
			admission{
				field: place + ".endpoint", message: "write it without user, password, query, fragment and spaces, like https://s3.example.com; everybody can read it, keys go into the Secret of credentialsSecretRef",
				accept: of("bucket: assets, endpoint: '%s'", "https://s3.example.com/tenant@studio/"),
				reject: of("bucket: assets, endpoint: '%s'", "https://u:p@h/x?y=z", "https://u:p@h", "https://u@h", "HTTPS://:p@h", "https://h?y=z", "https://h/?", "https://h/x#y", "https://h/a b"),
			},
		)
	}
	return list
}

// backupAdmissions are the rules of backups and of what a platform begins with.
func backupAdmissions() []admission {
	const (
		backup   = "backup: {destinations: [{name: primary, bucket: backups}], %s}"
		of       = "backup: {destinations: [%s]}"
		distinct = "storage: {bucket: assets, endpoint: 'https://%s'}\nbackup: {destinations: [{name: a, bucket: assets, endpoint: 'https://x'}]}"
		schedule = "not a schedule: write the five fields of cron, like 0 2 * * * for every day at 02:00, or @daily"
		set      = "01KJMH8Y1A00000000000000A1"
	)
	list := []admission{
		{field: "spec", message: "backup.destinations: one is the bucket of the assets: name another bucket", accept: each(distinct, "y"), reject: append(each(distinct, "x"), "storage: {bucket: assets}\nbackup: {destinations: [{name: a, bucket: backups}, {name: b, bucket: assets, prefix: b/}]}")},
		{
			field: "spec.backup.destinations", message: "two destinations are one place: give each a bucket or a prefix of its own", accept: each(of, "{name: a, bucket: backups, prefix: a/}, {name: b, bucket: backups}", "{name: a, bucket: backups, endpoint: 'https://a'}, {name: b, bucket: backups}"),
			reject: each(of, "{name: a, bucket: backups}, {name: b, bucket: backups, prefix: ''}", "{name: a, bucket: backups}, {name: b, bucket: others}, {name: c, bucket: others}"),
		},
		{field: "spec.backup.destinations", message: "should have at least 1 items", reject: each(of, "")},
		{field: "spec.backup.destinations[0].name", message: "not a name: use lower-case letters, digits and '-', like primary", accept: each(of, "{name: far-2, bucket: backups}"), reject: each(of, "{name: Far, bucket: backups}", "{name: a.b, bucket: backups}", "{name: a-, bucket: backups}")},
		{
			field: "spec.backup.encryption.recipients[0]", message: "not a public key of age: age-keygen prints one that begins with age1; the private one does not belong here",
			accept: each(backup, "encryption: {recipients: [age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg]}"), reject: each(backup, "encryption: {recipients: [AGE-SECRET-KEY-1QQQ]}", "encryption: {recipients: [age1x]}"),
		},
		{field: "spec.backup.timeZone", message: "not the name of a time zone: write it like Etc/UTC or Europe/Berlin", accept: each(backup, "timeZone: Europe/Berlin", "timeZone: America/Port-au-Prince", "timeZone: Etc/GMT+7"), reject: each(backup, "timeZone: Local", "timeZone: +02:00", "timeZone: two words")},
		{field: "spec.restoreFrom", message: "set and before both name a set: leave one out", accept: []string{"restoreFrom: {bucket: {bucket: backups}, before: '2026-03-01T00:00:00Z'}"}, reject: []string{"restoreFrom: {bucket: {bucket: backups}, set: " + set + ", before: '2026-03-01T00:00:00Z'}"}},
		{field: "spec.restoreFrom.set", message: "not the id of a set: status.backup.lastSet has one, and assetplatform backup list has them all", accept: each("restoreFrom: {bucket: {bucket: backups}, set: %s}", set), reject: each("restoreFrom: {bucket: {bucket: backups}, set: %s}", "newest", "8"+set[1:], strings.ToLower(set))},
		{field: "spec", message: "restoreFrom: say where the sets are, in bucket", accept: append(each(backup, "}\nrestoreFrom: {"), "restoreFrom: {bucket: {bucket: backups}}"), reject: []string{"restoreFrom: {}"}},
	}
	for field, format := range map[string]string{"schedule": "schedule: %s", "scrub.schedule": "scrub: {schedule: %s}", "drill.schedule": "drill: {schedule: %s}"} {
		list = append(list, admission{field: "spec.backup." + field, message: schedule, accept: each(fmt.Sprintf(backup, format), "'0 2 * * *'", "'*/30 1-5,7 * JAN SUN'", "'@daily'"), reject: each(fmt.Sprintf(backup, format), "every day", "'0 2 * *'", "'@every 1h'", "'TZ=UTC 0 2 * * *'")})
	}
	for field, of := range map[string]struct{ message, accept, least, most string }{
		"retention.all":  {"write a duration from 1h to 87600h (ten years), like 48h", "48h", "59m", "87601h"},
		"objectives.rpo": {"write a duration from 10m to 8760h (a year), like 1h", "1h30m", "9m", "8761h"},
		"objectives.rto": {"write a duration from 1m to 8760h (a year), like 4h", "4h", "59s", "8761h"},
	} {
		parent, name, _ := strings.Cut(field, ".")
		spec := fmt.Sprintf(backup, parent+": {"+name+": %s}")
		list = append(list, admission{field: "spec.backup." + field, message: of.message, accept: each(spec, of.accept), reject: each(spec, of.least, of.most, "soon", "99999999h")})
	}
	return list
}
