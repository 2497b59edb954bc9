package server

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// Metrics are the process's numbers for Prometheus. Label values come from closed sets.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	uploads  *prometheus.CounterVec
	bucket   *prometheus.HistogramVec
}

// NewMetrics registers the metrics of the server, of Go and of the process.
func NewMetrics() *Metrics {
	latency := []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Time from a request's header to the end of its answer.", Buckets: latency,
		}, []string{"method", "route", "status"}),
		uploads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asset_uploads_total", Help: "Uploads by the kind of file (IMAGE, AUDIO, unknown) and outcome (stored, duplicate, refused, failed).",
		}, []string{"file_type", "status"}),
		bucket: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "object_store_request_duration_seconds", Help: "Time of calls to the object store; of get until its first byte, of put with the upload's own pace.", Buckets: latency,
		}, []string{"operation", "status"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.uploads, m.bucket,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ObserveBucket counts a call to the object store; it is the observer that objectstore.New takes.
func (m *Metrics) ObserveBucket(operation string, took time.Duration, err error) {
	status := "ok"
	if err != nil {
		status = "error"
	}
	m.bucket.WithLabelValues(operation, status).Observe(took.Seconds())
}

var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func (m *Metrics) request(method, route string, status int, took time.Duration) {
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	code := strconv.Itoa(status)
	m.requests.WithLabelValues(method, route, code).Inc()
	m.duration.WithLabelValues(method, route, code).Observe(took.Seconds())
}

func (m *Metrics) upload(fileType store.FileType, status string) {
	label := string(fileType)
	if label == "" {
		label = "unknown"
	}
	m.uploads.WithLabelValues(label, status).Inc()
}

// watch adds the state of the database's pool, of the job queue and of the dependencies, read when asked for.
func (m *Metrics) watch(st *store.Store, r *readiness) {
	m.registry.MustRegister(storeCollector{st}, dependencyCollector{r})
}

func (m *Metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+config.PathMetrics, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}

var (
	connections = prometheus.NewDesc("database_connections", "Connections of this process's pool.", []string{"state"}, nil)
	connLimit   = prometheus.NewDesc("database_connections_limit", "Most connections that the pool may have.", nil, nil)
	connWaits   = prometheus.NewDesc("database_acquire_waits_total", "Times that a query had to wait for a connection.", nil, nil)
	connWaited  = prometheus.NewDesc("database_acquire_wait_seconds_total", "Time that queries waited for connections.", nil, nil)
	queueJobs   = prometheus.NewDesc("job_queue_jobs", "Jobs that are not done.", []string{"queue", "state"}, nil)
	queueAge    = prometheus.NewDesc("job_queue_oldest_seconds", "Time since the oldest of these jobs was due.", []string{"queue", "state"}, nil)
)

var dependencyUp = prometheus.NewDesc("dependency_up", "Whether the last check found a dependency (database, schema, storage, cache) well; not there before the first check.", []string{"dependency"}, nil)

// dependencyCollector tells what /api/ready tells.
type dependencyCollector struct{ readiness *readiness }

func (c dependencyCollector) Describe(ch chan<- *prometheus.Desc) { ch <- dependencyUp }

func (c dependencyCollector) Collect(ch chan<- prometheus.Metric) {
	checks := c.readiness.report().Checks
	for name, check := range map[string]config.Check{"database": checks.Database, "schema": checks.Schema, "storage": checks.Storage, "cache": checks.Cache} {
		up := 0.0
		switch check.Status {
		case config.CheckUnknown:
			continue
		case config.CheckOK:
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(dependencyUp, prometheus.GaugeValue, up, name)
	}
}

// queueTimeout bounds the query for the queue's state; a scrape goes on without it.
const queueTimeout = time.Second

type storeCollector struct{ store *store.Store }

func (c storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connections, connLimit, connWaits, connWaited, queueJobs, queueAge} {
		ch <- d
	}
}

func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	pool := c.store.Pool().Stat()
	gauge(connections, float64(pool.AcquiredConns()), "used")
	gauge(connections, float64(pool.IdleConns()), "idle")
	gauge(connLimit, float64(pool.MaxConns()))
	ch <- prometheus.MustNewConstMetric(connWaits, prometheus.CounterValue, float64(pool.EmptyAcquireCount()))
	ch <- prometheus.MustNewConstMetric(connWaited, prometheus.CounterValue, pool.EmptyAcquireWaitTime().Seconds())

	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	queues, err := c.store.QueueStats(ctx)
	if err != nil {
		return
	}
	for _, q := range queues {
		gauge(queueJobs, float64(q.Jobs), q.Queue, q.State)
		gauge(queueAge, q.OldestAge.Seconds(), q.Queue, q.State)
	}
}
