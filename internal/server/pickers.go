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

type pickerRequest struct {
	ProjectID string `query:"projectId" maxLength:"36" doc:"Of the assets in this project; else of the caller's own."`
}

// picker lists the names that most assets have.
func picker(read func(ctx context.Context, userID, projectID uuid.UUID) ([]store.NameCount, error)) func(context.Context, caller, *pickerRequest) (*data[[]nameCountBody], error) {
	return func(ctx context.Context, who caller, in *pickerRequest) (*data[[]nameCountBody], error) {
		var project uuid.UUID
		if in.ProjectID != "" {
			var err error
			if project, err = parseID(in.ProjectID); err != nil {
				return nil, invalid("projectId", "is not the id of a project")
			}
		}
		names, err := read(ctx, who.ID, project)
		return dataOf(bodiesOf(names, func(n store.NameCount) nameCountBody { return nameCountBody{n.Name, n.Assets} })), err
	}
}
