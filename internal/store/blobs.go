package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// uploadLifetime is how long an upload may take before the collector takes its bytes.
const uploadLifetime = 24 * time.Hour

// ErrUploadExpired means that an upload took so long that its bytes were collected.
var ErrUploadExpired = errors.New("upload expired")

// BeginUpload notes a fresh random object key under which bytes may be stored now.
// Unless CommitUpload makes it an asset, the collector deletes the object a day later.
func (s *Store) BeginUpload(ctx context.Context, userID uuid.UUID) (key string, err error) {
	if err := owned(userID); err != nil {
		return "", err
	}
	key = newObjectKey()
	err = s.queries.CreateIntent(ctx, sqlc.CreateIntentParams{ObjectKey: key, UserID: userID, Lifetime: uploadLifetime})
	return key, fail("begin upload", err)
}

// RemoveFunc deletes an object from the bucket. It may be called twice for a key.
type RemoveFunc func(ctx context.Context, key string) error

// DiscardObject deletes, by remove, an object that became no asset or whose last asset
// is gone, and forgets it. If the key is not noted (any more), because a commit whose
// outcome was unclear did succeed or the collector came first, nothing is done. If
// remove fails, the key stays noted for the collector.
func (s *Store) DiscardObject(ctx context.Context, userID uuid.UUID, key string, remove RemoveFunc) error {
	if err := owned(userID); err != nil {
		return err
	}
	condemned, err := s.queries.CondemnIntent(ctx, sqlc.CondemnIntentParams{ObjectKey: key, UserID: userID})
	if err != nil || condemned == 0 {
		return fail("discard object", err)
	}
	return s.removeCondemned(ctx, userID, key, remove)
}

// CollectObject does the same for one object whose time has come, with a key after the
// given one, unless a backup is being made. It returns its key, or "" if there is none left.
func (s *Store) CollectObject(ctx context.Context, after string, remove RemoveFunc) (key string, err error) {
	intent, err := s.queries.CondemnDueIntent(ctx, after)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fail("collect object", err)
	}
	return intent.ObjectKey, s.removeCondemned(ctx, intent.UserID, intent.ObjectKey, remove)
}

// removeCondemned holds no transaction, and so no connection, while the bucket works.
func (s *Store) removeCondemned(ctx context.Context, userID uuid.UUID, key string, remove RemoveFunc) error {
	if err := remove(ctx, key); err != nil {
		return err
	}
	err := s.queries.DeleteIntent(ctx, sqlc.DeleteIntentParams{ObjectKey: key, UserID: userID})
	return fail("forget object", err)
}

// keepBlob counts one more reference to the bytes stored under key, and asks for the media job if they are new. duplicate tells that
// the owner had them already: then key is condemned.
func (s *Store) keepBlob(ctx context.Context, q *sqlc.Queries, tx pgx.Tx, blob sqlc.KeepBlobParams) (duplicate bool, err error) {
	kept, err := q.KeepBlob(ctx, blob)
	if err != nil {
		return false, err
	}
	duplicate = kept != blob.ObjectKey
	var intents int64
	if duplicate {
		intents, err = q.CondemnIntent(ctx, sqlc.CondemnIntentParams{ObjectKey: blob.ObjectKey, UserID: blob.UserID})
	} else {
		intents, err = q.TakeIntent(ctx, sqlc.TakeIntentParams{ObjectKey: blob.ObjectKey, UserID: blob.UserID})
	}
	if err == nil && intents == 0 {
		err = ErrUploadExpired
	}
	if err != nil || duplicate {
		return duplicate, err
	}
	return false, s.askForMedia(ctx, tx, blob.UserID, [32]byte(blob.Sha256))
}

// releaseBlob counts one reference less. With the last one the blob goes, and its
// object's key, which is returned, is condemned; while a backup is made, the object is left to the collector.
func releaseBlob(ctx context.Context, q *sqlc.Queries, userID uuid.UUID, sha []byte) (orphan string, err error) {
	refs, err := q.ReleaseBlob(ctx, sqlc.ReleaseBlobParams{UserID: userID, Sha256: sha})
	if err != nil || refs > 0 {
		return "", err
	}
	orphan, err = q.DeleteBlob(ctx, sqlc.DeleteBlobParams{UserID: userID, Sha256: sha})
	if err != nil {
		return "", err
	}
	condemned, err := q.CreateOrphanIntent(ctx, sqlc.CreateOrphanIntentParams{ObjectKey: orphan, UserID: userID})
	if err != nil || !condemned {
		return "", err
	}
	return orphan, nil
}

// newObjectKey returns a key that says nothing about its content. The first two digits
// are a folder, which spreads objects on stores that keep them in a file system.
func newObjectKey() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	name := hex.EncodeToString(b[:])
	return "blobs/" + name[:2] + "/" + name
}
