package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	HasThumbnail bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
	DeletedAt    *time.Time // set: in the trash
	BytesAt      time.Time  // when the present version's bytes came

	Access     Access      // of the user who asked
	ProjectIDs []uuid.UUID // those of the user's projects that it is in
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
	ProjectID    uuid.UUID     // nil: none
	Upload       ClaimedUpload // which it was; zero: one that came in one request

	Idempotency Idempotency
	Answer      func(Asset) []byte // the JSON that a request with the same key is answered with; needed if there is one
}

// CommitUpload makes an asset of an upload. duplicate tells that the owner already has
// equal bytes, which are kept instead: the caller then discards the object it stored.
// ErrUploadExpired if the upload took too long, ErrChanged if it was ended or taken over meanwhile, ErrDisabled if the account was
// disabled meanwhile; ErrNotFound or ErrForbidden if the owner may not put it into the project.
// answered is what an earlier request with the idempotency key was answered: then no asset is made, and the caller discards the object
// as well; ErrKeyReused if that one asked for something else.
func (s *Store) CommitUpload(ctx context.Context, n NewAsset) (asset Asset, duplicate bool, answered []byte, err error) {
	if err := owned(n.UserID); err != nil {
		return Asset{}, false, nil, err
	}
	if n.Idempotency.Key != "" { // first: the project may be gone that there was then
		if answered, err = s.keptAnswer(ctx, n.UserID, n.Idempotency); err == nil || !errors.Is(err, ErrNotFound) {
			return Asset{}, false, answered, err
		}
	}
	tags := n.Tags
	if tags == nil {
		tags = []string{}
	}
	err = s.inTxWithJobs(ctx, func(q *sqlc.Queries, tx pgx.Tx) error {
		if err := refuseDisabled(ctx, q, n.UserID); err != nil {
			return err
		}
		if n.ProjectID != uuid.Nil { // before the bytes: locks are taken in this order everywhere
			if err := mayEditProject(ctx, q, n.UserID, n.ProjectID); err != nil {
				return err
			}
		}
		duplicate, err = s.keepBlob(ctx, q, tx, sqlc.KeepBlobParams{UserID: n.UserID, Sha256: n.SHA256[:], Size: n.FileSize, ObjectKey: n.ObjectKey})
		if err != nil {
			return err
		}
		look := searchableOf(n.UserID, n.OriginalName, tags)
		asset = Asset{
			ID: newID(), UserID: n.UserID, SHA256: n.SHA256, OriginalName: n.OriginalName, FileType: n.FileType, MIMEType: n.MIMEType,
			FileSize: n.FileSize, Version: 1, Tags: tags, Category: n.Category, Access: AccessOwner,
		}
		row, err := q.CreateAsset(ctx, sqlc.CreateAssetParams{
			ID: asset.ID, UserID: n.UserID, Sha256: n.SHA256[:], OriginalName: n.OriginalName, FileType: string(n.FileType),
			MimeType: n.MIMEType, FileSize: n.FileSize, Tags: tags, Category: n.Category, SearchText: &look.Text, Grams: look.Grams,
		})
		if err != nil {
			return err
		}
		asset.CreatedAt, asset.UpdatedAt, asset.BytesAt = row.CreatedAt.UTC(), row.UpdatedAt.UTC(), row.CreatedAt.UTC()
		if n.ProjectID != uuid.Nil {
			_, err := q.AddOwnAssetsToProject(ctx, sqlc.AddOwnAssetsToProjectParams{ProjectID: n.ProjectID, AssetIds: []uuid.UUID{asset.ID}, UserID: n.UserID})
			if err != nil {
				return err
			}
			asset.ProjectIDs = []uuid.UUID{n.ProjectID}
		}
		if n.Upload.ID != uuid.Nil {
			if err := n.Upload.complete(ctx, q, n.UserID, asset.ID); err != nil {
				return err
			}
		}
		if n.Idempotency.Key != "" {
			if err := keepAnswer(ctx, q, n.UserID, n.Idempotency, n.Answer(asset)); err != nil {
				return err
			}
		}
		return audit(ctx, q, assetChange("asset.upload", asset.UserID, asset.ID, map[string]any{"name": asset.OriginalName, "size": asset.FileSize}))
	})
	if errors.Is(err, errAnswered) {
		answered, err = s.keptAnswer(ctx, n.UserID, n.Idempotency)
		return Asset{}, false, answered, err
	}
	return asset, duplicate, nil, fail("commit upload", err)
}

// Asset returns an asset that is not in the trash: of the user, or in a project of which the user is a member.
func (s *Store) Asset(ctx context.Context, userID, id uuid.UUID) (Asset, error) {
	if err := owned(userID); err != nil {
		return Asset{}, err
	}
	asset, err := assetFor(ctx, s.queries, sqlc.AssetParams{ID: id, UserID: userID})
	return asset, fail("get asset", err)
}

// AssetOrTrash is Asset, of the user's own also in the trash.
func (s *Store) AssetOrTrash(ctx context.Context, userID, id uuid.UUID) (Asset, error) {
	if err := owned(userID); err != nil {
		return Asset{}, err
	}
	asset, err := assetFor(ctx, s.queries, sqlc.AssetParams{ID: id, UserID: userID, Trashed: true})
	return asset, fail("get asset", err)
}

func assetFor(ctx context.Context, q *sqlc.Queries, which sqlc.AssetParams) (Asset, error) {
	row, err := q.Asset(ctx, which)
	if err != nil {
		return Asset{}, err
	}
	return assetOf(assetRow{
		row.ID, row.UserID, row.Sha256, row.OriginalName, row.FileType, row.MimeType, row.FileSize, row.Version, row.Tags, row.Category,
		row.Metadata, row.HasThumbnail, row.CreatedAt, row.UpdatedAt, row.DeletedAt, row.BytesAt, row.ProjectIds,
	}, Access(row.Access)), nil
}

// AssetChange is what UpdateAsset changes; nil leaves it as it is.
type AssetChange struct {
	OriginalName *string
	Tags         []string // empty but not nil: none
	Category     **string // to nil: none
}

// UpdateAsset changes what is said about an asset, as its owner and the editors of a project that it is in may; ErrForbidden for
// other members. If versions are given, its UpdatedAt must be one of them: else ErrChanged.
func (s *Store) UpdateAsset(ctx context.Context, userID, id uuid.UUID, c AssetChange, versions ...time.Time) (Asset, error) {
	if err := owned(userID); err != nil {
		return Asset{}, err
	}
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		asset, err := lockForEdit(ctx, q, userID, id, versions)
		if err != nil {
			return err
		}
		before := asset
		if c.OriginalName != nil {
			asset.OriginalName = *c.OriginalName
		}
		if c.Tags != nil {
			asset.Tags = c.Tags
		}
		if c.Category != nil {
			asset.Category = *c.Category
		}
		look := searchableOf(asset.UserID, asset.OriginalName, asset.Tags)
		err = q.UpdateAsset(ctx, sqlc.UpdateAssetParams{
			ID: id, OriginalName: asset.OriginalName, Category: asset.Category, Tags: asset.Tags, SearchText: &look.Text, Grams: look.Grams,
		})
		if err != nil {
			return err
		}
		details := map[string]any{"name": asset.OriginalName}
		noteChange(details, "originalName", before.OriginalName, asset.OriginalName)
		noteChange(details, "tags", before.Tags, asset.Tags)
		noteChange(details, "category", before.Category, asset.Category)
		return audit(ctx, q, assetChange("asset.update", userID, id, details))
	})
	if err != nil {
		return Asset{}, fail("update asset", err)
	}
	return s.Asset(ctx, userID, id)
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
		name, err := q.TrashAsset(ctx, sqlc.TrashAssetParams{ID: id, UserID: userID, Versions: versions})
		if errors.Is(err, pgx.ErrNoRows) {
			if _, err = q.Asset(ctx, sqlc.AssetParams{ID: id, UserID: userID}); err == nil {
				err = refusedChange(ctx, q, userID, id)
			}
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, assetChange("asset.trash", userID, id, map[string]any{"name": name}))
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
		asset, err := lockOwn(ctx, q, userID, id, versions) // or a version might come between
		if err != nil {
			return err
		}
		if err := releaseVersions(ctx, q, userID, id); err != nil {
			return err
		}
		sha, err := q.DeleteAsset(ctx, sqlc.DeleteAssetParams{ID: id, UserID: userID})
		if err != nil {
			return err
		}
		if orphan, err = releaseBlob(ctx, q, userID, sha); err != nil {
			return err
		}
		return audit(ctx, q, assetChange("asset.purge", userID, id, map[string]any{"name": asset.OriginalName}))
	})
	return orphan, fail("purge asset", err)
}

// lockOwn returns an asset of the user, in the trash or not, that no other change has at the time, if it is in a wanted version;
// ErrForbidden for one of another user's that is in a common project.
func lockOwn(ctx context.Context, q *sqlc.Queries, userID, id uuid.UUID, versions []time.Time) (sqlc.LockOwnAssetRow, error) {
	asset, err := q.LockOwnAsset(ctx, sqlc.LockOwnAssetParams{ID: id, UserID: userID})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		err = refusedChange(ctx, q, userID, id)
	case err == nil && len(versions) > 0 && !slices.ContainsFunc(versions, asset.UpdatedAt.Equal):
		err = ErrChanged
	}
	return asset, err
}

// releaseVersions deletes the former versions of an asset that is about to go; a transaction that does not delete it takes that back.
// The collector takes their bytes.
func releaseVersions(ctx context.Context, q *sqlc.Queries, userID, id uuid.UUID) error {
	former, err := q.DeleteVersions(ctx, sqlc.DeleteVersionsParams{AssetID: id, UserID: userID})
	if err != nil {
		return err
	}
	for _, sha := range former {
		if _, err := releaseBlob(ctx, q, userID, sha); err != nil {
			return err
		}
	}
	return nil
}

// RestoreAsset takes an asset of the user out of the trash; one that is not in it stays as it is. If versions are given, its UpdatedAt
// must be one of them: else ErrChanged.
func (s *Store) RestoreAsset(ctx context.Context, userID, id uuid.UUID, versions ...time.Time) (Asset, error) {
	if err := owned(userID); err != nil {
		return Asset{}, err
	}
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		asset, err := lockOwn(ctx, q, userID, id, versions)
		if err != nil || asset.DeletedAt == nil {
			return err
		}
		if err := q.RestoreAsset(ctx, sqlc.RestoreAssetParams{ID: id, UserID: userID}); err != nil {
			return err
		}
		return audit(ctx, q, assetChange("asset.restore", userID, id, map[string]any{"name": asset.OriginalName}))
	})
	if err != nil {
		return Asset{}, fail("restore asset", err)
	}
	return s.Asset(ctx, userID, id)
}

// NameCount is a name with the number of the assets that have it.
type NameCount struct {
	Name   string
	Assets int64
}

// maxNames bounds how many names a picker gets: those that most assets have.
const maxNames = 1000

// TagCounts returns the tags of the user's assets outside of the trash, or, unless projectID is nil, of those in a project of which the
// user is a member (else ErrNotFound), the most used first; of many assets as it was a moment ago.
func (s *Store) TagCounts(ctx context.Context, userID, projectID uuid.UUID) ([]NameCount, error) {
	return s.nameCounts(ctx, &s.tagCounts, userID, projectID, func() ([]NameCount, error) {
		if projectID != uuid.Nil {
			rows, err := s.queries.ProjectTagCounts(ctx, sqlc.ProjectTagCountsParams{ProjectID: projectID, Limit: maxNames})
			return nameCountsOf(rows), fail("count tags", err)
		}
		rows, err := s.queries.TagCounts(ctx, sqlc.TagCountsParams{UserID: userID, Limit: maxNames})
		return nameCountsOf(rows), fail("count tags", err)
	})
}

// CategoryCounts does the same for categories.
func (s *Store) CategoryCounts(ctx context.Context, userID, projectID uuid.UUID) ([]NameCount, error) {
	return s.nameCounts(ctx, &s.categoryCounts, userID, projectID, func() ([]NameCount, error) {
		if projectID != uuid.Nil {
			rows, err := s.queries.ProjectCategoryCounts(ctx, sqlc.ProjectCategoryCountsParams{ProjectID: projectID, Limit: maxNames})
			return nameCountsOf(rows), fail("count categories", err)
		}
		rows, err := s.queries.CategoryCounts(ctx, sqlc.CategoryCountsParams{UserID: userID, Limit: maxNames})
		return nameCountsOf(rows), fail("count categories", err)
	})
}

func (s *Store) nameCounts(ctx context.Context, kept *recent[uuid.UUID, []NameCount], userID, projectID uuid.UUID, count func() ([]NameCount, error)) ([]NameCount, error) {
	if err := owned(userID); err != nil {
		return nil, err
	}
	of := userID
	if projectID != uuid.Nil {
		of = projectID
		if _, err := projectFor(ctx, s.queries, userID, projectID); err != nil {
			return nil, fail("find project", err)
		}
	}
	return kept.get(of, keepNames, count)
}

func nameCountsOf[Row sqlc.TagCountsRow | sqlc.CategoryCountsRow | sqlc.ProjectTagCountsRow | sqlc.ProjectCategoryCountsRow](rows []Row) []NameCount {
	counts := make([]NameCount, len(rows))
	for i, row := range rows {
		counts[i] = NameCount(row)
	}
	return counts
}

// refusedChange is what to call it that an asset could not be changed as its owner may: it is another user's, though one in a common
// project, or not in the wanted version.
func refusedChange(ctx context.Context, q *sqlc.Queries, userID, id uuid.UUID) error {
	if _, err := q.AssetOrTrash(ctx, sqlc.AssetOrTrashParams{ID: id, UserID: userID}); err == nil {
		return ErrChanged
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	_, err := q.Asset(ctx, sqlc.AssetParams{ID: id, UserID: userID})
	if err == nil {
		err = ErrForbidden
	}
	return err
}

// PurgeTrash deletes up to limit assets that have been in the trash since before the
// given time, and reports how many. One that cannot be deleted does not keep it from the others. The collector takes their bytes.
func (s *Store) PurgeTrash(ctx context.Context, before time.Time, limit int32) (purged int, err error) {
	expired, err := s.queries.ExpiredTrash(ctx, sqlc.ExpiredTrashParams{Before: before, Limit: limit})
	if err != nil {
		return 0, fail("list expired trash", err)
	}
	for _, asset := range expired {
		failed := s.inTx(ctx, func(q *sqlc.Queries) error {
			if _, err := q.LockOwnAsset(ctx, sqlc.LockOwnAssetParams(asset)); err != nil {
				return err
			}
			if err := releaseVersions(ctx, q, asset.UserID, asset.ID); err != nil {
				return err
			}
			sha, err := q.DeleteTrashedAsset(ctx, sqlc.DeleteTrashedAssetParams{ID: asset.ID, UserID: asset.UserID, Before: before})
			if err != nil {
				return err
			}
			_, err = releaseBlob(ctx, q, asset.UserID, sha)
			return err
		})
		switch failed = fail("purge trash", failed); {
		case errors.Is(failed, ErrUnavailable):
			return purged, failed
		case failed != nil && !errors.Is(failed, ErrNotFound): // not found: restored or purged by somebody else meanwhile
			err = errors.Join(err, fmt.Errorf("asset %s: %w", asset.ID, failed))
		default:
			purged++
		}
	}
	return purged, err
}

func assetOf(row assetRow, access Access) Asset {
	a := Asset{
		Access: access,
		ID:     row.ID, UserID: row.UserID, OriginalName: row.OriginalName,
		FileType: FileType(row.FileType), MIMEType: row.MimeType, FileSize: row.FileSize, Version: row.Version,
		Tags: row.Tags, Category: row.Category, Metadata: row.Metadata, HasThumbnail: row.HasThumbnail, ProjectIDs: row.ProjectIDs,
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(), BytesAt: row.CreatedAt.UTC(),
	}
	if row.BytesAt != nil {
		a.BytesAt = row.BytesAt.UTC()
	}
	copy(a.SHA256[:], row.Sha256)
	if row.DeletedAt != nil {
		at := row.DeletedAt.UTC()
		a.DeletedAt = &at
	}
	return a
}
