package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/assetplatform/assetplatform/controllers"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

type operatorOptions struct {
	metricsAddress, probeAddress string
	leaderElect                  bool
	leaderElectionNamespace      string
	concurrency                  int
	logLevel                     slog.Level
	images                       manifests.Images
}

func newOperatorCommand() *cobra.Command {
	var o operatorOptions
	level := "info"
	cmd := &cobra.Command{
		Use:   config.CommandOperator,
		Short: "Keep the platforms that AssetPlatform objects describe running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.logLevel.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level: %q is none of debug, info, warn, error", level)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runOperator(ctx, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "where /metrics answers; 0 switches it off")
	f.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz answer")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "let one of several operators lead")
	f.StringVar(&o.leaderElectionNamespace, "leader-election-namespace", "", "namespace of the lease; empty: the pod's own")
	f.IntVar(&o.concurrency, "concurrency", 4, "platforms reconciled at the same time")
	f.StringVar(&level, "log-level", level, "debug, info, warn or error")
	addImageFlags(cmd, &o.images)
	return cmd
}

// addImageFlags declares the flags of the operator and of a plan alike: a plan shows what an
// operator with the same flags would apply.
func addImageFlags(cmd *cobra.Command, images *manifests.Images) {
	f := cmd.Flags()
	f.StringVar(&images.Server, "server-image", manifests.DefaultImages.Server, "image of platforms that name none: the operator's own")
	f.StringVar(&images.Postgres, "postgres-image", manifests.DefaultImages.Postgres, "image of managed databases")
	f.StringVar(&images.Redis, "redis-image", manifests.DefaultImages.Redis, "image of managed caches")
	f.StringVar(&images.S3, "s3-image", manifests.DefaultImages.S3, "image of managed S3 servers")
}

func runOperator(ctx context.Context, o operatorOptions) error {
	// It holds much and allocates little: a heap that is collected at half of what it holds costs next to no time, and saves a
	// quarter of the memory.
	debug.SetGCPercent(50)
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel})))
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find a cluster: %w", err)
	}
	cfg.Wrap(controllers.CountRequests)
	cfg.QPS = -1 // the apiserver's own fairness limits us better than a client-side guess
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                        controllers.NewScheme(),
		Cache:                         controllers.CacheOptions(),
		Client:                        controllers.ClientOptions(),
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.probeAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "operator.assetplatform.io",
		LeaderElectionNamespace:       o.leaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	r := &controllers.Reconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Images: o.images,
		Events: mgr.GetEventRecorder("assetplatform-operator"), Readiness: controllers.NewReadinessReader(),
	}
	if err := r.SetupWithManager(mgr, o.concurrency); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	if err := r.RegisterInformers(ctx, mgr); err != nil {
		return fmt.Errorf("register informers: %w", err)
	}
	if err := addProbes(mgr, r); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// addProbes answers /healthz while the process lives, and /readyz once the caches are full.
func addProbes(mgr ctrl.Manager, r *controllers.Reconciler) error {
	ready := func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !r.Synced(ctx, mgr) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
	return errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("caches", ready))
}
