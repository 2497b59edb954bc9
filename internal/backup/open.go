package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// openBlob opens what a blob of the destination holds. Reading it ends with objectstore.ErrWrongBytes if that is not what it should be.
func (r *restoration) openBlob(ctx context.Context, source string, c content) (io.ReadCloser, error) {
	body, _, err := r.Destination.Archive.Get(ctx, source)
	if err != nil {
		return nil, err
	}
	fetched := &noting{from: body}
	plain, err := r.decrypted(fetched)
	if err != nil {
		return nil, errors.Join(fetched.blame(err), body.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{&blaming{objectstore.Verified(plain, c.sum), fetched}, body}, nil
}

// noting remembers the error with which reading from a destination has ended.
type noting struct {
	from   io.Reader
	failed error
}

func (n *noting) Read(p []byte) (int, error) {
	read, err := n.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.failed = err
	}
	return read, err
}

// blame tells why what was made of what was read failed: the way here, or else the bytes themselves.
func (n *noting) blame(err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case n.failed != nil:
		return fmt.Errorf("%w: %w", objectstore.ErrUnavailable, n.failed)
	case errors.Is(err, objectstore.ErrWrongBytes) || errors.As(err, new(*store.Problem)):
		return err
	}
	return fmt.Errorf("%w: %w", objectstore.ErrWrongBytes, err)
}

type blaming struct {
	io.Reader
	fetched *noting
}

func (b *blaming) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	return n, b.fetched.blame(err)
}

func (r *restoration) decrypted(body io.Reader) (io.Reader, error) {
	if !r.set.Encrypted {
		return body, nil
	}
	plain, err := age.Decrypt(body, r.Identities...)
	if errors.As(err, new(*age.NoIdentityMatchError)) {
		return nil, &store.Problem{Code: config.CodeConfigInvalid, Message: fmt.Sprintf("no identity opens set %s", r.set.ID), Remedy: "set BACKUP_IDENTITY to the identity of one of its recipients"}
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return plain, nil
}
