package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// assetRow is an asset as it is selected.
type assetRow struct {
	ID           uuid.UUID
	UserID       uuid.UUID
	Sha256       []byte
	OriginalName string
	FileType     string
	MimeType     string
	FileSize     int64
	Version      int32
	Tags         []string
	Category     *string
	Metadata     []byte
	HasThumbnail bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
	DeletedAt    *time.Time
	BytesAt      *time.Time
}

// selectAssets selects the fields of assetRow. Not *: there is more that lists need not read, and a later migration may add to it while
// images that do not know of it still serve.
const selectAssets = `
select id, user_id, sha256, original_name, file_type, mime_type, file_size, version, tags, category,
    (select b.metadata from blobs b where b.user_id = assets.user_id and b.sha256 = assets.sha256),
    exists (select from thumbnails t where t.user_id = assets.user_id and t.sha256 = assets.sha256),
    created_at, updated_at, deleted_at, bytes_at
from assets`

func assetID(a Asset) uuid.UUID { return a.ID }

var assetSorts = map[Sort]sortColumn[Asset]{
	SortCreatedAt:    {"created_at", "timestamptz", func(a Asset) any { return a.CreatedAt }},
	SortUpdatedAt:    {"updated_at", "timestamptz", func(a Asset) any { return a.UpdatedAt }},
	SortOriginalName: {"original_name", "text", func(a Asset) any { return a.OriginalName }},
	SortFileSize:     {"file_size", "bigint", func(a Asset) any { return a.FileSize }},
}

// AssetFilter says which assets to list; the zero value means all of the user's outside of the trash.
type AssetFilter struct {
	ProjectID     uuid.UUID // those of a project, whoever's they are
	FileType      FileType
	Category      string
	Tags          []string
	AllTags       bool // an asset needs all of Tags, not just one
	CreatedAfter  *time.Time
	CreatedBefore *time.Time
	Search        string         // words that the name or tags hold; without any (HasWords) nothing is found
	Trashed       bool           // list the trash instead
	Width, Height Range[int]     // pixels
	Duration      Range[float64] // seconds
}

// Range bounds a number that the media job has read; nil does not. What has no such number is in no range that is bounded.
type Range[N int | float64] struct{ Min, Max *N }

// ListAssets returns one page of the user's assets, or of those in a project of which the user is a member (else ErrNotFound), the
// position behind it if there are more (else nil), and the number of all that pass the filter.
func (s *Store) ListAssets(ctx context.Context, userID uuid.UUID, f AssetFilter, p Page) (assets []Asset, next *Position, total Total, err error) {
	if err := owned(userID); err != nil {
		return nil, nil, total, err
	}
	words := parseSearch(f.Search)
	if f.Search != "" && len(words.words) == 0 {
		return nil, nil, total, nil // not everything: somebody may delete what is found
	}
	var q conditions
	access := AccessOwner
	if f.ProjectID == uuid.Nil {
		q.add("user_id = %s", userID)
	} else {
		project, err := projectFor(ctx, s.queries, userID, f.ProjectID)
		if err != nil {
			return nil, nil, total, fail("find project", err)
		}
		access = project.Role
		q.add("id in (select asset_id from project_assets where project_id = %s)", f.ProjectID)
	}
	f.apply(&q, userID)
	itemOf := func(row assetRow) Asset {
		if row.UserID == userID {
			return assetOf(row, AccessOwner)
		}
		return assetOf(row, access)
	}
	owner := userID
	if f.ProjectID != uuid.Nil {
		owner = uuid.Nil
	}
	all := q.clone()
	words.somewhere(&all, owner)
	if total, err = s.count(ctx, "assets", all); err != nil {
		return nil, nil, total, err
	}
	switch {
	case total.Rows == 0 && p.Offset == 0 && p.After == nil:
		assets, err = s.likeAssets(ctx, q, words, owner, p.Limit, itemOf)
		total = Total{Rows: int64(len(assets)), Approximate: len(assets) > 0}
	case p.Sort == SortRank && f.Search != "":
		assets, next, err = s.rankedAssets(ctx, q, words, owner, p, itemOf)
	default:
		assets, next, err = readPage(ctx, s, selectAssets, all, p, assetSorts, itemOf, assetID)
	}
	if err == nil {
		err = s.addProjects(ctx, userID, assets)
	}
	return assets, next, total, fail("list assets", err)
}

func (f AssetFilter) apply(q *conditions, userID uuid.UUID) {
	if f.Trashed {
		q.add("deleted_at is not null and user_id = %s", userID) // the trash is its owner's alone
	} else {
		q.add("deleted_at is null")
	}
	if f.FileType != "" {
		q.add("file_type = %s", string(f.FileType))
	}
	if f.Category != "" {
		q.add("category = %s", f.Category)
	}
	if len(f.Tags) > 0 && f.AllTags {
		q.add("tags @> %s", f.Tags)
	} else if len(f.Tags) > 0 {
		q.add("tags && %s", f.Tags)
	}
	f.media(q)
	if f.CreatedAfter != nil {
		q.add("created_at > %s", *f.CreatedAfter)
	}
	if f.CreatedBefore != nil {
		q.add("created_at < %s", *f.CreatedBefore)
	}
}

// media adds what the bytes must be.
func (f AssetFilter) media(q *conditions) {
	q.nest("exists (select from blobs b where b.user_id = assets.user_id and b.sha256 = assets.sha256 and %s)", " and ", func(inner *conditions) {
		within(inner, "b.width", f.Width)
		within(inner, "b.height", f.Height)
		within(inner, "b.duration", f.Duration)
	})
}

func within[N int | float64](q *conditions, column string, r Range[N]) {
	if r.Min != nil {
		q.add(column+" >= %s", *r.Min)
	}
	if r.Max != nil {
		q.add(column+" <= %s", *r.Max)
	}
}

// addProjects tells of each asset in which of the user's projects it is.
func (s *Store) addProjects(ctx context.Context, userID uuid.UUID, assets []Asset) error {
	if len(assets) == 0 {
		return nil
	}
	ids, places := make([]uuid.UUID, len(assets)), map[uuid.UUID]int{}
	for i, a := range assets {
		ids[i], places[a.ID] = a.ID, i
	}
	rows, err := s.queries.ProjectsOfAssets(ctx, sqlc.ProjectsOfAssetsParams{AssetIds: ids, UserID: userID})
	for _, row := range rows {
		a := &assets[places[row.AssetID]]
		a.ProjectIDs = append(a.ProjectIDs, row.ProjectID)
	}
	return err
}
