package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Sort names what a list is sorted by; ties are broken by id.
type Sort string

// The sorts of lists. Names are compared by code point.
const (
	SortCreatedAt    Sort = "createdAt"
	SortUpdatedAt    Sort = "updatedAt"
	SortName         Sort = "name"
	SortOriginalName Sort = "originalName"
	SortFileSize     Sort = "fileSize"
	// SortRank is by how well an asset fits a search, and then by the time of its creation.
	SortRank Sort = "rank"
)

// Page says in which order to list and which part of the list.
type Page struct {
	Sort      Sort
	Ascending bool
	Limit     int
	Offset    int
	After     *Position // begin behind this position; then Offset must be 0
}

// Position is a place in a list: the sort value, in text, and id of the item before it.
type Position struct {
	Value string
	ID    uuid.UUID
}

// ErrBadPosition means that a Position does not fit the sort.
var ErrBadPosition = errors.New("position does not fit the sort")

// sortColumn is what a sort compares: a column, the one of the id, the first one's type, and an item's value of it.
type sortColumn[Item any] struct {
	column, id, kind string
	value            func(Item) any
}

// readPage runs a selection for one page, and returns the position behind it if there are more (else nil). idOf is the item's id.
func readPage[Row, Item any](ctx context.Context, s *Store, selection string, q conditions, p Page, sorts map[Sort]sortColumn[Item], itemOf func(Row) Item, idOf func(Item) uuid.UUID) (items []Item, next *Position, err error) {
	sort, ok := sorts[p.Sort]
	if !ok {
		return nil, nil, fmt.Errorf("no sort %q", p.Sort)
	}
	order, beyond := "desc", "<"
	if p.Ascending {
		order, beyond = "asc", ">"
	}
	if p.After != nil {
		value, err := parsePosition(sort.kind, p.After.Value)
		if err != nil {
			return nil, nil, err
		}
		q.add("("+sort.column+", "+sort.id+") "+beyond+" (%s::"+sort.kind+", %s)", value, p.After.ID)
	}
	q.usual = q.usual && p.Offset == 0 // each offset is a statement of its own
	// One more than asked for tells whether there is a next page.
	rows, err := s.pool.Query(ctx, q.page(selection, fmt.Sprintf("%s %s, %s %s", sort.column, order, sort.id, order), p.Limit+1, p.Offset), q.planned()...)
	if err != nil {
		return nil, nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Row])
	if err != nil {
		return nil, nil, err
	}
	for _, row := range found[:min(len(found), p.Limit)] {
		items = append(items, itemOf(row))
	}
	if len(found) > p.Limit {
		last := items[len(items)-1]
		next = &Position{Value: formatPosition(sort.value(last)), ID: idOf(last)}
	}
	return items, next, nil
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
