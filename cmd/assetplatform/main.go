// Command assetplatform is the operator and the asset service that it deploys,
// in one binary: each subcommand is one process of the platform.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// version is set by the linker; see the Makefile.
var version = "dev"

func main() {
	if err := rootCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

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
