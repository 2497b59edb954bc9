package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// assetColumns are the fields of sqlc.Asset in their order. Not *: a later migration may
// add a column while images that do not know of it still serve.
const assetColumns = "id, user_id, sha256, original_name, file_type, mime_type, file_size, version, tags, category, metadata, created_at, updated_at, deleted_at"

// AssetSort names a column that assets can be listed by; ties are broken by id.
type AssetSort string

// The columns that assets can be listed by. Names are compared by code point.
const (
	SortCreatedAt    AssetSort = "createdAt"
	SortUpdatedAt    AssetSort = "updatedAt"
	SortOriginalName AssetSort = "originalName"
	SortFileSize     AssetSort = "fileSize"
)

// sortColumns has, for each sort, its column, the type of that column, and an asset's value of it.
var sortColumns = map[AssetSort]struct {
	column, kind string
	value        func(Asset) any
}{
	SortCreatedAt:    {"created_at", "timestamptz", func(a Asset) any { return a.CreatedAt }},
	SortUpdatedAt:    {"updated_at", "timestamptz", func(a Asset) any { return a.UpdatedAt }},
	SortOriginalName: {"original_name", "text", func(a Asset) any { return a.OriginalName }},
	SortFileSize:     {"file_size", "bigint", func(a Asset) any { return a.FileSize }},
}

// AssetFilter says which assets of a user to list; the zero value means all outside of the trash.
type AssetFilter struct {
	FileType      FileType
	Category      string
	Tags          []string
	AllTags       bool // an asset needs all of Tags, not just one
	CreatedAfter  time.Time
	CreatedBefore time.Time
	Trashed       bool // list the trash instead
}

// AssetPage says in which order to list assets and which part of the list.
type AssetPage struct {
	Sort      AssetSort
	Ascending bool
	Limit     int
	Offset    int
	After     *AssetPosition // begin behind this position; then Offset must be 0
}

// AssetPosition is a place in a list of assets: the sort value, in text, and id of the asset before it.
type AssetPosition struct {
	Value string
	ID    uuid.UUID
}

// ErrBadPosition means that an AssetPosition does not fit the sort.
var ErrBadPosition = errors.New("position does not fit the sort")

// ListAssets returns one page of the user's assets, the position behind it if there are
// more (else nil), and the number of all that pass the filter.
func (s *Store) ListAssets(ctx context.Context, userID uuid.UUID, f AssetFilter, p AssetPage) (assets []Asset, next *AssetPosition, total Total, err error) {
	if err := owned(userID); err != nil {
		return nil, nil, total, err
	}
	sort, ok := sortColumns[p.Sort]
	if !ok {
		return nil, nil, total, fmt.Errorf("list assets: no sort %q", p.Sort)
	}
	var q conditions
	f.apply(&q, userID)
	if total, err = s.count(ctx, "assets", q); err != nil {
		return nil, nil, total, err
	}

	order, beyond := "desc", "<"
	if p.Ascending {
		order, beyond = "asc", ">"
	}
	if p.After != nil {
		value, err := parsePosition(sort.kind, p.After.Value)
		if err != nil {
			return nil, nil, total, err
		}
		q.add("("+sort.column+", id) "+beyond+" (%s::"+sort.kind+", %s)", value, p.After.ID)
	}
	// One more than asked for tells whether there is a next page.
	sql := q.page("select "+assetColumns+" from assets", fmt.Sprintf("%s %s, id %s", sort.column, order, order), p.Limit+1, p.Offset)
	rows, err := s.pool.Query(ctx, sql, q.args...)
	if err != nil {
		return nil, nil, total, fail("list assets", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sqlc.Asset])
	if err != nil {
		return nil, nil, total, fail("list assets", err)
	}
	for _, row := range found[:min(len(found), p.Limit)] {
		assets = append(assets, assetOf(row))
	}
	if len(found) > p.Limit {
		last := assets[len(assets)-1]
		next = &AssetPosition{Value: formatPosition(sort.value(last)), ID: last.ID}
	}
	return assets, next, total, nil
}

func (f AssetFilter) apply(q *conditions, userID uuid.UUID) {
	q.add("user_id = %s", userID)
	if f.Trashed {
		q.add("deleted_at is not null")
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
	if !f.CreatedAfter.IsZero() {
		q.add("created_at > %s", f.CreatedAfter)
	}
	if !f.CreatedBefore.IsZero() {
		q.add("created_at < %s", f.CreatedBefore)
	}
}

func formatPosition(value any) string {
	if t, ok := value.(time.Time); ok {
		return t.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(value)
}

func parsePosition(kind, text string) (value any, err error) {
	switch kind {
	case "timestamptz":
		value, err = time.Parse(time.RFC3339Nano, text)
	case "bigint":
		var n int64
		_, err = fmt.Sscan(text, &n)
		value = n
	default:
		value = text
	}
	if err != nil {
		return nil, ErrBadPosition
	}
	return value, nil
}
