package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

func newUserCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   config.CommandUser,
		Short: "Administer accounts, with the server's environment",
		Long: `Administer accounts. The first administrator is made in this way; it takes the database from the server's environment, as in
  kubectl exec deployment/studio-server -- assetplatform user set-role artist@example.com admin`,
	}
	cmd.AddCommand(&cobra.Command{
		Use:       "set-role EMAIL user|admin",
		Short:     "Give the account of an email address a role",
		Args:      cobra.ExactArgs(2),
		ValidArgs: []string{store.RoleUser, store.RoleAdmin},
		RunE: func(cmd *cobra.Command, args []string) error {
			return setRole(cmd, args[0], args[1])
		},
	})
	return cmd
}

// setRole says what it has done, and else what to do.
func setRole(cmd *cobra.Command, email, role string) error {
	if role != store.RoleUser && role != store.RoleAdmin {
		return fmt.Errorf("there is no role %q: give %s or %s", role, store.RoleUser, store.RoleAdmin)
	}
	cfg, err := config.LoadMigrate(os.Getenv)
	if err != nil {
		return err
	}
	db, err := store.Open(cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	user, err := db.SetRole(cmd.Context(), email, role)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("no account has the email address %s: register it first", email)
	case errors.Is(err, store.ErrLastAdmin):
		return fmt.Errorf("%s is the last administrator: make another one first", email)
	case err != nil:
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s (%s) has the role %s now\n", user.Email, user.Username, user.Role)
	return nil
}
