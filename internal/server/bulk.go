package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

type bulkRequest struct {
	Body struct {
		IDs               []string         `json:"ids" minItems:"1" maxItems:"500"`
		AddTags           []string         `json:"addTags,omitempty" maxItems:"50"`
		RemoveTags        []string         `json:"removeTags,omitempty" maxItems:"50"`
		Category          Nullable[string] `json:"category,omitempty"`
		AddToProject      string           `json:"addToProject,omitempty" maxLength:"36"`
		RemoveFromProject string           `json:"removeFromProject,omitempty" maxLength:"36"`
		Delete            bool             `json:"delete,omitempty" doc:"Put them into the trash."`
		Partial           bool             `json:"partial,omitempty" doc:"Change those that can be changed; else all or nothing."`
	}
}

// bulkAnswer says of each asset whether it was changed.
type bulkAnswer struct {
	Results []bulkResult `json:"results"`
}

type bulkResult struct {
	ID    string     `json:"id"`
	OK    bool       `json:"ok"`
	Error *errorInfo `json:"error"`
}

// edit reads the request; what is wrong with it is told at once.
func (in *bulkRequest) edit() (e store.BulkEdit, err error) {
	b := &in.Body
	e = store.BulkEdit{AddTags: cleanTags(b.AddTags), RemoveTags: cleanTags(b.RemoveTags), Delete: b.Delete, Partial: b.Partial}
	err = allOf(named("addTags", checkTags(e.AddTags)), named("removeTags", checkTags(e.RemoveTags)))
	if b.Category.Given {
		category, wrong := cleanCategory(b.Category.Value)
		e.Category, err = &category, allOf(err, wrong)
	}
	for _, project := range []struct {
		field, text string
		id          *uuid.UUID
	}{{"addToProject", b.AddToProject, &e.AddToProject}, {"removeFromProject", b.RemoveFromProject, &e.RemoveFromProject}} {
		if project.text == "" {
			continue
		}
		var wrong error
		if *project.id, wrong = parseID(project.text); wrong != nil {
			err = allOf(err, invalid(project.field, "is not the id of a project"))
		}
	}
	return e, err
}

// named says of another field what was found.
func named(field string, err error) error {
	var p *problem
	if errors.As(err, &p) {
		p.details[0].Field = field
	}
	return err
}

// bulkEdit makes one change of many assets.
func (s *Server) bulkEdit(ctx context.Context, who caller, in *bulkRequest) (*data[bulkAnswer], error) {
	edit, err := in.edit()
	if err != nil {
		return nil, err
	}
	if len(edit.AddTags)+len(edit.RemoveTags) == 0 && edit.Category == nil && edit.AddToProject == uuid.Nil && edit.RemoveFromProject == uuid.Nil && !edit.Delete {
		return nil, invalid("body", "changes nothing: say what to do with the assets")
	}
	ids := make([]uuid.UUID, len(in.Body.IDs))
	for i, text := range in.Body.IDs {
		if ids[i], err = parseID(text); err != nil {
			return nil, invalid("ids", fmt.Sprintf("holds %q, which is no id", text))
		}
	}
	results, err := s.store.EditAssets(ctx, who.ID, ids, edit)
	if err != nil && !errors.Is(err, store.ErrNothingDone) {
		return nil, err
	}
	answer := bulkAnswer{Results: make([]bulkResult, len(ids))}
	refused := newProblem(http.StatusConflict, "CONFLICT", "Nothing was changed, because of the assets named in details: leave them out, or send partial.")
	for i, result := range results {
		answer.Results[i] = bulkResult{ID: in.Body.IDs[i], OK: result == nil}
		if result != nil {
			p := problemOf(result)
			answer.Results[i].Error = &errorInfo{Code: p.code, Message: p.message}
			refused.details = append(refused.details, detail{fmt.Sprintf("ids[%d]", i), p.message})
		}
	}
	if err != nil {
		return nil, refused
	}
	return dataOf(answer), nil
}
