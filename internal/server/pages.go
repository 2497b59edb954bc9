package server

import (
	"encoding/base64"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// PageQuery selects a part of a list: by offset, by page, or by the cursor that the
// part before it came with. Requests embed it; huma looks into exported types only.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Offset int    `query:"offset" minimum:"0" maximum:"1000000000"`
	Page   int    `query:"page" minimum:"1" maximum:"10000000"`
	Cursor string `query:"cursor" maxLength:"1024"`
}

// list is the answer that is a part of a list.
type list[T any] struct {
	Body struct {
		Data       []T        `json:"data"`
		Pagination pagination `json:"pagination"`
	}
}

type pagination struct {
	Total      int64   `json:"total"`
	Limit      int     `json:"limit"`
	Offset     *int    `json:"offset"` // null behind a cursor
	Page       *int    `json:"page"`   // null behind a cursor
	TotalPages int64   `json:"totalPages"`
	NextCursor *string `json:"nextCursor"` // null at the end
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
func (q PageQuery) describe(offset int, total int64, next *string) pagination {
	p := pagination{Total: total, Limit: q.Limit, TotalPages: (total + int64(q.Limit) - 1) / int64(q.Limit), NextCursor: next}
	if q.Cursor == "" {
		page := offset/q.Limit + 1
		p.Offset, p.Page = &offset, &page
	}
	return p
}

// cursor is what nextCursor holds, in base64: a place in a list of one order.
type cursor struct {
	Sort      store.AssetSort `json:"s"`
	Ascending bool            `json:"a,omitempty"`
	Value     string          `json:"v"`
	ID        uuid.UUID       `json:"id"`
}

func (c cursor) String() string {
	body, _ := json.Marshal(c) // cannot fail
	return base64.RawURLEncoding.EncodeToString(body)
}

// parseCursor accepts a cursor that came with a list of the same order.
func parseCursor(text string, sort store.AssetSort, ascending bool) (*store.AssetPosition, error) {
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
	return &store.AssetPosition{Value: c.Value, ID: c.ID}, nil
}
