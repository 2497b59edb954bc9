// Command docs prints what is generated from our own packages: docs/configuration.md from the contract in internal/config
// or, with the argument dashboard, the operator's dashboard.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

func main() {
	if slices.Equal(os.Args[1:], []string{"dashboard"}) {
		var text bytes.Buffer
		if err := json.Indent(&text, []byte(manifests.OperatorDashboard()), "", "  "); err != nil {
			panic(err)
		}
		fmt.Println(text.String())
		return
	}
	fmt.Print(`# Configuration of the pods

<!-- Generated from internal/config by "make generate". Do not edit. -->

The operator writes these variables into the pods that it makes; nobody sets them by
hand in a cluster. They matter when a subcommand runs elsewhere. Variables marked
*secret* are only ever taken from a Secret.

`)
	table("assetplatform "+config.CommandServer, config.ServerVars)
	table("assetplatform "+config.CommandMigrate, config.MigrateVars)
	table("assetplatform "+config.CommandBackup, config.BackupVars)
	fmt.Printf("## Ports and paths\n\n| what | where |\n|---|---|\n")
	fmt.Printf("| API | port %d |\n| metrics | port %d, `%s` |\n| liveness | `%s` |\n| readiness | `%s` |\n",
		config.ServerPort, config.MetricsPort, config.PathMetrics, config.PathHealth, config.PathReady)
}

func table(title string, vars []config.Var) {
	fmt.Printf("## %s\n\n| variable | default | meaning |\n|---|---|---|\n", title)
	for _, v := range vars {
		fallback := "`" + v.Default + "`"
		switch {
		case v.Required:
			fallback = "required"
		case v.Default == "":
			fallback = "none"
		}
		name := "`" + v.Name + "`"
		if v.Secret {
			name += " *secret*"
		}
		fmt.Printf("| %s | %s | %s |\n", name, fallback, strings.ReplaceAll(v.Doc, "|", "\\|"))
	}
	fmt.Println()
}
