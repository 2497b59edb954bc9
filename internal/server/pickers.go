package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// nameCountBody is a name that pickers offer.
type nameCountBody struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// picker lists the names that most of the caller's assets have.
func picker(read func(context.Context, uuid.UUID) ([]store.NameCount, error)) func(context.Context, caller, *none) (*data[[]nameCountBody], error) {
	return func(ctx context.Context, who caller, _ *none) (*data[[]nameCountBody], error) {
		names, err := read(ctx, who.ID)
		return dataOf(bodiesOf(names, func(n store.NameCount) nameCountBody { return nameCountBody{n.Name, n.Assets} })), err
	}
}
