package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// How patient `migrate` is. Whoever runs it tries again.
const (
	migrateConnectWait = 30 * time.Second
	migrateLockWait    = time.Minute
)

func newMigrateCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   config.CommandMigrate,
		Short: "Bring the database to the schema of this image",
		Long: `Bring the database to the schema of this image, and leave a JSON message about the
outcome at ` + config.TerminationPath + `. All settings come from environment variables.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(store.ImageSchema())
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			termination, err := runMigrate(ctx, cmd.OutOrStdout())
			return errors.Join(err, config.WriteTermination(config.TerminationPath, termination))
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "print the schema of this image as JSON and touch no database")
	return cmd
}

// runMigrate migrates the database that the environment names and describes the outcome.
func runMigrate(ctx context.Context, out io.Writer) (config.Termination, error) {
	cfg, err := config.LoadMigrate(os.Getenv)
	if err != nil {
		return config.Termination{Code: config.CodeConfigInvalid, Message: err.Error(), Remedy: "correct these environment variables"}, err
	}
	log := newLogger(out, cfg.LogLevel)
	schema, err := store.Migrate(ctx, store.MigrateOptions{
		URL: cfg.DatabaseURL, ConnectWait: migrateConnectWait, LockWait: migrateLockWait, Log: log,
	})
	var problem *store.Problem
	if errors.As(err, &problem) {
		log.Error("not migrated", "code", problem.Code, "reason", problem.Message, "remedy", problem.Remedy)
		return config.Termination{Code: problem.Code, Message: problem.Message, Remedy: problem.Remedy}, err
	}
	log.Info("migrated", "schema", schema.Schema, "compatibleFrom", schema.CompatibleFrom)
	result, err := json.Marshal(schema)
	return config.Termination{Code: config.CodeOK, Message: "the database has the schema of this image or a later one that fits it", Result: result}, err
}
