package controllers

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

var (
	apiRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "assetplatform_api_requests_total", Help: "Requests of the operator to the Kubernetes API, by what made it send them.",
	}, []string{"verb", "resource", "cause", "code"})

	conditionInfo = prometheus.NewDesc("assetplatform_condition", "1 for each condition of each platform, as it is now.",
		[]string{"platform_namespace", "platform", "condition", "status", "reason"}, nil)
	notBefore = prometheus.NewDesc("assetplatform_certificate_not_before_timestamp_seconds", "From when the platform's certificate is in force.", []string{"platform_namespace", "platform"}, nil)
	notAfter  = prometheus.NewDesc("assetplatform_certificate_not_after_timestamp_seconds", "Until when the platform's certificate is in force.", []string{"platform_namespace", "platform"}, nil)

	lastSet         = prometheus.NewDesc("assetplatform_backup_last_set_timestamp_seconds", "The moment that the newest verified backup is of.", []string{"platform_namespace", "platform", "destination"}, nil)
	setDue          = prometheus.NewDesc("assetplatform_backup_due_timestamp_seconds", "When the next verified backup is to be there at the latest.", []string{"platform_namespace", "platform"}, nil)
	oldestSet       = prometheus.NewDesc("assetplatform_backup_oldest_set_timestamp_seconds", "The moment that the oldest verified backup is of.", []string{"platform_namespace", "platform", "destination"}, nil)
	backupDuration  = prometheus.NewDesc("assetplatform_backup_duration_seconds", "How long the last backup took.", []string{"platform_namespace", "platform", "destination"}, nil)
	lastProven      = prometheus.NewDesc("assetplatform_restore_proven_timestamp_seconds", "When a drill last succeeded.", []string{"platform_namespace", "platform"}, nil)
	restoreDuration = prometheus.NewDesc("assetplatform_restore_duration_seconds", "How long a restore takes by that drill.", []string{"platform_namespace", "platform"}, nil)
)

func init() { metrics.Registry.MustRegister(apiRequests) }

// platformCollector tells the state of the platforms that there are, out of the cache: what is gone leaves no series.
type platformCollector struct{ platforms client.Reader }

func (c platformCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{conditionInfo, notBefore, notAfter, lastSet, setDue, oldestSet, backupDuration, lastProven, restoreDuration} {
		ch <- d
	}
}

func (c platformCollector) Collect(ch chan<- prometheus.Metric) {
	var platforms assetv1.AssetPlatformList
	if err := c.platforms.List(context.Background(), &platforms); err != nil {
		return // the cache is not filled yet
	}
	for _, ap := range platforms.Items {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{ap.Namespace, ap.Name}, labels...)...)
		}
		for _, condition := range ap.Status.Conditions {
			gauge(conditionInfo, 1, condition.Type, string(condition.Status), condition.Reason)
		}
		if c := ap.Status.Certificate; c != nil {
			gauge(notBefore, seconds(c.NotBefore))
			gauge(notAfter, seconds(c.NotAfter))
		}
		if ap.Status.Backup != nil {
			collectBackup(ap.Status.Backup, gauge)
		}
	}
}

// collectBackup tells what is known; what is not, such as a first set, has no series.
func collectBackup(s *assetv1.BackupStatus, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	for _, d := range s.Destinations {
		if d.LastSetTime != nil {
			gauge(lastSet, seconds(*d.LastSetTime), d.Name)
		}
		if d.OldestRecoverableTime != nil {
			gauge(oldestSet, seconds(*d.OldestRecoverableTime), d.Name)
		}
		if d.LastBackup != nil {
			gauge(backupDuration, d.LastBackup.Duration.Seconds(), d.Name)
		}
	}
	if s.DueTime != nil {
		gauge(setDue, seconds(*s.DueTime))
	}
	if s.LastProvenTime != nil {
		gauge(lastProven, seconds(*s.LastProvenTime))
		gauge(restoreDuration, s.RestoreDuration.Seconds())
	}
}

func seconds(t metav1.Time) float64 { return float64(t.Unix()) }

type causeKey struct{}

// because says what makes the operator send the requests of a context. Without it they are those of caches, events and leases.
func because(ctx context.Context, cause string) context.Context {
	return context.WithValue(ctx, causeKey{}, cause)
}

// CountRequests counts the requests of a client: it is for rest.Config.Wrap.
func CountRequests(next http.RoundTripper) http.RoundTripper { return countingTransport{next} }

type countingTransport struct{ next http.RoundTripper }

func (t countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	to := requestOf(r)
	cause, ok := r.Context().Value(causeKey{}).(string)
	switch {
	case ok:
	case to.resource == "leases", to.resource == "events":
		cause = strings.TrimSuffix(to.resource, "s")
	case to.resource == "":
		cause = "discovery"
	default:
		cause = "cache"
	}
	code := "none"
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		code = strconv.Itoa(resp.StatusCode)
	}
	apiRequests.WithLabelValues(to.verb, to.resource+to.subresource, cause, code).Inc()
	return resp, err
}

// apiRequest is what a request to the apiserver does, as RBAC names it.
type apiRequest struct {
	verb                       string
	group, resource, namespace string // resource is empty for what is none
	subresource                string // with a slash before it
}

// requestOf reads the paths /api/v1/… and /apis/<group>/<version>/… .
func requestOf(r *http.Request) (to apiRequest) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	to.verb = strings.ToLower(r.Method)
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		to.group, parts = parts[1], parts[3:]
	default:
		return to
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		to.namespace, parts = parts[1], parts[2:]
	}
	to.resource = parts[0]
	if len(parts) > 2 {
		to.subresource = "/" + parts[2]
	}
	switch {
	case r.Method == http.MethodGet && len(parts) > 1: // it is named
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		to.verb = "watch"
	case r.Method == http.MethodGet:
		to.verb = "list"
	case r.Method == http.MethodPost:
		to.verb = "create"
	case r.Method == http.MethodPut:
		to.verb = "update"
	}
	return to
}
