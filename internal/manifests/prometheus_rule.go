package manifests

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// runbook is where each alert has a section of its name.
const runbook = "https://github.com/assetplatform/assetplatform/blob/main/docs/runbook.md#"

// alert is one rule. In its texts, SERIES stands for the label matchers of the API's own series, PLATFORM for those of the
// operator's about the platform, and NAME for the platform's namespace and name.
type alert struct {
	name, severity       string
	expr, lasts          string
	summary, description string
}

// alerts are the platform's. The first three are those of the studio's guide, made right: an error rate is a ratio, the
// database's state is what the API itself sees, and memory is the working set of this platform's containers.
var alerts = []alert{
	{
		name: "HighErrorRate", severity: "warning", lasts: "5m",
		expr: `sum(rate(http_requests_total{SERIES, status=~"5.."}[5m])) / sum(rate(http_requests_total{SERIES}[5m])) > 0.05`,

		summary: "More than 5 % of the requests to NAME fail", description: "{{ $value | humanizePercentage }} of the API's answers have been 5xx for five minutes.",
	},
	{
		name: "DatabaseConnectionFailure", severity: "critical", lasts: "1m",
		expr: `max(dependency_up{SERIES, dependency="database"}) == 0`,

		summary: "No API pod of NAME reaches its database", description: "Every request that needs the database has been refused for a minute.",
	},
	{
		name: "HighMemoryUsage", severity: "warning", lasts: "5m",
		expr: `max by (pod) (container_memory_working_set_bytes{CONTAINERS}) / max by (pod) (container_spec_memory_limit_bytes{CONTAINERS} > 0) > 0.9`,

		summary: "A pod of NAME is close to its memory limit", description: "{{ $labels.pod }} has used {{ $value | humanizePercentage }} of its memory limit for five minutes; at the limit it is killed.",
	},
	{
		name: "PlatformNotReady", severity: "warning", lasts: "15m",
		expr: `max(assetplatform_condition{PLATFORM, condition="Ready", status!="True"}) == 1`,

		summary: "NAME has not been ready for 15 minutes", description: "kubectl get ap tells what is wrong and what to do.",
	},
	{
		name: "MigrationFailed", severity: "critical", lasts: "1m",
		expr: `max(assetplatform_condition{PLATFORM, condition="Migrated", reason="MigrationFailed"}) == 1`,

		summary: "The migration of the database of NAME has failed", description: "The rollout is held back; the pods of before go on serving. kubectl get ap tells why.",
	},
	{
		name: "CertificateExpiresSoon", severity: "critical", lasts: "10m",
		expr: `(max(assetplatform_certificate_not_after_timestamp_seconds{PLATFORM}) - time()) / (max(assetplatform_certificate_not_after_timestamp_seconds{PLATFORM}) - max(assetplatform_certificate_not_before_timestamp_seconds{PLATFORM})) < 0.2`,

		summary: "The certificate of NAME was not renewed", description: "{{ $value | humanizePercentage }} of its lifetime are left; issuers renew with a third left.",
	},
	{
		name: "BackupFailed", severity: "critical", lasts: "5m",
		expr: `max(assetplatform_condition{PLATFORM, condition="BackupHealthy", status="False", reason!~"NoBackup|BackupWaiting|SetDamaged"}) == 1`,

		summary: "The backup of NAME fails", description: "What is kept of before stays. kubectl get ap tells what is wrong and what to do.",
	},
	{
		name: "BackupDamaged", severity: "critical", lasts: "1m",
		expr: `max(assetplatform_condition{PLATFORM, condition="BackupHealthy", status="False", reason="SetDamaged"}) == 1`,

		summary: "Some of the backups of NAME are damaged", description: "A scrub has read what is not what was written. The next set replaces what the bucket of the assets still has; sets that need the rest cannot be restored in full.",
	},
	{
		name: "BackupLate", severity: "critical", lasts: "5m",
		expr: `max(assetplatform_condition{PLATFORM, condition="WithinRPO", status="False", reason!="BackupWaiting"}) == 1 or time() > max(assetplatform_backup_due_timestamp_seconds{PLATFORM})`,

		summary: "The newest verified backup of NAME is older than it may be", description: "If everything were lost now, more work than the objective allows would be, or that of two times of the schedule.",
	},
	{
		name: "RestoreNotProven", severity: "warning", lasts: "15m",
		expr: `max(assetplatform_condition{PLATFORM, condition="RestoreProven", status="False", reason!~"NoDrill|DrillWaiting"}) == 1`,

		summary: "It is not proven that the backups of NAME can be restored", description: "The last drill failed, took longer than the objective allows, or is too long ago. kubectl get ap tells which.",
	},
}

// WantsRules says whether the spec asks for alerts.
func WantsRules(ap *assetv1.AssetPlatform) bool { return ptr.Deref(ap.Spec.Monitoring.Rules, true) }

// PrometheusRule are the platform's alerts; nil where the spec wants none, or there is no Prometheus operator.
func PrometheusRule(ap *assetv1.AssetPlatform, f Facts) *unstructured.Unstructured {
	if !WantsRules(ap) || !f.Installed[KindPrometheusRule] {
		return nil
	}
	var rules []any
	for _, a := range alerts {
		rules = append(rules, map[string]any{
			"alert": a.name, "expr": forPlatform(ap, a.expr), "for": a.lasts,
			"labels": map[string]any{"severity": a.severity, "namespace": ap.Namespace, platformLabel: ap.Name},
			"annotations": map[string]any{
				"summary": forPlatform(ap, a.summary), "description": forPlatform(ap, a.description), "runbook_url": runbook + strings.ToLower(a.name),
			},
		})
	}
	return optional(KindPrometheusRule, monitoringMeta(ap, AlertsName(ap)), map[string]any{
		"groups": []any{map[string]any{"name": "assetplatform." + ap.Namespace + "." + ap.Name, "rules": rules}},
	})
}

// forPlatform puts a platform into a text: see alert. Its names have nothing that a regular expression would take for more.
func forPlatform(ap *assetv1.AssetPlatform, text string) string {
	return strings.NewReplacer(
		"SERIES", fmt.Sprintf("job=%q, namespace=%q, %s=%q", jobLabel, ap.Namespace, platformLabel, ap.Name),
		"PLATFORM", fmt.Sprintf("platform_namespace=%q, %s=%q", ap.Namespace, platformLabel, ap.Name),
		"CONTAINERS", fmt.Sprintf("namespace=%q, pod=~%q, container=%q", ap.Namespace, ServerName(ap)+"-[^-]+-[^-]+", ComponentServer),
		"NAME", ap.Namespace+"/"+ap.Name,
	).Replace(text)
}
