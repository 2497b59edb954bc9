package server

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"hash"
	"hash/crc32"
	"io"

	"github.com/assetplatform/assetplatform/internal/store"
)

// peek returns the bytes that decide a file's type; fewer where it has no more.
func peek(source *bufio.Reader) ([]byte, error) {
	head, err := source.Peek(sniffLength)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return head, err
}

// examine decides a file's type from its first bytes. All of them are to be written to what it returns, and its inspection stopped.
func (u *upload) examine(head []byte, name, declared string) (*examination, error) {
	if len(head) == 0 {
		return nil, invalid("file", "is empty")
	}
	var err error
	if u.format, err = formatOf(head, name, declared); err != nil {
		return nil, err
	}
	u.asset.UserID, u.asset.OriginalName = u.userID, name
	return &examination{format: u.format, limit: u.server.largest(u.format.kind), sha256: sha256.New(), crc32: crc32.NewIEEE(), inspection: inspect(u.format)}, nil
}

// examination measures, hashes and inspects a file that is written to it, and refuses what passes its limit or is not whole.
type examination struct {
	format     fileFormat
	limit      int64
	size       int64
	sha256     hash.Hash
	crc32      hash.Hash32
	inspection *inspection
}

// Write returns an error, a *problem, as soon as the file cannot be whole any more.
func (e *examination) Write(p []byte) (int, error) {
	e.size += int64(len(p))
	if e.size > e.limit {
		return 0, fileTooLarge(e.limit)
	}
	e.sha256.Write(p)
	e.crc32.Write(p)
	if len(p) > 0 {
		if found := e.inspection.feed(p); found != nil {
			return 0, found
		}
	}
	return len(p), nil
}

// end judges the file, which has no more bytes.
func (e *examination) end() error { return e.inspection.feed(nil) }

// SHA256 is that of what was written.
func (e *examination) SHA256() (sum [32]byte) {
	e.sha256.Sum(sum[:0])
	return sum
}

// CRC32 is that of what was written.
func (e *examination) CRC32() uint32 { return e.crc32.Sum32() }

// describe tells of the file, once all of it was written.
func (e *examination) describe(asset *store.NewAsset) {
	asset.FileType, asset.MIMEType = e.format.kind, e.format.mimeType
	asset.FileSize, asset.SHA256 = e.size, e.SHA256()
}

// meter has all examined that is read through it.
type meter struct {
	source io.Reader
	*examination
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.source.Read(p)
	if _, found := m.Write(p[:n]); found != nil {
		return 0, found
	}
	if err == io.EOF {
		if found := m.end(); found != nil {
			return 0, found
		}
	}
	return n, err
}
