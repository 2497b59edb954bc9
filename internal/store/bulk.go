package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// MaxTags bounds the tags of an asset.
const MaxTags = 50

// Errors of single items of a bulk edit.
var ErrTooManyTags = fmt.Errorf("more than %d tags", MaxTags)

// BulkEdit is one change of many assets; what is zero changes nothing.
type BulkEdit struct {
	AddTags, RemoveTags             []string
	Category                        **string // to nil: none
	AddToProject, RemoveFromProject uuid.UUID
	Delete                          bool // to the trash, as an owner may
	Partial                         bool // do what can be done; else all or nothing
}

// ErrNothingDone means that a bulk edit was not made, because not all of it could be.
var ErrNothingDone = errors.New("nothing was done")

// EditAssets makes one change of many assets in one transaction. results has an error, or nil, for each id: ErrNotFound, ErrForbidden,
// ErrTooManyTags. Unless edit.Partial, one of them means that nothing is done, and ErrNothingDone. ErrNotFound and ErrForbidden
// themselves are about a project that the edit names.
func (s *Store) EditAssets(ctx context.Context, userID uuid.UUID, ids []uuid.UUID, edit BulkEdit) (results []error, err error) {
	if err := owned(userID); err != nil {
		return nil, err
	}
	err = s.inTx(ctx, func(q *sqlc.Queries) error {
		for _, project := range []uuid.UUID{edit.AddToProject, edit.RemoveFromProject} {
			if project == uuid.Nil {
				continue
			}
			if err := mayEditProject(ctx, q, userID, project); err != nil {
				return err
			}
		}
		wanted := sqlc.LockVisibleAssetsParams{UserID: userID, Ids: ids}
		if _, err := q.LockVisibleAssets(ctx, wanted); err != nil {
			return err
		}
		rows, err := q.LockVisibleAssets(ctx, wanted) // again: a role may have ended while the locks were waited for
		if err != nil {
			return err
		}
		visible := map[uuid.UUID]sqlc.LockVisibleAssetsRow{}
		for _, row := range rows {
			visible[row.ID] = row
		}
		var can []sqlc.LockVisibleAssetsRow
		results = make([]error, len(ids))
		failed := false
		for i, id := range ids {
			row, found := visible[id]
			if results[i] = edit.refuse(userID, row, found); results[i] == nil {
				can = append(can, row)
			}
			failed = failed || results[i] != nil
		}
		if failed && !edit.Partial {
			return ErrNothingDone
		}
		return edit.apply(ctx, q, userID, can)
	})
	return results, fail("edit assets", err)
}

// mayEditProject keeps a project as it is, and lets its editors pass.
func mayEditProject(ctx context.Context, q *sqlc.Queries, userID, id uuid.UUID) error {
	if err := q.KeepProject(ctx, id); err != nil {
		return err
	}
	p, err := projectFor(ctx, q, userID, id)
	if err == nil && !p.Role.covers(AccessEditor) {
		err = ErrForbidden
	}
	return err
}

// refuse says why the edit cannot be made of an asset.
func (e BulkEdit) refuse(userID uuid.UUID, row sqlc.LockVisibleAssetsRow, found bool) error {
	switch {
	case !found:
		return ErrNotFound
	case !row.MayEdit, (e.Delete || e.AddToProject != uuid.Nil) && row.UserID != userID:
		return ErrForbidden
	case len(e.tags(row.Tags)) > MaxTags:
		return ErrTooManyTags
	}
	return nil
}

// tags are an asset's after the edit.
func (e BulkEdit) tags(before []string) []string {
	after := slices.DeleteFunc(slices.Clone(before), func(tag string) bool { return slices.Contains(e.RemoveTags, tag) })
	for _, tag := range e.AddTags {
		if !slices.Contains(after, tag) {
			after = append(after, tag)
		}
	}
	return after
}

func (e BulkEdit) apply(ctx context.Context, q *sqlc.Queries, userID uuid.UUID, rows []sqlc.LockVisibleAssetsRow) error {
	if len(rows) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	if err := e.applyTags(ctx, q, rows); err != nil {
		return err
	}
	if e.Category != nil {
		if err := q.UpdateCategories(ctx, sqlc.UpdateCategoriesParams{Ids: ids, Category: *e.Category}); err != nil {
			return err
		}
	}
	if e.AddToProject != uuid.Nil {
		if _, err := q.AddOwnAssetsToProject(ctx, sqlc.AddOwnAssetsToProjectParams{ProjectID: e.AddToProject, AssetIds: ids, UserID: userID}); err != nil {
			return err
		}
	}
	if e.RemoveFromProject != uuid.Nil {
		if err := q.RemoveAssetsFromProject(ctx, sqlc.RemoveAssetsFromProjectParams{ProjectID: e.RemoveFromProject, AssetIds: ids}); err != nil {
			return err
		}
	}
	if e.Delete {
		if err := q.TrashAssets(ctx, ids); err != nil {
			return err
		}
	}
	return audit(ctx, q, change{action: "asset.bulk", user: userID, details: e.details(ids)})
}

// bulkBatch is how many assets' tags one statement changes: what a statement says is in memory some times over.
const bulkBatch = 50

func (e BulkEdit) applyTags(ctx context.Context, q *sqlc.Queries, rows []sqlc.LockVisibleAssetsRow) error {
	type tagged struct {
		ID   uuid.UUID `json:"id"`
		Tags []string  `json:"tags"`
		searchable
	}
	indexers := map[uuid.UUID]indexer{}
	for batch := range slices.Chunk(rows, bulkBatch) {
		var changes []tagged
		for _, row := range batch {
			tags := e.tags(row.Tags)
			if slices.Equal(tags, row.Tags) {
				continue
			}
			if _, ok := indexers[row.UserID]; !ok {
				indexers[row.UserID] = newIndexer(row.UserID)
			}
			changes = append(changes, tagged{row.ID, tags, indexers[row.UserID].searchable(row.OriginalName, tags)})
		}
		if len(changes) == 0 {
			continue
		}
		text, err := json.Marshal(changes)
		if err != nil {
			return err
		}
		if err := q.UpdateTags(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// details are what the audit keeps of the edit.
func (e BulkEdit) details(ids []uuid.UUID) map[string]any {
	details := map[string]any{"assets": ids}
	for name, value := range map[string][]string{"addTags": e.AddTags, "removeTags": e.RemoveTags} {
		if len(value) > 0 {
			details[name] = value
		}
	}
	if e.Category != nil {
		details["category"] = *e.Category
	}
	for name, project := range map[string]uuid.UUID{"addToProject": e.AddToProject, "removeFromProject": e.RemoveFromProject} {
		if project != uuid.Nil {
			details[name] = project
		}
	}
	if e.Delete {
		details["delete"] = true
	}
	return details
}
