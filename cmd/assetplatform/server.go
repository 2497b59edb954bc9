package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/jobs"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/server"
	"github.com/assetplatform/assetplatform/internal/store"
)

func newServerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   config.CommandServer,
		Short: "Serve the asset API and work off its jobs",
		Long:  serverHelp(),
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.LoadServer(os.Getenv)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runServer(ctx, cfg, newLogger(cmd.OutOrStdout(), cfg.LogLevel))
		},
	}
}

// serverHelp tells of every variable that the server reads.
func serverHelp() string {
	return `Serve the asset API and work off its jobs, until SIGTERM: then requests that are under way are finished. All settings
come from environment variables; what is missing or wrong is told at the start, all at once. The API describes itself
at /api/docs and /api/openapi.json; metrics are on a port of their own.

The first administrator: assetplatform user set-role EMAIL admin, with the same environment.

Variables:
` + describe(config.ServerVars)
}

// describe tells of variables.
func describe(variables []config.Var) string {
	var text strings.Builder
	for _, v := range variables {
		state := "default " + v.Default
		switch {
		case v.Required:
			state = "required"
		case v.Default == "":
			state = "optional"
		}
		fmt.Fprintf(&text, "\n  %s (%s)\n      %s\n", v.Name, state, v.Doc)
	}
	return text.String()
}

// runServer serves until ctx ends. It needs none of its dependencies to start.
func runServer(ctx context.Context, cfg config.Server, log *slog.Logger) error {
	if len(cfg.JWTSecret) < config.SafeKeyLength {
		log.Warn("JWT_SECRET is short: access tokens could be forged by guessing it; use 32 random bytes or more")
	}
	db, err := store.OpenServer(cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	metrics := server.NewMetrics()
	bucket, err := objectstore.New(ctx, cfg.Bucket, metrics.ObserveBucket)
	if err != nil {
		return err
	}
	redis.SetLogger(redisLog{log})
	rdb, err := server.NewRedis(cfg.RedisURL)
	if err != nil {
		return err
	}
	defer rdb.Close()

	srv := server.New(server.Options{Config: cfg, Store: db, Bucket: bucket, Redis: rdb, Log: log, Metrics: metrics})
	worked := make(chan error, 1)
	go func() {
		worked <- jobs.Run(ctx, jobs.Options{Store: db, Bucket: bucket, Log: log, TrashRetention: cfg.TrashRetention, AuditRetention: cfg.AuditRetention}, srv.Started())
	}()
	if err := srv.Run(ctx); err != nil {
		return err
	}
	return <-worked
}

// redisLog takes what the client says about its connections; that Redis is away is
// news of the readiness checks.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, v...))
}

// newLogger writes one JSON object per line.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}
