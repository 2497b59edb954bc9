package backup

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
	"sync"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// entry is a line of an inventory: an object of the bucket, in the order of their hashes and keys.
type entry struct {
	SHA256 string `json:"sha256"` // hexadecimal
	Size   int64  `json:"size"`   // bytes
	Key    string `json:"key"`    // in the bucket, without its prefix
	// Of an encrypted set, what is stored for it.
	StoredSHA256 string `json:"storedSha256,omitempty"`
	StoredSize   int64  `json:"storedSize,omitempty"`
}

// content is what a set has of one content, for all objects that have it.
type content struct {
	sum    objectstore.Sum
	stored objectstore.Sum // what is in the destination; as sum unless encrypted
	keys   []string
}

func (e entry) sums() (sum, stored objectstore.Sum, err error) {
	sum.Size, stored.Size = e.Size, e.StoredSize
	if sum.SHA256, err = parseSHA256(e.SHA256); err != nil {
		return sum, stored, err
	}
	if e.StoredSHA256 == "" {
		return sum, sum, nil
	}
	stored.SHA256, err = parseSHA256(e.StoredSHA256)
	return sum, stored, err
}

// entries are the inventory's lines for a content.
func (c content) entries() []entry {
	all := make([]entry, len(c.keys))
	for i, key := range c.keys {
		all[i] = entry{SHA256: hex.EncodeToString(c.sum.SHA256[:]), Size: c.sum.Size, Key: key}
		if c.stored != c.sum {
			all[i].StoredSHA256, all[i].StoredSize = hex.EncodeToString(c.stored.SHA256[:]), c.stored.Size
		}
	}
	return all
}

// writeInventory writes lines, compressed.
type inventoryWriter struct {
	compressed *gzip.Writer
	lines      *json.Encoder
}

func newInventoryWriter(to io.Writer) *inventoryWriter {
	z := gzip.NewWriter(to)
	return &inventoryWriter{z, json.NewEncoder(z)}
}

func (w *inventoryWriter) write(c content) error {
	for _, e := range c.entries() {
		if err := w.lines.Encode(e); err != nil {
			return err
		}
	}
	return nil
}

func (w *inventoryWriter) close() error { return w.compressed.Close() }

// readInventory reads lines, and tells each content once.
func readInventory(from io.Reader) iter.Seq2[content, error] {
	return func(yield func(content, error) bool) {
		z, err := gzip.NewReader(from)
		if err != nil {
			yield(content{}, fmt.Errorf("read inventory: %w", err))
			return
		}
		lines := json.NewDecoder(bufio.NewReader(z))
		var c content
		for {
			var e entry
			err := lines.Decode(&e)
			if errors.Is(err, io.EOF) {
				break
			}
			sum, stored, malformed := e.sums()
			if err = errors.Join(err, malformed); err != nil {
				yield(c, fmt.Errorf("read inventory: %w", err))
				return
			}
			if len(c.keys) > 0 && sum == c.sum {
				c.keys = append(c.keys, e.Key)
				continue
			}
			if len(c.keys) > 0 && !yield(c, nil) {
				return
			}
			c = content{sum, stored, []string{e.Key}}
		}
		if len(c.keys) > 0 {
			yield(c, nil)
		}
	}
}

// inventory reads the inventory of a set, which fails in the end if it is not what the manifest says.
func (d Destination) inventory(ctx context.Context, m Manifest) iter.Seq2[content, error] {
	return func(yield func(content, error) bool) {
		fail := func(err error) {
			if !errors.Is(err, objectstore.ErrUnavailable) && ctx.Err() == nil {
				err = fmt.Errorf("%w: %s: %w", ErrDamaged, setKey(m.ID, inventoryFile), err)
			}
			yield(content{}, err)
		}
		f, _ := m.file(inventoryFile)
		sum, err := f.sum()
		if err != nil {
			fail(err)
			return
		}
		body, _, err := d.Archive.Get(ctx, setKey(m.ID, inventoryFile))
		if err != nil {
			fail(err)
			return
		}
		defer body.Close()
		verified := objectstore.Verified(body, sum)
		for c, err := range readInventory(verified) {
			if err != nil {
				fail(err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
		if _, err := io.Copy(io.Discard, verified); err != nil { // what gzip does not read
			fail(err)
		}
	}
}

const (
	// listers is how many parts of the destination's list are read at a time, and pageSize how many objects S3 lists in one answer.
	listers, pageSize = 4, 1000
	hexDigits         = "0123456789abcdef"
)

// listed is an object of a list, or the error that ended it.
type listed struct {
	objectstore.Object
	err error
}

// destined are the contents of the destination, in their order. One list alone would come a page at a time, each after an answer of the service:
// it is read in parts, by the first digit of the hashes, a few of them ahead.
func (d Destination) destined(ctx context.Context, encrypted bool) iter.Seq2[objectstore.Object, error] {
	return func(yield func(objectstore.Object, error) bool) {
		ahead, stop := context.WithCancel(ctx)
		var all sync.WaitGroup
		defer all.Wait()
		defer stop()
		parts := make(chan chan listed, listers-1)
		all.Go(func() {
			defer close(parts)
			for _, digit := range hexDigits {
				part := make(chan listed, pageSize)
				select {
				case parts <- part:
				case <-ahead.Done():
					return
				}
				all.Go(func() { d.listPart(ahead, string(digit), part) })
			}
		})
		for part := range parts {
			for o := range part {
				if o.err == nil && isEncrypted(o.Key) != encrypted {
					continue
				}
				if !yield(o.Object, o.err) || o.err != nil {
					return
				}
			}
		}
		if err := ctx.Err(); err != nil { // parts may have ended before their time
			yield(objectstore.Object{}, err)
		}
	}
}

// listPart lists the contents whose hashes begin with a digit.
func (d Destination) listPart(ctx context.Context, digit string, to chan<- listed) {
	defer close(to)
	for o, err := range d.Archive.List(ctx, blobsFolder+digit, "") {
		select {
		case to <- listed{o, err}:
		case <-ctx.Done():
			return
		}
	}
}

func isEncrypted(key string) bool { return strings.HasSuffix(key, encryptedEnd) }

// isBlob tells whether a key is one of those that blobs have.
func isBlob(key string) bool {
	sha, err := parseSHA256(strings.TrimSuffix(path.Base(key), encryptedEnd))
	return err == nil && key == blobKey(sha, isEncrypted(key))
}
