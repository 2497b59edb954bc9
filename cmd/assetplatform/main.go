// Command assetplatform is the operator and the asset service that it deploys,
// in one binary: each subcommand is one process of the platform.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/assetplatform/assetplatform/internal/config"
)

// version is set by the linker; see the Makefile.
var version = "dev"

func main() {
	if err := rootCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		if errors.As(err, new(finalError)) {
			os.Exit(config.ExitFinal)
		}
		os.Exit(1)
	}
}

// finalError is one with which another try would end, too.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "assetplatform",
		Short:         "Run and operate a game-asset service on Kubernetes",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newOperatorCommand(), newServerCommand(), newMigrateCommand(), newUserCommand(), newPlanCommand(), newBackupCommand())
	return root
}
