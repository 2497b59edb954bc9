package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// AssetVersion is what an asset's bytes are, or were.
type AssetVersion struct {
	Version   int32
	SHA256    [32]byte
	FileSize  int64 // bytes
	MIMEType  string
	Metadata  json.RawMessage
	CreatedAt time.Time
}

// ErrOtherKind means that the bytes of a new version are of another kind than the asset.
var ErrOtherKind = errors.New("of another kind than the asset")

// NewVersion describes an upload whose bytes are in the bucket under ObjectKey, which BeginUpload noted for the asset's owner.
type NewVersion struct {
	AssetID, OwnerID uuid.UUID
	ObjectKey        string
	SHA256           [32]byte
	FileSize         int64
	FileType         FileType
	MIMEType         string
	OriginalName     string // the asset takes it where it becomes another type of file

	Idempotency Idempotency
	Answer      func(Asset) []byte // as in NewAsset
}

// CommitVersion puts other bytes in the place of an asset's, which stay as its version before; the asset's owner and editors of a project
// that it is in may. duplicate tells that the owner already has equal bytes: the caller then discards the object it stored. Bytes that
// are the asset's already make no version. If versions are given, the asset's UpdatedAt must be one of them: else ErrChanged. answered is
// as in CommitUpload.
func (s *Store) CommitVersion(ctx context.Context, userID uuid.UUID, n NewVersion, versions ...time.Time) (asset Asset, duplicate bool, answered []byte, err error) {
	if err := owned(userID); err != nil {
		return Asset{}, false, nil, err
	}
	if n.Idempotency.Key != "" { // first: what If-Match wanted then is not there any more
		if answered, err = s.keptAnswer(ctx, userID, n.Idempotency); err == nil || !errors.Is(err, ErrNotFound) {
			return Asset{}, false, answered, err
		}
	}
	err = s.inTxWithJobs(ctx, func(q *sqlc.Queries, tx pgx.Tx) error {
		if err := refuseDisabled(ctx, q, userID); err != nil {
			return err
		}
		before, err := lockForEdit(ctx, q, userID, n.AssetID, versions)
		if err != nil {
			return err
		}
		if before.FileType != string(n.FileType) {
			return ErrOtherKind
		}
		if [32]byte(before.Sha256) == n.SHA256 {
			duplicate = true
			if _, err := q.CondemnIntent(ctx, sqlc.CondemnIntentParams{ObjectKey: n.ObjectKey, UserID: n.OwnerID}); err != nil {
				return err
			}
			asset, err = versionAnswer(ctx, q, userID, n)
			return err
		}
		duplicate, err = s.keepBlob(ctx, q, tx, sqlc.KeepBlobParams{UserID: n.OwnerID, Sha256: n.SHA256[:], Size: n.FileSize, ObjectKey: n.ObjectKey})
		if err != nil {
			return err
		}
		if err := q.KeepVersion(ctx, n.AssetID); err != nil {
			return err
		}
		name := before.OriginalName
		if before.MimeType != n.MIMEType {
			name = n.OriginalName
		}
		look := searchableOf(n.OwnerID, name, before.Tags)
		err = q.ReplaceBytes(ctx, sqlc.ReplaceBytesParams{
			ID: n.AssetID, Sha256: n.SHA256[:], FileSize: n.FileSize, MimeType: n.MIMEType, OriginalName: name, SearchText: &look.Text, Grams: look.Grams,
		})
		if err != nil {
			return err
		}
		if asset, err = versionAnswer(ctx, q, userID, n); err != nil {
			return err
		}
		return audit(ctx, q, assetChange("asset.version", userID, n.AssetID, map[string]any{"version": before.Version + 1, "size": n.FileSize}))
	})
	if errors.Is(err, errAnswered) {
		answered, err = s.keptAnswer(ctx, userID, n.Idempotency)
		return Asset{}, false, answered, err
	}
	return asset, duplicate, nil, fail("commit version", err)
}

// versionAnswer is the asset as it is now, which is kept as the answer if that is asked for.
func versionAnswer(ctx context.Context, q *sqlc.Queries, userID uuid.UUID, n NewVersion) (Asset, error) {
	asset, err := assetFor(ctx, q, sqlc.AssetParams{ID: n.AssetID, UserID: userID})
	if err == nil && n.Idempotency.Key != "" {
		err = keepAnswer(ctx, q, userID, n.Idempotency, n.Answer(asset))
	}
	return asset, err
}

// lockForEdit returns an asset that no other change has at the time, if the user may edit it and it is in a wanted version.
func lockForEdit(ctx context.Context, q *sqlc.Queries, userID, id uuid.UUID, versions []time.Time) (sqlc.LockAssetRow, error) {
	asset, err := q.LockAsset(ctx, id)
	if err != nil {
		return sqlc.LockAssetRow{}, err
	}
	visible, err := q.Asset(ctx, sqlc.AssetParams{ID: id, UserID: userID}) // under the lock: a role may end while that is waited for
	if err != nil {
		return sqlc.LockAssetRow{}, err
	}
	if !Access(visible.Access).covers(AccessEditor) {
		return sqlc.LockAssetRow{}, ErrForbidden
	}
	for _, version := range versions {
		if asset.UpdatedAt.Equal(version) {
			return asset, nil
		}
	}
	if len(versions) > 0 {
		return sqlc.LockAssetRow{}, ErrChanged
	}
	return asset, nil
}

// AssetVersions returns all versions of an asset that the user may see, the present one first.
func (s *Store) AssetVersions(ctx context.Context, userID, id uuid.UUID) ([]AssetVersion, error) {
	asset, err := s.Asset(ctx, userID, id)
	if err != nil {
		return nil, err
	}
	rows, err := s.queries.AssetVersions(ctx, id)
	versions := []AssetVersion{asset.PresentVersion()}
	for _, row := range rows {
		versions = append(versions, versionOf(sqlc.AssetVersionRow(row)))
	}
	return versions, fail("list versions", err)
}

// AssetVersion returns an asset that the user may see as it was in a version.
func (s *Store) AssetVersion(ctx context.Context, userID, id uuid.UUID, number int32) (Asset, error) {
	asset, err := s.Asset(ctx, userID, id)
	if err != nil || asset.Version == number {
		return asset, err
	}
	row, err := s.queries.AssetVersion(ctx, sqlc.AssetVersionParams{AssetID: id, Version: number})
	if err != nil {
		return Asset{}, fail(fmt.Sprintf("get version %d", number), err)
	}
	v := versionOf(row)
	asset.Version, asset.SHA256, asset.FileSize, asset.MIMEType, asset.Metadata, asset.BytesAt = v.Version, v.SHA256, v.FileSize, v.MIMEType, v.Metadata, v.CreatedAt
	return asset, nil
}

// PresentVersion is the version that the asset is in.
func (a Asset) PresentVersion() AssetVersion {
	return AssetVersion{a.Version, a.SHA256, a.FileSize, a.MIMEType, a.Metadata, a.BytesAt}
}

func versionOf(row sqlc.AssetVersionRow) AssetVersion {
	return AssetVersion{row.Version, [32]byte(row.Sha256), row.FileSize, row.MimeType, row.Metadata, row.CreatedAt.UTC()}
}
