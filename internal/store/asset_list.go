package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

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
	ProjectIDs   []uuid.UUID
}

// selectAssets selects the fields of assetRow. Not *: there is more that lists need not read, and a later migration may add to it while
// images that do not know of it still serve. The first argument is the user who asks.
const selectAssets = `
select id, user_id, sha256, original_name, file_type, mime_type, file_size, version, tags, category,
    (select b.metadata from blobs b where b.user_id = assets.user_id and b.sha256 = assets.sha256),
    exists (select from thumbnails t where t.user_id = assets.user_id and t.sha256 = assets.sha256),
    created_at, updated_at, deleted_at, bytes_at,
    array(
        select pa.project_id from project_assets pa join project_members m on m.project_id = pa.project_id
        where pa.asset_id = assets.id and m.user_id = $1 order by 1
    )
from `

func assetID(a Asset) uuid.UUID { return a.ID }

var assetSorts = map[Sort]sortColumn[Asset]{
	SortCreatedAt:    {"created_at", "id", "timestamptz", func(a Asset) any { return a.CreatedAt }},
	SortUpdatedAt:    {"updated_at", "id", "timestamptz", func(a Asset) any { return a.UpdatedAt }},
	SortOriginalName: {"original_name", "id", "text", func(a Asset) any { return a.OriginalName }},
	SortFileSize:     {"file_size", "id", "bigint", func(a Asset) any { return a.FileSize }},
}

// projectAssetSorts are the same by what project_assets has of its assets, under indexes by project.
var projectAssetSorts = map[Sort]sortColumn[Asset]{}

func init() {
	for sort, c := range assetSorts {
		c.column, c.id = "asset_"+c.column, "asset_id"
		projectAssetSorts[sort] = c
	}
}

// library is which assets a list is of, and how it is read.
type library struct {
	from   string // begins with assets, or with what stands for them
	q      conditions
	sorts  map[Sort]sortColumn[Asset]
	itemOf func(assetRow) Asset
}

func (s *Store) readAssets(ctx context.Context, l library, p Page) ([]Asset, *Position, error) {
	return readPage(ctx, s, selectAssets+l.from, l.q, p, l.sorts, l.itemOf, assetID)
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
	Search        string         // words that the name or tags hold; without any (SearchWords) nothing is found
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
	l, owners, err := s.library(ctx, userID, f)
	if err != nil {
		return nil, nil, total, fail("find project", err)
	}
	words, all := parseSearch(f.Search, owners), l
	if f.Search != "" && len(words.words) == 0 {
		return nil, nil, total, nil // not everything: somebody may delete what is found
	}
	all.q = l.q.clone()
	words.somewhere(&all.q)
	total, few, err := s.countAssets(ctx, all)
	if err != nil {
		return nil, nil, total, err
	}
	switch {
	case total.Rows == 0 && p.Offset == 0 && p.After == nil:
		assets, err = s.likeAssets(ctx, l, words, p.Limit)
		total = Total{Rows: int64(len(assets)), Approximate: len(assets) > 0}
	case p.Sort == SortRank && f.Search != "":
		assets, next, err = s.rankedAssets(ctx, l, words, p)
	case few != nil:
		assets, next, err = s.readAssets(ctx, all.only(few), p)
	case total.Rows <= gatheredRows && !all.q.usual:
		assets, next, err = s.readAssets(ctx, all.gathered(), p)
	default:
		assets, next, err = s.readAssets(ctx, all, p)
	}
	return assets, next, total, fail("list assets", err)
}

// countAssets counts what is in a library, and tells of few assets which they are: to find them once more in the order of a list, a
// planner that takes them for many would go through all.
func (s *Store) countAssets(ctx context.Context, l library) (total Total, few []uuid.UUID, err error) {
	if l.q.usual {
		total, err = s.count(ctx, l.from, l.q)
		return total, nil, err
	}
	total, err = s.countBy(ctx, l.from, l.q, func(selection string) (int64, error) {
		found, err := s.pool.Query(ctx, "select id"+selection, l.q.planned()...)
		if err == nil {
			few, err = pgx.CollectRows(found, pgx.RowTo[uuid.UUID])
		}
		return int64(len(few)), err
	})
	if total.Estimate {
		few = nil
	}
	return total, few, err
}

// only is a library without all but these assets.
func (l library) only(ids []uuid.UUID) library {
	l.q = l.q.clone()
	l.q.add("id = any(%s)", ids)
	return l
}

// gatheredRows is up to how many rows an estimate has a list read as a whole and then sorted.
const gatheredRows = 5000

// gathered is a library that is read as a whole before it is sorted: to meet a few of its rows, one would go through thousands of others in
// the order of the sort. The planner thinks so too, but takes a row that is in memory for one on a disk.
func (l library) gathered() library {
	l.from = fmt.Sprintf("(select * from %s%s offset 0) assets", l.from, l.q.where())
	l.q = conditions{args: l.q.args}
	return l
}

// maxOwners is of how many owners a search asks the index; in a project with assets of more it goes through all.
const maxOwners = 20

// library is what passes a filter, and who owns it if that is to be searched.
func (s *Store) library(ctx context.Context, userID uuid.UUID, f AssetFilter) (l library, owners []uuid.UUID, err error) {
	l = library{from: "assets", sorts: assetSorts, itemOf: func(row assetRow) Asset { return assetOf(row, AccessOwner) }}
	if f.ProjectID == uuid.Nil {
		l.q.add("user_id = %s", userID)
		f.apply(&l, userID)
		return l, []uuid.UUID{userID}, nil
	}
	project, err := projectFor(ctx, s.queries, userID, f.ProjectID)
	if err != nil {
		return l, nil, err
	}
	l.from, l.sorts = "assets join project_assets on id = asset_id", projectAssetSorts
	l.itemOf = func(row assetRow) Asset {
		if row.UserID == userID {
			return assetOf(row, AccessOwner)
		}
		return assetOf(row, project.Role)
	}
	l.q.add("%s::uuid is not null", userID) // always; selectAssets wants to have them first
	l.q.add("project_id = %s", f.ProjectID)
	if !f.Trashed {
		l.q.add("not asset_trashed")
	}
	f.apply(&l, userID)
	if f.Search == "" {
		return l, nil, nil
	}
	if owners, err = s.queries.ProjectAssetOwners(ctx, sqlc.ProjectAssetOwnersParams{ProjectID: f.ProjectID, Limit: maxOwners + 1}); len(owners) > maxOwners {
		owners = nil
	}
	return l, owners, err
}

func (f AssetFilter) apply(l *library, userID uuid.UUID) {
	q, created := &l.q, l.sorts[SortCreatedAt].column
	if f.Trashed {
		q.add("deleted_at is not null and user_id = %s", userID) // the trash is its owner's alone
	} else {
		q.add("deleted_at is null")
	}
	whole := len(q.parts)
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
		q.add(created+" > %s", *f.CreatedAfter)
	}
	if f.CreatedBefore != nil {
		q.add(created+" < %s", *f.CreatedBefore)
	}
	q.usual = len(q.parts) == whole && f.Search == "" && !f.Trashed // of which there are few
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
