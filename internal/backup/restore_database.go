package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// errUnreadable means that a dump is not there, or cannot be read as one.
var errUnreadable = fmt.Errorf("%w: the dump cannot be read", ErrDamaged)

// dumpKey is where the set's dump is.
func (r *restoration) dumpKey() string {
	file, _ := r.set.file(dumpFile)
	return setKey(r.set.ID, file.Name)
}

// restoreDatabase replaces the database, or leaves it as it is.
func (r *restoration) restoreDatabase(ctx context.Context, epilogue string) error {
	file, ok := r.set.file(dumpFile)
	if !ok {
		return fmt.Errorf("%w: set %s has none", errUnreadable, r.set.ID)
	}
	sum, err := file.sum()
	if err != nil {
		return err
	}
	body, size, err := r.Destination.Archive.Get(ctx, r.dumpKey())
	if isWrong(err) {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	fetched := &noting{from: body}
	counted := &counting{from: fetched, report: func(n int64) { r.Report(Progress{Step: "database", Done: n, Total: size, Unit: "bytes"}) }}
	verified := objectstore.Verified(counted, sum)
	plain, err := r.decrypted(verified)
	if err == nil {
		// Of an encrypted file what is behind its end counts too.
		whole := io.MultiReader(plain, rest{verified})
		before := store.RestorePrologue()
		if r.target != nil {
			before = r.target.RestoreLock() + before
		}
		err = r.programs.restoreDump(ctx, r.DatabaseURL, whole, before, epilogue)
	}
	switch {
	case err == nil:
		return nil
	case fetched.failed != nil:
		return fmt.Errorf("%w: read %s: %w", objectstore.ErrUnavailable, file.Name, fetched.failed)
	case isWrong(err):
		return fmt.Errorf("%w: %s: %w", errUnreadable, r.dumpKey(), err)
	}
	return r.refusal(err)
}

// refusal is what the server said in the transaction, which changed nothing, in words for people.
func (r *restoration) refusal(err error) error {
	for _, said := range []struct {
		text   string
		code   config.Code
		remedy string
	}{
		{store.Filled, config.CodeTargetNotEmpty, "look at what it has brought; to put another set in its place, say that it is to be overwritten: " + r.Name},
		{store.Served, config.CodeTargetInUse, stopServers},
		{store.Astray, config.CodeConfigInvalid, "write the database's URL as postgres://USER:PASSWORD@HOST:PORT/DATABASE, of one server; nothing has changed"},
		{store.Differs, config.CodeSetDamaged, "restore another set; nothing has changed"},
	} {
		if _, more, found := strings.Cut(err.Error(), said.text); found {
			more, _, _ = strings.Cut(more, "\n")
			return &store.Problem{Code: said.code, Message: said.text + more, Remedy: said.remedy}
		}
	}
	return err
}

// rest reads another reader to its end, and hands on nothing of it but an error.
type rest struct{ from io.Reader }

func (r rest) Read([]byte) (int, error) {
	if _, err := io.Copy(io.Discard, r.from); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// restoreDump has psql run in one transaction what a dump says, between two statements of ours. A dump that ends early, or is not what its
// reader wants, ends the transaction.
func (p programs) restoreDump(ctx context.Context, databaseURL string, dump io.Reader, before, after string) error {
	address, environment, err := libpq(databaseURL)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var said, restoreSaid bytes.Buffer
	script := p.command(ctx, environment, "pg_restore", "--file=-", "--no-owner", "--no-privileges", "--no-comments")
	from := &broken{from: dump}
	script.Stdin, script.Stderr = from, &restoreSaid
	statements, err := script.StdoutPipe()
	if err != nil {
		return err
	}
	psql := p.command(ctx, environment, "psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--dbname="+address)
	psql.Stderr = &said
	in, err := psql.StdinPipe()
	if err != nil {
		return err
	}
	if err := errors.Join(script.Start(), psql.Start()); err != nil {
		return fmt.Errorf("start pg_restore and psql: %w", err)
	}
	_, err = io.WriteString(in, "begin;\n"+before+"\n")
	if err == nil {
		_, err = io.Copy(in, statements)
	}
	if err != nil {
		stop() // psql has ended: nobody reads what pg_restore still has to say
	}
	unread := script.Wait() // tells what reading the dump met with, too
	if err == nil && unread == nil {
		_, err = io.WriteString(in, "\n"+after+"\ncommit;\n")
	} else {
		stop() // in the middle of the transaction, which is then none
	}
	err = errors.Join(err, in.Close())
	failed := psql.Wait()
	switch {
	case from.err != nil:
		return fmt.Errorf("read the dump: %w", from.err)
	case said.Len() > 0: // the cause of whatever else went wrong
		return fmt.Errorf("restore the database: psql: %s", firstLines(said.String()))
	case unread != nil:
		return fmt.Errorf("%w: %w: %s", errUnreadable, unread, firstLines(restoreSaid.String()))
	case failed != nil:
		return fmt.Errorf("restore the database: psql: %w", failed)
	}
	return err
}

// broken remembers the error that ended another reader: who reads may say only that it is too short.
type broken struct {
	from io.Reader
	err  error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

func firstLines(text string) string {
	text = strings.TrimSpace(text)
	return text[:min(len(text), 1000)]
}
