package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// PageQuery selects a part of a list: by offset, by page, or by the cursor that the
// part before it came with. Requests embed it; huma looks into exported types only.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many at most."`
	Offset int    `query:"offset" minimum:"0" maximum:"1000000000" doc:"How many to leave out."`
	Page   int    `query:"page" minimum:"1" maximum:"10000000" doc:"In place of offset."`
	Cursor string `query:"cursor" maxLength:"1024" doc:"The nextCursor of the answer before, in place of offset."`
}

// list is the answer that is a part of a list.
type list[T any] struct {
	Body struct {
		Data       []T        `json:"data"`
		Pagination pagination `json:"pagination"`
	}
}

type pagination struct {
	Total           int64   `json:"total"`
	Approximate     bool    `json:"approximate,omitempty" doc:"Nothing holds the search: these hold something like it."`
	TotalIsEstimate bool    `json:"totalIsEstimate,omitempty" doc:"There are so many that they were not counted."`
	Limit           int     `json:"limit"`
	Offset          *int    `json:"offset" doc:"Null behind a cursor."`
	Page            *int    `json:"page" doc:"Null behind a cursor."`
	TotalPages      int64   `json:"totalPages"`
	NextCursor      *string `json:"nextCursor" doc:"For the next part; null at the end."`
}

// offset says where the page begins; with a cursor it is 0.
func (q PageQuery) offset() (int, error) {
	given := 0
	for _, set := range []bool{q.Offset > 0, q.Page > 0, q.Cursor != ""} {
		if set {
			given++
		}
	}
	if given > 1 {
		return 0, invalid("page", "give only one of offset, page and cursor")
	}
	if q.Page > 0 {
		return (q.Page - 1) * q.Limit, nil
	}
	return q.Offset, nil
}

// describe makes the pagination of an answer.
func (q PageQuery) describe(offset int, total store.Total, next *string) pagination {
	p := pagination{
		Total: total.Rows, TotalIsEstimate: total.Estimate, Approximate: total.Approximate,
		Limit: q.Limit, TotalPages: (total.Rows + int64(q.Limit) - 1) / int64(q.Limit), NextCursor: next,
	}
	if q.Cursor == "" {
		page := offset/q.Limit + 1
		p.Offset, p.Page = &offset, &page
	}
	return p
}

// cursor is what nextCursor holds, in base64: a place in a list of one order.
type cursor struct {
	Sort      store.Sort `json:"s"`
	Ascending bool       `json:"a,omitempty"`
	Value     string     `json:"v"`
	ID        uuid.UUID  `json:"id"`
}

func (c cursor) String() string {
	body, _ := json.Marshal(c) // cannot fail
	return base64.RawURLEncoding.EncodeToString(body)
}

// parseCursor accepts a cursor that came with a list of the same order.
func parseCursor(text string, sort store.Sort, ascending bool) (*store.Position, error) {
	var c cursor
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	if err != nil || !isText(c.Value) {
		return nil, invalid("cursor", "is not a nextCursor of this list")
	}
	if c.Sort != sort || c.Ascending != ascending {
		return nil, invalid("cursor", "belongs to another sortBy or sortOrder")
	}
	return &store.Position{Value: c.Value, ID: c.ID}, nil
}

// listByID answers with a part of a list that is sorted by id, the newest first. read returns up to limit items behind an id (nil: from
// the beginning) or an offset.
func listByID[Item, Body any](q PageQuery, bodyOf func(Item) Body, idOf func(Item) uuid.UUID, read func(behind uuid.UUID, limit, offset int) ([]Item, store.Total, error)) (*list[Body], error) {
	offset, err := q.offset()
	if err != nil {
		return nil, err
	}
	behind := uuid.Nil
	if q.Cursor != "" {
		position, err := parseCursor(q.Cursor, "", false)
		if err != nil {
			return nil, err
		}
		behind = position.ID
	}
	items, total, err := read(behind, q.Limit+1, offset) // one more tells whether there is a next page
	if err != nil {
		return nil, err
	}
	var next *string
	if len(items) > q.Limit {
		items = items[:q.Limit]
		text := cursor{ID: idOf(items[q.Limit-1])}.String()
		next = &text
	}
	return listOf(items, bodyOf, q.describe(offset, total, next)), nil
}

// listSorted answers with a part of a list that is sorted by one of several fields.
func listSorted[Item, Body any](q PageQuery, sortBy store.Sort, order string, bodyOf func(Item) Body, read func(store.Page) ([]Item, *store.Position, store.Total, error)) (*list[Body], error) {
	offset, err := q.offset()
	if err != nil {
		return nil, err
	}
	page := store.Page{Sort: sortBy, Ascending: order == "asc", Limit: q.Limit, Offset: offset}
	if q.Cursor != "" {
		if page.After, err = parseCursor(q.Cursor, page.Sort, page.Ascending); err != nil {
			return nil, err
		}
	}
	items, next, total, err := read(page)
	if errors.Is(err, store.ErrBadPosition) {
		return nil, invalid("cursor", "is not a nextCursor of this list")
	}
	if err != nil {
		return nil, err
	}
	var nextCursor *string
	if next != nil {
		text := cursor{page.Sort, page.Ascending, next.Value, next.ID}.String()
		nextCursor = &text
	}
	return listOf(items, bodyOf, q.describe(offset, total, nextCursor)), nil
}

func listOf[Item, Body any](items []Item, bodyOf func(Item) Body, p pagination) *list[Body] {
	var answer list[Body]
	answer.Body.Data, answer.Body.Pagination = bodiesOf(items, bodyOf), p
	return &answer
}

// bodiesOf are what the API shows of items; never null.
func bodiesOf[Item, Body any](items []Item, bodyOf func(Item) Body) []Body {
	bodies := make([]Body, len(items))
	for i, item := range items {
		bodies[i] = bodyOf(item)
	}
	return bodies
}
