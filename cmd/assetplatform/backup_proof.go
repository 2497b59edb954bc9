package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assetplatform/assetplatform/internal/backup"
)

// mostSets is how many sets a message about the outcome names.
const mostSets = 10

func (b *backupCommand) scrub() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Read a share of what sets need, and find what is damaged",
		Long: `Read a share of what sets need, where the last run has ended, and find what is damaged. It needs no identity. Sets that need what is
damaged count as verified no more; the next backup replaces damaged blobs, and the scrub after it finds those sets whole. Exit status 1: some
set is damaged.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, func(ctx context.Context, r *backupRun) (any, string, error) {
				s, err := r.destination.Scrub(ctx, backup.ScrubOptions{Runs: r.cfg.ScrubRuns, All: all, Tool: version, Log: r.progress.log, Report: r.progress.report})
				return s, scrubText(s), err
			})
		},
	}
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
