package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/store"
)

// mostSets is how many sets a message about the outcome names.
const mostSets = 10

func (b *backupCommand) scrub() *cobra.Command {
	var all, goOn bool
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Read a share of what sets need, and find what is damaged",
		Long: `Read a share of what sets need, where the last run has ended, and find what is damaged. It needs no identity. Sets that need what is
damaged count as verified no more; the next backup replaces damaged blobs, and the scrub after it finds those sets whole. Exit status 3: some
set is damaged.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := b.run(cmd, false, func(ctx context.Context, r *backupRun) (any, string, error) {
				s, err := r.destination.Scrub(ctx, backup.ScrubOptions{Runs: r.cfg.ScrubRuns, All: all, Tool: version, Log: r.progress.log, Report: r.progress.report})
				if err != nil && s.Damaged == 0 {
					return nil, "", err
				}
				return s, scrubText(s), err
			})
			if goOn && errors.Is(err, backup.ErrDamaged) {
				return nil
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&goOn, "go-on", false, "exit status 0 also where damage was found: what comes next does not depend on it")
	cmd.Flags().BoolVar(&all, "all", false, "read everything in this run")
	return cmd
}

// scrubText tells people what a scrub did.
func scrubText(s backup.Scrubbed) string {
	text := fmt.Sprintf("%d blobs and %d files read, %d of %d bytes", s.Blobs, s.Files, s.Bytes, s.Total)
	if s.Complete {
		text += fmt.Sprintf("; everything since %s", s.Began.Format(time.RFC3339))
	}
	if len(s.Mended) > 0 {
		text += "; whole again: " + strings.Join(s.Mended, ", ")
	}
	for _, key := range s.Keys {
		text += "\ndamaged: " + key
	}
	return text
}

func (b *backupCommand) drill() *cobra.Command {
	var set string
	var sample int
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Restore a set into a database of its own, and prove that it serves",
		Long: `Restore a set (the newest verified one) into a PostgreSQL that is started for it, or into the empty database of
BACKUP_DRILL_DATABASE_URL; look whether schema, rows and bytes are there; read some of the bytes; and have a server serve it and download
the newest image and the newest sound. Nothing of the platform is touched, and everything is removed again. What was found is recorded in the
destination.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, func(ctx context.Context, r *backupRun) (any, string, error) {
				if sample < 0 {
					return nil, "", &store.Problem{Code: config.CodeConfigInvalid, Message: fmt.Sprintf("--sample is %d", sample), Remedy: "give how many blobs are to be read, 0 or more"}
				}
				program, err := os.Executable()
				if err != nil {
					return nil, "", err
				}
				identities, err := r.identities()
				if err != nil {
					return nil, "", err
				}
				done, err := backup.Drill(ctx, backup.DrillOptions{
					Destination: r.destination, Set: set, Identities: identities, DatabaseURL: r.cfg.DrillDatabaseURL, Live: r.cfg.LiveDatabaseURLs,
					Sample: sample, Program: program, Tool: version, Log: r.progress.log, Report: r.progress.report,
				})
				if done.Set == "" {
					return nil, "", err
				}
				return done, drillText(done), err
			})
		},
	}
	cmd.Flags().StringVar(&set, "set", "", "id of the set (the newest verified one)")
	cmd.Flags().IntVar(&sample, "sample", 200, "how many blobs are read, of up to 256 MiB together")
	return cmd
}

// drillText tells people what a drill did.
func drillText(d backup.Drilled) string {
	var text strings.Builder
	if d.Seconds > 0 {
		fmt.Fprintf(&text, "set %s of %s: restored and served in %.1f s; %d rows; %d of its blobs read, %.0f MB/s: to copy all takes %.0f s more\n",
			d.Set, d.SnapshotTime.Format(time.RFC3339), d.Seconds, d.Rows, d.Sampled, d.BytesPerSecond/1e6, d.CopySeconds)
	}
	for _, step := range d.Steps {
		fmt.Fprintf(&text, "%8.2f s  %s\n", step.Seconds, step.Name)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// listed is what there is, and when it was last tried.
type listed struct {
	backup.Listing
	Drill *backup.DrillRecord `json:"drill,omitempty"`
}

// drillLine tells people of the last drill.
func drillLine(r backup.DrillRecord) string {
	if r.Code != config.CodeOK {
		return fmt.Sprintf("last drill, %s: failed, %s: %s", r.Time.Format(time.RFC3339), r.Code, r.Message)
	}
	return fmt.Sprintf("last drill, %s: set %s was restored and served in %.1f s", r.Time.Format(time.RFC3339), r.Set, r.Seconds)
}
