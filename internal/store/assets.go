package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// FileType is the kind of an asset, which decides its limits and what can be done with it.
type FileType string

// The kinds of assets.
const (
	Image FileType = "IMAGE"
	Audio FileType = "AUDIO"
)

// Asset is a file with what its owner says about it.
type Asset struct {
	ID, UserID   uuid.UUID
	SHA256       [32]byte
	OriginalName string
	FileType     FileType
	MIMEType     string
	FileSize     int64 // bytes
	Version      int32
	Tags         []string
	Category     *string
	Metadata     json.RawMessage // nil until the media job has read the file
	CreatedAt    time.Time
	UpdatedAt    time.Time
	DeletedAt    *time.Time // set: in the trash
}

// NewAsset describes an upload whose bytes are in the bucket under ObjectKey.
type NewAsset struct {
	UserID       uuid.UUID
	ObjectKey    string // from BeginUpload
	SHA256       [32]byte
	FileSize     int64
	OriginalName string
	FileType     FileType
	MIMEType     string
	Tags         []string
	Category     *string
}

// CommitUpload makes an asset of an upload. duplicate tells that the owner already has
// equal bytes, which are kept instead: the caller then discards the object it stored.
// ErrUploadExpired if the upload took too long.
func (s *Store) CommitUpload(ctx context.Context, n NewAsset) (asset Asset, duplicate bool, err error) {
	if err := owned(n.UserID); err != nil {
		return Asset{}, false, err
	}
	tags := n.Tags
	if tags == nil {
		tags = []string{}
	}
	err = s.inTx(ctx, func(q *sqlc.Queries) error {
		duplicate, err = keepBlob(ctx, q, sqlc.KeepBlobParams{
			UserID: n.UserID, Sha256: n.SHA256[:], Size: n.FileSize, ObjectKey: n.ObjectKey,
		})
		if err != nil {
			return err
		}
		row, err := q.CreateAsset(ctx, sqlc.CreateAssetParams{
			ID: newID(), UserID: n.UserID, Sha256: n.SHA256[:], OriginalName: n.OriginalName,
			FileType: string(n.FileType), MimeType: n.MIMEType, FileSize: n.FileSize, Tags: tags, Category: n.Category,
		})
		if err != nil {
			return err
		}
		asset = assetOf(row)
		return audit(ctx, q, assetChange("asset.upload", asset.UserID, asset.ID, map[string]any{"name": asset.OriginalName, "size": asset.FileSize}))
	})
	return asset, duplicate, fail("commit upload", err)
}

// Asset returns an asset of the user that is not in the trash.
func (s *Store) Asset(ctx context.Context, userID, id uuid.UUID) (Asset, error) {
	if err := owned(userID); err != nil {
		return Asset{}, err
	}
	row, err := s.queries.Asset(ctx, sqlc.AssetParams{ID: id, UserID: userID})
	return assetOf(row), fail("get asset", err)
}

// ObjectKey returns where in the bucket the asset's bytes are.
func (s *Store) ObjectKey(ctx context.Context, a Asset) (string, error) {
	key, err := s.queries.BlobKey(ctx, sqlc.BlobKeyParams{UserID: a.UserID, Sha256: a.SHA256[:]})
	return key, fail("find blob", err)
}

// TrashAsset puts an asset of the user into the trash. If versions are given, its
// UpdatedAt must be one of them: else ErrChanged.
func (s *Store) TrashAsset(ctx context.Context, userID, id uuid.UUID, versions ...time.Time) error {
	if err := owned(userID); err != nil {
		return err
	}
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		n, err := q.TrashAsset(ctx, sqlc.TrashAssetParams{ID: id, UserID: userID, Versions: versions})
		if err == nil && n == 0 {
			// Only what to call it is decided here.
			if _, err = q.Asset(ctx, sqlc.AssetParams{ID: id, UserID: userID}); err == nil {
				err = ErrChanged
			}
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, assetChange("asset.trash", userID, id, nil))
	})
	return fail("trash asset", err)
}

// assetChange is an event of an asset.
func assetChange(action string, user, id uuid.UUID, details map[string]any) change {
	return change{action: action, user: user, of: "asset", id: id.String(), details: details}
}

// PurgeAsset deletes an asset of the user for good, from the trash or not. If versions
// are given, its UpdatedAt must be one of them: else ErrChanged. If nothing else needs
// its bytes, their key is returned: the caller discards the object, or leaves that to
// the collector.
func (s *Store) PurgeAsset(ctx context.Context, userID, id uuid.UUID, versions ...time.Time) (orphan string, err error) {
	if err := owned(userID); err != nil {
		return "", err
	}
	err = s.inTx(ctx, func(q *sqlc.Queries) error {
		sha, err := q.DeleteAsset(ctx, sqlc.DeleteAssetParams{ID: id, UserID: userID, Versions: versions})
		if errors.Is(err, pgx.ErrNoRows) {
			if _, err = q.AssetOrTrash(ctx, sqlc.AssetOrTrashParams{ID: id, UserID: userID}); err == nil {
				err = ErrChanged
			}
		}
		if err != nil {
			return err
		}
		if orphan, err = releaseBlob(ctx, q, userID, sha); err != nil {
			return err
		}
		return audit(ctx, q, assetChange("asset.purge", userID, id, nil))
	})
	return orphan, fail("purge asset", err)
}

// PurgeTrash deletes up to limit assets that have been in the trash since before the
// given time, and reports how many it found. The collector takes their bytes.
func (s *Store) PurgeTrash(ctx context.Context, before time.Time, limit int32) (found int, err error) {
	expired, err := s.queries.ExpiredTrash(ctx, sqlc.ExpiredTrashParams{Before: before, Limit: limit})
	if err != nil {
		return 0, fail("list expired trash", err)
	}
	for _, asset := range expired {
		err := s.inTx(ctx, func(q *sqlc.Queries) error {
			sha, err := q.DeleteTrashedAsset(ctx, sqlc.DeleteTrashedAssetParams{ID: asset.ID, UserID: asset.UserID, Before: before})
			if err != nil {
				return err
			}
			_, err = releaseBlob(ctx, q, asset.UserID, sha)
			return err
		})
		// Not found: restored or purged by somebody else meanwhile.
		if err = fail("purge trash", err); err != nil && !errors.Is(err, ErrNotFound) {
			return 0, err
		}
	}
	return len(expired), nil
}

func assetOf(row sqlc.Asset) Asset {
	a := Asset{
		ID: row.ID, UserID: row.UserID, OriginalName: row.OriginalName,
		FileType: FileType(row.FileType), MIMEType: row.MimeType, FileSize: row.FileSize, Version: row.Version,
		Tags: row.Tags, Category: row.Category, Metadata: row.Metadata,
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(),
	}
	copy(a.SHA256[:], row.Sha256)
	if row.DeletedAt != nil {
		at := row.DeletedAt.UTC()
		a.DeletedAt = &at
	}
	return a
}
