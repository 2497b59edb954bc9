// Package server is the asset API over HTTP: one file per resource, all routes in one
// list (routes.go), all errors in one table (errors.go). It keeps nothing that must
// survive the process: truth is in the store and the bucket, and Redis holds counters
// that may be lost. It must not know of Kubernetes or run jobs.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// Deadlines of connections and of the process.
const (
	headerTimeout   = 10 * time.Second // from the first byte of a request to the end of its header
	idleTimeout     = 2 * time.Minute  // longer than load balancers keep idle connections
	writeTimeout    = 30 * time.Second // for a JSON answer; downloads only need to make progress
	shutdownTimeout = 45 * time.Second // for requests in flight after the drain delay
)

// Options are what a Server works with. All fields are required.
type Options struct {
	Config config.Server
	Store  *store.Store
	Bucket *objectstore.Bucket
	Redis  *redis.Client
	Log    *slog.Logger
	// Metrics must be the one whose ObserveBucket the Bucket calls.
	Metrics *Metrics
}

// Server answers the asset API.
type Server struct {
	config    config.Server
	store     *store.Store
	bucket    *objectstore.Bucket
	log       *slog.Logger
	metrics   *Metrics
	tokens    *tokens
	passwords *passwords
	limiter   *limiter
	readiness *readiness
	handler   http.Handler

	progressTime time.Duration // how slow an upload may be; tests are less patient
}

// New assembles a server; Run starts it.
func New(o Options) *Server {
	s := &Server{
		config: o.Config, store: o.Store, bucket: o.Bucket, log: o.Log, metrics: o.Metrics,
		tokens:    newTokens(o.Config.JWTSecret, o.Config.JWTVerifySecrets),
		passwords: newPasswords(),
		limiter:   newLimiter(o.Redis, o.Config.RateLimits, o.Log),
		readiness: newReadiness(o.Store, o.Bucket, o.Redis, o.Log),

		progressTime: progressTime,
	}
	s.metrics.watch(o.Store, s.readiness)
	s.handler = s.middleware(s.routes())
	return s
}

// Handler is the whole API.
func (s *Server) Handler() http.Handler { return s.handler }

// Started is closed once the server has been ready for the first time: then the schema fits
// this image. The bucket may still be away, or refuse this pod later; but one that refuses it
// from the start keeps it from the jobs, which it would take from pods that can do them.
func (s *Server) Started() <-chan struct{} { return s.readiness.started }

// Run serves the API, also by TLS where it has a key pair, and the metrics on their ports until ctx ends. Then it reports
// that it is not ready, goes on serving for the drain delay, and gives the requests in
// flight 45 s to finish. The error is about ports that cannot be used, or the key pair.
func (s *Server) Run(ctx context.Context) error {
	api, err := listen(ctx, s.config.Port)
	if err != nil {
		return err
	}
	metrics, err := listen(ctx, s.config.MetricsPort)
	if err != nil {
		return errors.Join(err, api.Close())
	}
	apiServer := s.httpServer(s.handler)
	secure, err := s.listenTLS(ctx, apiServer)
	if err != nil {
		return errors.Join(err, api.Close(), metrics.Close())
	}
	metricsServer := s.httpServer(s.metrics.handler())

	checks, stopChecks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopChecks()
	go s.readiness.run(checks, checkEvery)
	failed := make(chan error, 3)
	go func() { failed <- apiServer.Serve(listener{api, s.log}) }()
	if secure != nil {
		go func() { failed <- apiServer.ServeTLS(secure, "", "") }()
	}
	go func() { failed <- metricsServer.Serve(metrics) }()
	s.log.Info("serving", "address", api.Addr().String(), "metrics", metrics.Addr().String(), "tls", secure != nil)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.readiness.drain()
	s.log.Info("draining", "delay", s.config.DrainDelay.String())
	time.Sleep(s.config.DrainDelay)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := apiServer.Shutdown(deadline); err != nil {
		s.log.Warn("requests were cut off", "after", shutdownTimeout.String())
		apiServer.Close()
	}
	metricsServer.Close()
	s.log.Info("stopped")
	return nil
}

// listenTLS opens the port for TLS and gives the API its key pair; nil where there is none.
func (s *Server) listenTLS(ctx context.Context, api *http.Server) (*net.TCPListener, error) {
	if s.config.TLSCertFile == "" {
		return nil, nil //nolint:nilnil // the caller asks
	}
	keys, err := newKeyPair(s.config.TLSCertFile, s.config.TLSKeyFile, s.log)
	if err != nil {
		return nil, err
	}
	// The protocols are named because the same http.Server serves plain HTTP, and would leave HTTP/2 out else.
	api.TLSConfig = &tls.Config{GetCertificate: keys.certificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	return listen(ctx, s.config.TLSPort)
}

func (s *Server) httpServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext:       rememberConnection,
		ConnState:         endHandling,
	}
}

func listen(ctx context.Context, port int) (*net.TCPListener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, err)
	}
	return l.(*net.TCPListener), nil
}
