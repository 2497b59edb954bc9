package backup

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// CreateOptions say of what to make a set, and how.
type CreateOptions struct {
	DatabaseURL string // past a transaction pooler
	Bucket      *objectstore.Bucket
	Destination Destination

	Namespace, Name string // of the AssetPlatform object; empty: there is none
	PlatformObject  []byte // it, as YAML; empty: none goes with the set

	Recipients []age.Recipient    // may decrypt the set; empty: it is not encrypted
	SigningKey ed25519.PrivateKey // nil: it is not signed
	// AllowShrunken makes a set of a database that is empty although the newest set's was not.
	AllowShrunken bool
	// Safety makes a set of what a restore is to overwrite.
	Safety bool

	Workers int // blobs that are copied at a time
	Tool    string
	Log     *slog.Logger
	Report  func(Progress)

	programs programs
	step     func(name string) // tests end the process in it
}

// Progress is how far the work is.
type Progress struct {
	Step  string `json:"step"`
	Done  int64  `json:"done"`
	Total int64  `json:"total,omitempty"` // 0: not known
	Unit  string `json:"unit"`
}

// creation is one run of Create.
type creation struct {
	CreateOptions
	m        Manifest
	since    time.Time // when the database came to be one of its own
	previous *Set      // the newest verified one whose inventory can be read
	there    Listing   // that the destination has, with this one
	// inventory of the snapshot, without what is stored, in a file: to hold a transaction while blobs travel would keep the database from
	// cleaning up.
	blobs  *os.File
	files  sync.Mutex   // of the manifest
	copied atomic.Int64 // contents
	// replaced are blobs, by their keys, that were damaged.
	replaced map[string]replacement
}

// Create makes a set and verifies it. Whatever happens to it, a set that has a manifest is whole, and what is in the destination stays. An
// error may be a *store.Problem, which says what to do.
func Create(ctx context.Context, o CreateOptions) (Set, error) {
	c := &creation{CreateOptions: o}
	if c.step == nil {
		c.step = func(string) {}
	}
	if c.Report == nil {
		c.Report = func(Progress) {}
	}
	c.m = Manifest{
		Version: manifestVersion, Tool: o.Tool, Safety: o.Safety,
		Platform: Platform{Namespace: o.Namespace, Name: o.Name}, Encrypted: len(o.Recipients) > 0,
	}
	if err := c.prepare(ctx); err != nil {
		return Set{}, err
	}
	release, err := holdObjects(ctx, c.DatabaseURL, "backup "+c.m.ID)
	if err != nil {
		return Set{}, err
	}
	defer release()
	defer c.forget()
	if err := c.take(ctx); err != nil {
		return Set{}, err
	}
	if err := c.putPlatform(ctx); err != nil {
		return Set{}, err
	}
	if err := c.putManifest(ctx); err != nil {
		return Set{}, err
	}
	c.step("verify")
	set, err := c.Destination.Verify(ctx, c.m.ID, VerifyOptions{Report: c.Report, Tool: c.Tool, trusted: true})
	c.step("done")
	return set, err
}

// holdObjects keeps the collector from objects to which only a snapshot refers, or a backup that is being restored.
func holdObjects(ctx context.Context, databaseURL, holder string) (release func(), err error) {
	db, err := store.Open(databaseURL)
	if err != nil {
		return nil, err
	}
	end, err := db.HoldObjects(ctx, holder)
	if err != nil {
		problem := db.Diagnose(err)
		db.Close()
		return nil, problem
	}
	return func() {
		end()
		db.Close()
	}, nil
}

// take dumps the database, and brings the blobs to which the rows of the same moment refer.
func (c *creation) take(ctx context.Context) error {
	c.step("database")
	snapshot, err := store.OpenSnapshot(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	end := sync.OnceFunc(snapshot.Close)
	defer end()
	if err := c.describe(ctx, snapshot); err != nil {
		return err
	}
	if err := errors.Join(c.isOwn(), c.isPlausible()); err != nil {
		return err
	}
	if c.blobs, err = os.CreateTemp("", "inventory-"); err != nil {
		return noRoom(err)
	}
	if err := os.Remove(c.blobs.Name()); err != nil { // it goes with the process
		return err
	}
	both, ctx := errgroup.WithContext(ctx)
	listed := make(chan struct{})
	both.Go(func() error {
		defer end()
		err := c.putDump(ctx, snapshot)
		<-listed
		return err
	})
	both.Go(func() error {
		err := c.listBlobs(ctx, snapshot)
		close(listed)
		if err != nil {
			return err
		}
		return c.copyBlobs(ctx)
	})
	return both.Wait()
}

// describe notes what the snapshot is of.
func (c *creation) describe(ctx context.Context, snapshot *store.Snapshot) error {
	c.m.SnapshotTime, c.m.Platform.ID, c.m.Platform.Instance, c.since = snapshot.Time.UTC(), snapshot.PlatformID, snapshot.Instance.ID, snapshot.Instance.Since
	c.m.Database = Database{SchemaRange: snapshot.Schema, LSN: snapshot.LSN, Server: snapshot.Server, Bytes: snapshot.DatabaseBytes, LeftOut: store.Undumped()}
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		c.m.Database.PgDump, err = c.programs.pgDumpFor(ctx, snapshot)
		return err
	})
	both.Go(func() (err error) {
		c.m.Database.Rows, err = snapshot.Rows(ctx)
		return err
	})
	return both.Wait()
}

func (c *creation) putDump(ctx context.Context, snapshot *store.Snapshot) error {
	d, err := c.programs.startDump(ctx, c.DatabaseURL, snapshot.Name, slices.Sorted(maps.Keys(c.m.Database.Rows)))
	if err != nil {
		return err
	}
	defer d.Close()
	counted := &counting{from: d, report: func(n int64) { c.Report(Progress{Step: "database", Done: n, Unit: "bytes"}) }}
	if err := c.putFile(ctx, dumpFile, counted); err != nil {
		return err
	}
	c.Report(Progress{Step: "database", Done: counted.n, Total: counted.n, Unit: "bytes"})
	return nil
}

// putFile puts a file of the set, encrypted where the set is.
func (c *creation) putFile(ctx context.Context, name string, body io.Reader) (err error) {
	if c.m.Encrypted {
		name += encryptedEnd
		if body, err = age.EncryptReader(body, c.Recipients...); err != nil {
			return fmt.Errorf("encrypt: %w", err)
		}
	}
	sum, err := c.Destination.Archive.Put(ctx, setKey(c.m.ID, name), body)
	if err == nil {
		c.has(fileOf(name, sum))
	}
	return err
}

// has notes a file of the set.
func (c *creation) has(f File) {
	c.files.Lock()
	defer c.files.Unlock()
	c.m.Files = append(c.m.Files, f)
}

// noRoom is why the inventory could not be kept on this machine.
func noRoom(err error) error {
	return &store.Problem{Code: config.CodeBackupFailed, Message: "keep the list of blobs: " + err.Error(), Remedy: "make room in " + os.TempDir() + ", or set TMPDIR to where there is some"}
}

// listBlobs notes what rows refer to.
func (c *creation) listBlobs(ctx context.Context, snapshot *store.Snapshot) error {
	w := newInventoryWriter(c.blobs)
	for b, err := range snapshot.Blobs(ctx) {
		if err != nil {
			return err
		}
		sum := objectstore.Sum{Size: b.Size, SHA256: b.SHA256}
		if err := w.write(content{sum, sum, []string{b.ObjectKey}}); err != nil {
			return noRoom(err)
		}
		c.m.Blobs.Objects++
	}
	if err := w.close(); err != nil {
		return noRoom(err)
	}
	if want := c.m.Database.Rows["blobs"]; c.m.Blobs.Objects != want {
		return fmt.Errorf("the database has %d blobs and lists %d", want, c.m.Blobs.Objects)
	}
	return nil
}

func (c *creation) forget() {
	if c.blobs != nil {
		_ = c.blobs.Close() // it has no name any more
	}
}

func (c *creation) putPlatform(ctx context.Context) error {
	if len(c.PlatformObject) == 0 {
		return nil
	}
	return c.putFile(ctx, platformFile, bytes.NewReader(c.PlatformObject))
}

// putManifest makes a set of what is there.
func (c *creation) putManifest(ctx context.Context) error {
	c.step("manifest")
	c.m.FinishedTime = time.Now().UTC()
	slices.SortFunc(c.m.Files, func(a, b File) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	text, err := json.MarshalIndent(c.m, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if c.SigningKey != nil {
		signature := base64.StdEncoding.EncodeToString(ed25519.Sign(c.SigningKey, text)) + "\n"
		if _, err := c.Destination.Archive.Put(ctx, setKey(c.m.ID, signatureFile), bytes.NewReader([]byte(signature))); err != nil {
			return err
		}
	}
	_, err = c.Destination.Archive.Put(ctx, setKey(c.m.ID, manifestFile), bytes.NewReader(text))
	return err
}

// counting tells how much was read.
type counting struct {
	from   io.Reader
	n      int64
	report func(int64)
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	c.report(c.n)
	return n, err
}
