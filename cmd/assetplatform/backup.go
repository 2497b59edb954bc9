package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// backupCommand is what all subcommands of backup share.
type backupCommand struct {
	output   string // text or json
	platform string // namespace/name
}

func newBackupCommand() *cobra.Command {
	b := &backupCommand{}
	cmd := &cobra.Command{
		Use:   config.CommandBackup,
		Short: "Keep verified copies of database and bucket together, and bring them back",
		Long: `Keep verified copies of database and bucket together, in another bucket, and bring them back. All settings come from
environment variables: the server's, and those of the other bucket. Exit status 0 means a verified success, 3 a failure that
another try would meet again, such as a damaged set.

Variables:
` + describe(config.BackupVars),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(cmd.Help(), errors.New("backup needs a subcommand"))
		},
	}
	cmd.PersistentFlags().StringVarP(&b.output, "output", "o", "text", "text, or json for the result as JSON")
	cmd.PersistentFlags().StringVar(&b.platform, "platform", "", "NAMESPACE/NAME of the AssetPlatform")
	cmd.AddCommand(b.create(), b.list(), b.verify(), b.prune(), b.restore(), b.scrub(), b.drill())
	return cmd
}

// backupRun is one run of a subcommand.
type backupRun struct {
	*backupCommand
	cfg         config.Backup
	destination backup.Destination
	progress    *progress
	out         io.Writer
}

// run does the work of a subcommand, prints its result, and leaves a message about the outcome.
func (b *backupCommand) run(cmd *cobra.Command, source bool, work func(ctx context.Context, r *backupRun) (result any, text string, err error)) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, text, err := b.begin(ctx, cmd, source, work)
	termination := config.Termination{Code: config.CodeOK, Message: firstLine(text)}
	if err != nil {
		if termination = terminationOf(err); termination.Code.Final() {
			err = finalError{err}
		}
	}
	switch {
	case b.output == "json" && err != nil:
		err = errors.Join(err, printJSON(cmd.OutOrStdout(), failure{termination, result}))
	case b.output == "json" && result != nil:
		err = printJSON(cmd.OutOrStdout(), result)
	case err == nil && text != "":
		fmt.Fprintln(cmd.OutOrStdout(), text)
	}
	if encoded, marshalled := json.Marshal(summary(result)); marshalled == nil {
		termination.Result = encoded
	}
	return errors.Join(err, config.WriteTermination(config.TerminationPath, termination))
}

// failure is what -o json prints where there is no success.
type failure struct {
	Error  config.Termination `json:"error"`
	Result any                `json:"result,omitempty"` // as far as it came
}

func printJSON(w io.Writer, what any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(what)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// summary is what the operator needs of a result.
func summary(result any) config.BackupResult {
	switch r := result.(type) {
	case backup.Set:
		return config.BackupResult{Set: r.ID, SnapshotTime: r.SnapshotTime, VerifiedTime: r.VerifiedTime, Previous: r.Previous, Bytes: r.Blobs.Bytes, Blobs: r.Blobs.Count}
	case backup.Pruned:
		return config.BackupResult{OldestTime: r.Oldest, Sets: r.Kept, Held: r.Held}
	case backup.Restored:
		return config.BackupResult{Set: r.Set, SnapshotTime: r.SnapshotTime, SafetySet: r.SafetySet}
	case backup.Drilled:
		return config.BackupResult{Set: r.Set, SnapshotTime: r.SnapshotTime, Seconds: r.Seconds + r.CopySeconds}
	case backup.Scrubbed:
		return config.BackupResult{Blobs: r.Blobs, Bytes: r.Bytes, Damaged: r.Damaged, DamagedSets: r.Sets[max(0, len(r.Sets)-mostSets):]}
	}
	return config.BackupResult{}
}

// terminationOf explains a failure.
func terminationOf(err error) config.Termination {
	t := config.Termination{Code: config.CodeBackupFailed, Message: err.Error(), Remedy: "see the log"}
	var problem *store.Problem
	switch {
	case errors.As(err, &problem):
		t = config.Termination{Code: problem.Code, Message: problem.Message, Remedy: problem.Remedy}
	case errors.Is(err, backup.ErrNoSet):
		t.Code, t.Remedy = config.CodeNoSet, "see what the destination has (backup list), and make a set or name another"
	case errors.Is(err, backup.ErrDamaged):
		t.Code, t.Remedy = config.CodeSetDamaged, "the next backup replaces damaged blobs while the bucket has them; restore from another set"
	case errors.Is(err, objectstore.ErrArchiveUnavailable):
		t.Code, t.Remedy = config.CodeDestinationUnavailable, "check the bucket of the backups and its credentials (BACKUP_…), and run it again"
	case errors.Is(err, objectstore.ErrUnavailable):
		t.Code, t.Remedy = config.CodeBucketUnavailable, "check the bucket of the assets and its credentials (S3_…), and run it again"
	}
	return t
}

func (b *backupCommand) begin(ctx context.Context, cmd *cobra.Command, source bool, work func(ctx context.Context, r *backupRun) (any, string, error)) (any, string, error) {
	if b.output != "text" && b.output != "json" {
		return nil, "", fmt.Errorf("there is no output %q: text or json", b.output)
	}
	if namespace, name, _ := strings.Cut(b.platform, "/"); b.platform != "" && (namespace == "" || name == "") {
		return nil, "", &store.Problem{Code: config.CodeConfigInvalid, Message: fmt.Sprintf("--platform is %q", b.platform), Remedy: "write it like games/studio: namespace and name"}
	}
	cfg, err := config.LoadBackup(os.Getenv, source)
	if err != nil {
		return nil, "", &store.Problem{Code: config.CodeConfigInvalid, Message: err.Error(), Remedy: "correct these environment variables"}
	}
	r := &backupRun{backupCommand: b, cfg: cfg, out: cmd.OutOrStdout(), progress: newProgress(cmd.ErrOrStderr(), cfg.LogLevel)}
	defer r.progress.end()
	if r.destination.Archive, err = objectstore.NewArchive(ctx, cfg.Destination); err != nil {
		return nil, "", err
	}
	r.destination.VerifyKey, r.destination.Remover = cfg.VerifyKey, r.destination.Archive
	if cfg.RemoverAccessKey != "" {
		if r.destination.Remover, err = objectstore.NewRemover(ctx, cfg.Destination, cfg.RemoverAccessKey, cfg.RemoverSecretKey); err != nil {
			return nil, "", err
		}
	}
	if err := r.destination.Archive.Check(ctx); err != nil {
		return nil, "", &store.Problem{Code: config.CodeDestinationUnavailable, Message: err.Error()}
	}
	return work(ctx, r)
}

func (b *backupCommand) create() *cobra.Command {
	var allowShrunken bool
	var object string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a set of database and bucket as they are now, and verify it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, func(ctx context.Context, r *backupRun) (any, string, error) {
				o, err := r.createOptions(ctx)
				if err != nil {
					return nil, "", err
				}
				o.AllowShrunken = allowShrunken
				if object != "" {
					if o.PlatformObject, err = os.ReadFile(object); err != nil {
						return nil, "", err
					}
				}
				set, err := backup.Create(ctx, o)
				if err == nil && len(set.Blobs.Missing) > 0 {
					err = &store.Problem{
						Code:    config.CodeSourceDamaged,
						Message: fmt.Sprintf("set %s has all but %d blobs, which the bucket lacks or has damaged, such as %s", set.ID, len(set.Blobs.Missing), set.Blobs.Missing[0]),
						Remedy:  "upload these files anew, or delete their assets; an older set that has them can be restored into another platform. Until then the set counts as unverified",
					}
				}
				if set.ID == "" {
					return nil, "", err
				}
				return set, fmt.Sprintf("set %s: verified; %d assets, %d blobs (%d new), %s", set.ID, set.Database.Rows["assets"], set.Blobs.Count, set.Blobs.Copied, set.SnapshotTime.Format(time.RFC3339)), err
			})
		},
	}
	cmd.Flags().BoolVar(&allowShrunken, "allow-shrunken", false, "also of a database that is empty although the last set's was not")
	cmd.Flags().StringVar(&object, "object", "", "file with the AssetPlatform object, which goes with the set")
	return cmd
}

// createOptions are those of the environment.
func (r *backupRun) createOptions(ctx context.Context) (backup.CreateOptions, error) {
	namespace, name, _ := strings.Cut(r.platform, "/")
	o := backup.CreateOptions{
		DatabaseURL: r.cfg.DatabaseURL, Destination: r.destination, Namespace: namespace, Name: name,
		SigningKey: r.cfg.SigningKey, Tool: version, Log: r.progress.log, Report: r.progress.report,
	}
	for _, text := range r.cfg.Recipients {
		recipient, err := age.ParseX25519Recipient(text)
		if err != nil {
			return o, &store.Problem{Code: config.CodeConfigInvalid, Message: fmt.Sprintf("%s: %q is no age recipient (%v)", config.BackupRecipients.Name, text, err), Remedy: "age-keygen prints one as the public key"}
		}
		o.Recipients = append(o.Recipients, recipient)
	}
	var err error
	o.Bucket, err = objectstore.New(ctx, r.cfg.Bucket, nil)
	return o, err
}

func (b *backupCommand) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Tell of all sets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, func(ctx context.Context, r *backupRun) (any, string, error) {
				l, err := r.destination.List(ctx)
				if err != nil {
					return nil, "", err
				}
				drilled, err := r.destination.LastDrill(ctx)
				if errors.Is(err, backup.ErrNoSet) {
					return listed{Listing: l}, listText(l), nil
				}
				return listed{l, &drilled}, listText(l) + "\n" + drillLine(drilled), err
			})
		},
	}
}

// listText is a table for people.
func listText(l backup.Listing) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SET\tSNAPSHOT\tSTATE\tASSETS\tBLOBS\tBYTES\tENCRYPTED")
	for _, s := range l.Sets {
		state := "verified"
		switch {
		case len(s.Damage) > 0:
			state = fmt.Sprintf("damaged (%d objects)", len(s.Damage))
		case len(s.Blobs.Missing) > 0:
			state = fmt.Sprintf("lacks %d blobs", len(s.Blobs.Missing))
		case !s.Verified():
			state = "not verified"
		case s.Safety:
			state = "verified, of what a restore has overwritten"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%v\n", s.ID, s.SnapshotTime.Format(time.RFC3339), state, s.Database.Rows["assets"], s.Blobs.Count, s.Blobs.Bytes, s.Encrypted)
	}
	_ = w.Flush() // into memory
	for _, id := range l.Unfinished {
		fmt.Fprintf(&text, "%s  is no set: it was never finished\n", id)
	}
	for id, why := range l.Bad {
		fmt.Fprintf(&text, "%s  cannot be read: %s\n", id, why)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func (b *backupCommand) verify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [SET]",
		Short: "Read all of a set (the newest), and compare it with its manifest",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return b.run(cmd, false, func(ctx context.Context, r *backupRun) (any, string, error) {
				id, err := r.chosen(ctx, args)
				if err != nil {
					return nil, "", err
				}
				set, err := r.destination.Verify(ctx, id, backup.VerifyOptions{Tool: version, Report: r.progress.report})
				if err == nil && len(set.Blobs.Missing) > 0 {
					err = &store.Problem{
						Code:    config.CodeSetDamaged,
						Message: fmt.Sprintf("set %s is what it should be, but lacks the bytes of %d contents, which the bucket had lost when it was made, such as %s", set.ID, len(set.Blobs.Missing), set.Blobs.Missing[0]),
						Remedy:  "see what the backup said that made it",
					}
				}
				if set.ID == "" {
					return nil, "", err
				}
				return set, fmt.Sprintf("set %s: %d blobs and %d files are what they should be", set.ID, set.Blobs.Count, len(set.Files)), err
			})
		},
	}
}

// chosen is the set that is named, or else the newest.
func (r *backupRun) chosen(ctx context.Context, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	l, err := r.destination.List(ctx)
	if err == nil && len(l.Sets) == 0 {
		for id, why := range l.Bad {
			return "", fmt.Errorf("%w: set %s cannot be read (%s): check BACKUP_VERIFY_KEY", backup.ErrNoSet, id, why)
		}
		err = fmt.Errorf("%w: the destination is empty", backup.ErrNoSet)
	}
	if err != nil {
		return "", err
	}
	return l.Sets[len(l.Sets)-1].ID, nil
}

func (b *backupCommand) prune() *cobra.Command {
	var allow string
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove sets that are past their time, and blobs that no set needs any more",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, func(ctx context.Context, r *backupRun) (any, string, error) {
				var counts [2]int64
				if n, err := fmt.Sscanf(allow, "%d/%d", &counts[0], &counts[1]); allow != "" && (err != nil || n != 2) {
					return nil, "", &store.Problem{Code: config.CodeConfigInvalid, Message: fmt.Sprintf("--allow-collection is %q", allow), Remedy: "write the two counts that a prune named, like 12/3400"}
				}
				p, err := r.destination.Prune(ctx, backup.PruneOptions{Retention: backup.Retention(r.cfg.Retention), AllowCollection: allow, Log: r.progress.log})
				if err != nil {
					return nil, "", err
				}
				text := fmt.Sprintf("%d sets removed, %d stay; %d blobs removed, %d wait", len(p.Removed), p.Kept, p.Collected, p.Waiting)
				if p.Held != "" {
					text += "; held back: " + p.Held
				}
				return p, text, nil
			})
		},
	}
	cmd.Flags().StringVar(&allow, "allow-collection", "", "KEPT/REMOVED, the counts of blobs of a collection that was held back")
	return cmd
}

func (b *backupCommand) restore() *cobra.Command {
	var set, before, overwrite, id string
	var noSafetySet, reread, missing bool
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Bring a set back, into the database and the bucket of the environment",
		Long: `Bring a set back, into the database and the bucket of the environment: the bytes first, then, in one transaction, the
database. Servers must not run meanwhile. It can be run again after it was interrupted. All sessions end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, func(ctx context.Context, r *backupRun) (any, string, error) {
				o, err := r.restoreOptions(ctx, set, before, overwrite, noSafetySet)
				if err != nil {
					return nil, "", err
				}
				o.ID, o.RereadObjects, o.AllowMissing = id, reread, missing
				done, err := backup.Restore(ctx, o)
				if done.Set == "" {
					return nil, "", err
				}
				text := fmt.Sprintf("restored set %s of %s: %d rows, %d objects copied", done.Set, done.SnapshotTime.Format(time.RFC3339), done.Rows, done.Copied)
				if len(done.Missing) > 0 {
					text += fmt.Sprintf("; it lacks %d contents, such as %s", len(done.Missing), done.Missing[0])
				}
				return done, text, err
			})
		},
	}
	cmd.Flags().StringVar(&set, "set", "", "id of the set (the newest verified one)")
	cmd.Flags().StringVar(&before, "before", "", "RFC 3339 time: the newest verified set that is not younger")
	cmd.Flags().StringVar(&overwrite, "overwrite", "", "name of the platform (--platform, else of the database) whose data is overwritten")
	cmd.Flags().StringVar(&id, "id", "", "of this restore: run again with the same id, once it is done, it changes nothing")
	cmd.Flags().BoolVar(&missing, "allow-missing", false, "also a set that lacks bytes which the bucket had lost when it was made")
	cmd.Flags().BoolVar(&reread, "reread-objects", false, "read what the bucket has in the right size, and replace it where its bytes are wrong")
	cmd.Flags().BoolVar(&noSafetySet, "no-safety-set", false, "make no set of what is overwritten first")
	cmd.MarkFlagsMutuallyExclusive("set", "before")
	return cmd
}

func (r *backupRun) restoreOptions(ctx context.Context, set, before, overwrite string, noSafetySet bool) (backup.RestoreOptions, error) {
	create, err := r.createOptions(ctx)
	if err != nil {
		return backup.RestoreOptions{}, err
	}
	o := backup.RestoreOptions{
		Destination: r.destination, Set: set, DatabaseURL: r.cfg.DatabaseURL, Bucket: create.Bucket, Name: create.Name, Overwrite: overwrite,
		Log: r.progress.log, Report: r.progress.report,
	}
	if o.Name == "" {
		o.Name = databaseName(r.cfg.DatabaseURL)
	}
	if before != "" {
		if o.Before, err = time.Parse(time.RFC3339, before); err != nil {
			return o, &store.Problem{Code: config.CodeConfigInvalid, Message: fmt.Sprintf("--before: %q is no RFC 3339 time", before), Remedy: "write it like " + time.Now().UTC().Format(time.RFC3339)}
		}
	}
	if o.Identities, err = r.identities(); err != nil {
		return o, err
	}
	if len(create.Recipients) == 0 { // who may read the set that is restored may read what it overwrites
		create.Recipients = recipientsOf(o.Identities)
	}
	if !noSafetySet {
		create.Safety, create.AllowShrunken = true, true // it may be why there is a restore
		o.Safety = func(ctx context.Context) (backup.Set, error) { return backup.Create(ctx, create) }
	}
	return o, nil
}

// identities are those of the environment; none: nothing can be decrypted.
func (r *backupRun) identities() ([]age.Identity, error) {
	if r.cfg.Identity == "" {
		return nil, nil
	}
	identities, err := age.ParseIdentities(strings.NewReader(r.cfg.Identity))
	if err != nil {
		return nil, &store.Problem{Code: config.CodeConfigInvalid, Message: config.BackupIdentity.Name + " is no age identity", Remedy: "age-keygen makes one"}
	}
	return identities, nil
}

// recipientsOf are for whom to encrypt so that these identities can decrypt it.
func recipientsOf(identities []age.Identity) (all []age.Recipient) {
	for _, i := range identities {
		if x, ok := i.(*age.X25519Identity); ok {
			all = append(all, x.Recipient())
		}
	}
	return all
}
