package controllers

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// backupSecrets are the names of the Secrets that spec.backup names.
func backupSecrets(ap *assetv1.AssetPlatform) (names []string) {
	b := ap.Spec.Backup
	if b == nil {
		return nil
	}
	add := func(ref *assetv1.SecretKeyRef) {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	for _, d := range b.Destinations {
		names = append(names, bucketSecrets(d.BackupBucket)...)
		if ref := d.RemoverCredentialsSecretRef; ref != nil {
			names = append(names, ref.Name)
		}
	}
	if b.Encryption != nil {
		add(b.Encryption.SigningKeySecretRef)
	}
	if b.Drill != nil {
		add(b.Drill.DatabaseSecretRef)
		add(b.Drill.IdentitySecretRef)
	}
	return names
}

func bucketSecrets(b assetv1.BackupBucket) (names []string) {
	if ref := b.CredentialsSecretRef; ref != nil {
		names = append(names, ref.Name)
	}
	if ref := b.CASecretRef; ref != nil {
		names = append(names, ref.Name)
	}
	return names
}

// resolveBackup reads what backups need. What is wrong with it keeps nothing else from running; what is wrong with a destination, or with
// the drill, keeps no sets from the other destinations.
func (r *Reconciler) resolveBackup(ctx context.Context, p *pass) error {
	b := p.ap.Spec.Backup
	if b == nil {
		return nil
	}
	f := &p.facts.Backup
	f.Destinations, f.PostgresImage = map[string]manifests.DestinationCredentials{}, cmp.Or(p.facts.Images.Postgres, r.Images.Postgres)
	f.Migrated = p.ap.Status.Migration != nil && p.ap.Status.Migration.Migrated != nil
	l := credentialLookup{ctx: ctx, reader: &r.secrets, platform: client.ObjectKeyFromObject(p.ap)}
	if e := b.Encryption; e != nil {
		f.SigningKey = l.key("spec.backup.encryption.signingKeySecretRef", e.SigningKeySecretRef)
		if len(e.Recipients) > 0 {
			f.Secrets = map[string]map[string][]byte{}
			others := credentialLookup{ctx: ctx, reader: &r.secrets, platform: l.platform}
			for _, name := range platformSecrets(p.ap) {
				if data, found := others.all("", name); found { // one that is missing goes with no set; others tell of it
					f.Secrets[name] = data
				}
			}
			if others.err != nil {
				return others.err
			}
		}
	}
	shared := l.missing
	for i := range b.Destinations {
		d := &b.Destinations[i]
		before := l.missing
		credentials := l.destination(d, fmt.Sprintf("spec.backup.destinations[%d]", i))
		if shared == 0 && l.missing == before {
			f.Destinations[d.Name] = credentials
		}
	}
	drill := credentialLookup{ctx: ctx, reader: &r.secrets, platform: l.platform}
	if d := b.Drill; d != nil {
		f.DrillDatabaseURL = drill.key("spec.backup.drill.databaseSecretRef", d.DatabaseSecretRef)
		f.Identity = drill.key("spec.backup.drill.identitySecretRef", d.IdentitySecretRef)
	}
	if err := cmp.Or(l.err, drill.err); err != nil {
		return err
	}
	for _, lack := range l.lacks {
		p.backupProblems = append(p.backupProblems, lack.finding(p.ap.Namespace))
	}
	for _, lack := range drill.lacks {
		p.drillProblems = append(p.drillProblems, lack.finding(p.ap.Namespace))
	}
	if len(drill.lacks) > 0 {
		f.LeftOut = append(f.LeftOut, manifests.ComponentDrill)
	}
	checkSettings(p)
	checkSchedules(p)
	return nil
}

func (l *credentialLookup) pair(field string, ref *assetv1.S3CredentialsRef) (access, secret string) {
	if ref == nil {
		return "", ""
	}
	return l.key(field, &assetv1.SecretKeyRef{Name: ref.Name, Key: ref.AccessKey}), l.key(field, &assetv1.SecretKeyRef{Name: ref.Name, Key: ref.SecretKey})
}

func (l *credentialLookup) destination(d *assetv1.BackupDestination, field string) (c manifests.DestinationCredentials) {
	c.AccessKey, c.SecretKey = l.pair(field+".credentialsSecretRef", d.CredentialsSecretRef)
	c.RemoverAccessKey, c.RemoverSecretKey = l.pair(field+".removerCredentialsSecretRef", d.RemoverCredentialsSecretRef)
	c.CA = l.key(field+".caSecretRef", d.CASecretRef)
	return c
}

// checkSchedules says what is wrong with schedules. CronJobs of a schedule that cannot be read stay as they are, or are not made.
func checkSchedules(p *pass) {
	wrong := func(c manifests.Component, field, schedule string) []*finding {
		_, err := manifests.LongestPause(schedule, manifests.TimeZone(p.ap))
		if err == nil {
			return nil
		}
		p.facts.Backup.LeftOut = append(p.facts.Backup.LeftOut, c)
		return []*finding{{
			reason: assetv1.ReasonInvalidSchedule, where: "AssetPlatform " + p.ap.Name, problem: fmt.Sprintf("No %s is scheduled (%v)", c, err),
			remedy: "correct spec.backup." + field + " or spec.backup.timeZone",
		}}
	}
	p.backupProblems = append(p.backupProblems, wrong(manifests.ComponentBackup, "schedule", manifests.BackupSchedule(p.ap))...)
	p.backupProblems = append(p.backupProblems, wrong(manifests.ComponentScrub, "scrub.schedule", manifests.ScrubSchedule(p.ap))...)
	if p.ap.Spec.Backup.Drill != nil {
		p.drillProblems = append(p.drillProblems, wrong(manifests.ComponentDrill, "drill.schedule", manifests.DrillSchedule(p.ap))...)
	}
}

// checkSettings says what is wrong with settings as the pods will read them; a destination with which something is wrong gets no CronJobs, or
// those that it had, and so do drills.
func checkSettings(p *pass) {
	f := &p.facts.Backup
	objects := manifests.Backups(p.ap, p.facts)
	for _, o := range objects {
		job, ok := o.(*batchv1.CronJob)
		if !ok || componentOf(job) == manifests.ComponentScrub {
			continue
		}
		source := componentOf(job) == manifests.ComponentBackup
		destination := job.Labels[manifests.LabelDestination]
		_, err := config.LoadBackup(environmentOf(objects, job), source)
		switch _, sound := f.Destinations[destination]; {
		case err == nil || !sound:
		case source:
			p.backupProblems = append(p.backupProblems, invalidBackup(p.ap, "Nothing can be backed up to "+destination, err)...)
			delete(f.Destinations, destination)
		default:
			p.drillProblems = append(p.drillProblems, invalidBackup(p.ap, "No drill can restore what is in "+destination, err)...)
			f.LeftOut = append(f.LeftOut, manifests.ComponentDrill)
		}
	}
}

// invalidBackup are the findings behind what config says, of Secrets where the values come from there.
func invalidBackup(ap *assetv1.AssetPlatform, what string, err error) (problems []*finding) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		variable, wrong, _ := strings.Cut(line, ": ")
		ref := sourceOf(ap, variable)
		if drill := ap.Spec.Backup.Drill; drill != nil && variable == config.BackupDrillDatabaseURL.Name {
			ref = drill.DatabaseSecretRef
		}
		if ref != nil {
			f := invalidSecret(ref, wrong)
			f.problem = what + ": " + strings.ToLower(f.problem[:1]) + f.problem[1:]
			problems = append(problems, f)
			continue
		}
		problems = append(problems, &finding{
			reason: assetv1.ReasonInvalidSpec, where: "AssetPlatform " + ap.Name, problem: fmt.Sprintf("%s (%s)", what, strings.TrimSuffix(line, ".")),
			remedy: "correct spec.backup, or what it names",
		})
	}
	return problems
}

// environmentOf is what the first container of a CronJob's pods will read.
func environmentOf(objects []client.Object, job *batchv1.CronJob) func(name string) string {
	container := job.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
	values := map[string]string{}
	for _, o := range objects {
		if secret, ok := o.(*corev1.Secret); ok && secret.Name == container.EnvFrom[0].SecretRef.Name {
			for name, value := range secret.Data {
				values[name] = string(value)
			}
		}
	}
	for _, v := range container.Env {
		values[v.Name] = v.Value
	}
	return func(name string) string { return values[name] }
}
