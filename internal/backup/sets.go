// Package backup keeps copies of a platform, its database and its bucket together, in another bucket (the destination), and proves them by
// reading them back and by restoring them. It owns the destination's layout. It never deletes what a loss at the source might have taken:
// only Prune removes, and only by what the destination itself says.
//
// # Layout
//
//	sets/<ULID>/started.json         a set is being made, or its maker died; for whom it encrypts
//	sets/<ULID>/database.dump        pg_dump's custom format
//	sets/<ULID>/inventory.jsonl.gz   a line for each object of the bucket to which rows refer
//	sets/<ULID>/platform.yaml        the AssetPlatform object, where there is one
//	sets/<ULID>/manifest.sig         Ed25519 signature of the manifest, base64, where there is a key
//	sets/<ULID>/manifest.json        hashes of all of these; written last: without it there is no set
//	sets/<ULID>/verified-<ULID>.json what a verification found
//	blobs/sha256/<2 digits>/<SHA-256> the bytes of the bucket's objects, each content once
//	damage/<ULID>.json               blobs that were found damaged, or that a set has replaced
//	collections/mark-<ULID>.json     blobs that no set needed at that time
//	scrub/<ULID>.json                how far a scrub has come
//	drills/<ULID>.json               what a drill found
//
// Of an encrypted set the dump, what belongs to the platform and the blobs are files of age (age-encryption.org), and end in
// .age. Sets only ever add: a key that is there is not written again, but for a blob that is known to be damaged.
package backup

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// The parts of keys.
const (
	setsFolder       = "sets/"
	blobsFolder      = "blobs/sha256/"
	damageFolder     = "damage/"
	collectionFolder = "collections/"

	startedFile    = "started.json"
	dumpFile       = "database.dump"
	inventoryFile  = "inventory.jsonl.gz"
	platformFile   = "platform.yaml"
	signatureFile  = "manifest.sig"
	manifestFile   = "manifest.json"
	verifiedPrefix = "verified-"
	encryptedEnd   = ".age"
)

// manifestVersion is of the layout.
const manifestVersion = 1

// maxDocument is how large a JSON document of the destination may be that is read as a whole, bytes.
const maxDocument = 16 << 20

func setKey(id, file string) string { return setsFolder + id + "/" + file }

func blobKey(sha [sha256.Size]byte, encrypted bool) string {
	text := hex.EncodeToString(sha[:])
	key := blobsFolder + text[:2] + "/" + text
	if encrypted {
		key += encryptedEnd
	}
	return key
}

// Manifest says what a set is of and what it consists of.
type Manifest struct {
	Version      int       `json:"version"`
	ID           string    `json:"id"`
	Platform     Platform  `json:"platform"`
	SnapshotTime time.Time `json:"snapshotTime"` // what the set holds is of this time, by the database's clock
	FinishedTime time.Time `json:"finishedTime"`
	Previous     string    `json:"previous,omitempty"` // the newest set when this one was begun
	Database     Database  `json:"database"`
	Blobs        Blobs     `json:"blobs"`
	Files        []File    `json:"files"`
	Encrypted    bool      `json:"encrypted,omitempty"`
	Readers      []string  `json:"readers,omitempty"` // recipients of age whose identities open all of it
	// Safety says that it is of what a restore was to overwrite: it is brought back only if it is named.
	Safety bool   `json:"safety,omitempty"`
	Tool   string `json:"tool"` // version of assetplatform

	sha256 string // of its text, hexadecimal
}

// Platform says whose a set is.
type Platform struct {
	ID        uuid.UUID `json:"id"`                // as in the database, and in the bucket's object platform-id
	Instance  uuid.UUID `json:"instance,omitzero"` // tells its database from copies of it
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name,omitempty"`
}

// Database is what a set tells of the database.
type Database struct {
	config.SchemaRange
	LSN     string           `json:"lsn,omitempty"` // end of the write-ahead log
	Server  string           `json:"server"`        // version of PostgreSQL
	PgDump  string           `json:"pgDump"`        // version of pg_dump
	Bytes   int64            `json:"bytes"`         // on disk
	Rows    map[string]int64 `json:"rows"`          // of each table
	LeftOut []string         `json:"leftOut"`       // tables without their rows
}

// Blobs is what a set tells of the bucket.
type Blobs struct {
	Objects int64 `json:"objects"` // in the bucket
	Count   int64 `json:"count"`   // different contents
	Bytes   int64 `json:"bytes"`   // of the different contents
	Copied  int64 `json:"copied"`  // contents that came with this set
	// Missing are contents that the bucket did not have, or had damaged: rows refer to them, and a restore would not bring them back.
	Missing []string `json:"missing,omitempty"`
}

// File is one file of a set.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
}

func fileOf(name string, sum objectstore.Sum) File {
	return File{name, sum.Size, hex.EncodeToString(sum.SHA256[:])}
}

func (f File) sum() (objectstore.Sum, error) {
	sha, err := parseSHA256(f.SHA256)
	return objectstore.Sum{Size: f.Size, SHA256: sha}, err
}

func parseSHA256(text string) (sha [sha256.Size]byte, err error) {
	if n, err := hex.Decode(sha[:], []byte(text[:min(len(text), 2*len(sha))])); err != nil || n != len(sha) || len(text) != 2*len(sha) {
		return sha, fmt.Errorf("%q is no SHA-256", text)
	}
	return sha, nil
}

// file is the set's file whose name begins so.
func (m *Manifest) file(name string) (File, bool) {
	for _, f := range m.Files {
		if f.Name == name || f.Name == name+encryptedEnd {
			return f, true
		}
	}
	return File{}, false
}

// Errors on which callers branch.
var (
	ErrNoSet    = errors.New("there is no such set")
	ErrTampered = errors.New("the manifest is not what was signed")
)

// Destination is where sets are kept.
type Destination struct {
	Archive *objectstore.Archive
	// Remover is the same bucket with the right to remove; nil: nothing is removed.
	Remover *objectstore.Archive
	// VerifyKey, if there is one, must have signed each manifest that is read.
	VerifyKey ed25519.PublicKey
}

// Set is what is known of a set without reading all of it.
type Set struct {
	Manifest
	// VerifiedTime is when it was last found right: by the run that made it, which read back its files and saw that the blobs are there, or by
	// a verification, which reads all. Zero: never, or something was found damaged since.
	VerifiedTime time.Time `json:"verifiedTime,omitzero"`
	// Damage is what the newest verification found.
	Damage []string `json:"damage,omitempty"`

	written time.Time // by the destination's clock
	signed  bool      // whoever by
	read    time.Time // when all of it was last read, and found right but for Damage
}

// Verified tells whether the set, as far as is known, brings everything back.
func (s Set) Verified() bool { return !s.VerifiedTime.IsZero() && len(s.Blobs.Missing) == 0 }

// lacking tells whether the set has all but blobs that were found damaged, which may be replaced.
func (s Set) lacking() bool {
	inFiles := func(key string) bool { return strings.HasPrefix(key, setsFolder) }
	return len(s.Damage) > 0 && !s.read.IsZero() && len(s.Blobs.Missing) == 0 && !slices.ContainsFunc(s.Damage, inFiles)
}

// Listing is what a destination has.
type Listing struct {
	Sets       []Set             `json:"sets"`                 // the oldest first
	Unfinished []string          `json:"unfinished,omitempty"` // ids of what has no manifest, and so is no set
	Bad        map[string]string `json:"bad,omitempty"`        // why sets cannot be read: not what was signed, or of another version
}

// Newest is the newest verified set.
func (l Listing) Newest() (Set, bool) { return l.newest(Set.Verified) }

// newestRegular is the newest verified set but for those of what restores have overwritten.
func (l Listing) newestRegular() (Set, bool) {
	return l.newest(func(s Set) bool { return s.Verified() && !s.Safety })
}

func (l Listing) newest(wanted func(Set) bool) (Set, bool) {
	for _, s := range slices.Backward(l.Sets) {
		if wanted(s) {
			return s, true
		}
	}
	return Set{}, false
}

// List tells of all sets.
func (d Destination) List(ctx context.Context) (Listing, error) {
	l := Listing{Sets: []Set{}, Bad: map[string]string{}}
	ids, err := d.ids(ctx)
	if err != nil {
		return l, err
	}
	sets, failed := make([]Set, len(ids)), make([]error, len(ids))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(defaultWorkers)
	for i, id := range ids {
		all.Go(func() error {
			if sets[i], failed[i] = d.set(ctx, id); errors.Is(failed[i], objectstore.ErrUnavailable) {
				return failed[i]
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return l, err
	}
	for i, id := range ids {
		switch err := failed[i]; {
		case errors.Is(err, ErrNoSet):
			l.Unfinished = append(l.Unfinished, id)
		case err != nil:
			l.Bad[id] = err.Error()
		default:
			l.Sets = append(l.Sets, sets[i])
		}
	}
	return l, nil
}

// ids are those of sets and of what was to become one, the oldest first. Services that keep old versions may list folders in which nothing is
// left, so that only objects count.
func (d Destination) ids(ctx context.Context) (ids []string, err error) {
	for o, err := range d.Archive.List(ctx, setsFolder, "") {
		if err != nil {
			return nil, err
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(o.Key, setsFolder), "/")
		if _, err := ulid.ParseStrict(id); err == nil && !slices.Contains(ids[max(0, len(ids)-1):], id) { // others are not ours
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// idAfter is an id of now that is greater than others, which are in their order: a clock that went back must not make what is new look old.
func idAfter(ids []string) (string, error) {
	now := ulid.Timestamp(time.Now())
	if len(ids) > 0 {
		last, err := ulid.ParseStrict(ids[len(ids)-1])
		if err != nil {
			return "", err
		}
		now = max(now, last.Time()+1)
	}
	id, err := ulid.New(now, ulid.DefaultEntropy())
	return id.String(), err
}

// Manifest reads a set's manifest. ErrNoSet, ErrTampered.
func (d Destination) Manifest(ctx context.Context, id string) (m Manifest, err error) {
	text, err := d.read(ctx, setKey(id, manifestFile))
	if errors.Is(err, objectstore.ErrNotFound) {
		return m, fmt.Errorf("%w: %s", ErrNoSet, id)
	}
	if err != nil {
		return m, err
	}
	if d.VerifyKey != nil {
		signature, err := d.read(ctx, setKey(id, signatureFile))
		if errors.Is(err, objectstore.ErrNotFound) {
			return m, fmt.Errorf("%w: set %s is not signed", ErrTampered, id)
		}
		if err != nil {
			return m, err
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(signature)))
		if err != nil || !ed25519.Verify(d.VerifyKey, text, raw) {
			return m, fmt.Errorf("%w: set %s", ErrTampered, id)
		}
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read manifest of set %s: %w", id, err)
	}
	sum := sha256.Sum256(text)
	m.sha256 = hex.EncodeToString(sum[:])
	if m.Version != manifestVersion || m.ID != id {
		return m, fmt.Errorf("manifest of set %s is of version %d and of set %s: a newer assetplatform may know it", id, m.Version, m.ID)
	}
	return m, nil
}

// verification is what a file verified-<ULID>.json holds.
type verification struct {
	Time     time.Time `json:"time"`               // when all of the set was read; of a note that a scrub leaves, as in the one before
	Damage   []string  `json:"damage,omitempty"`   // keys, without what is in front of all
	Manifest string    `json:"manifest,omitempty"` // SHA-256 of the manifest, hexadecimal
	Tool     string    `json:"tool"`
}

// set reads a manifest and what the newest verification found.
func (d Destination) set(ctx context.Context, id string) (s Set, err error) {
	newest := ""
	for o, err := range d.Archive.List(ctx, setKey(id, ""), "") {
		if err != nil {
			return s, err
		}
		switch name := strings.TrimPrefix(o.Key, setKey(id, "")); {
		case name == manifestFile:
			s.written = o.Modified
		case name == signatureFile:
			s.signed = true
		case isDocument(name, verifiedPrefix):
			newest = o.Key
		}
	}
	if s.written.IsZero() {
		return s, fmt.Errorf("%w: %s", ErrNoSet, id)
	}
	if s.Manifest, err = d.Manifest(ctx, id); err != nil || newest == "" {
		return s, err
	}
	var v verification
	if err := d.readJSON(ctx, newest, &v); err != nil {
		return s, err
	}
	if v.Manifest != "" && v.Manifest != s.sha256 {
		return s, fmt.Errorf("%w: the manifest of %s is not what it was when the set was verified", ErrDamaged, id)
	}
	if s.Damage, s.read = v.Damage, v.Time; len(v.Damage) == 0 {
		s.VerifiedTime = v.Time
	}
	return s, nil
}
