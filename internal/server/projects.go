package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

const (
	maxDescription = 500 // characters
	maxInRequest   = 500 // assets that one request may change
)

// projectBody is a project as the API shows it.
type projectBody struct {
	ID          uuid.UUID         `json:"id"`
	UserID      uuid.UUID         `json:"userId" doc:"The owner's."`
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Role        store.Access      `json:"role" enum:"owner,editor,viewer" doc:"The caller's."`
	Counts      projectCountsBody `json:"counts"`
	CreatedAt   time.Time         `json:"createdAt"`
	UpdatedAt   time.Time         `json:"updatedAt"`
}

type projectCountsBody struct {
	Assets int64 `json:"assets"`
}

func projectBodyOf(p store.Project) projectBody {
	return projectBody{p.ID, p.OwnerID, p.Name, p.Description, p.Role, projectCountsBody{p.Assets}, p.CreatedAt, p.UpdatedAt}
}

// projectAnswer is one project, or a 304 without it.
type projectAnswer struct {
	Status       int
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Location     string `header:"Location"`
	Body         struct {
		Data projectBody `json:"data"`
	}
}

func projectAnswerOf(status int, p store.Project) *projectAnswer {
	body := dataOf(projectBodyOf(p)).Body
	answer := &projectAnswer{Status: status, ETag: contentTag(body), CacheControl: "private, no-cache", Body: body}
	if status == http.StatusCreated {
		answer.Location = "/api/projects/" + p.ID.String()
	}
	return answer
}

// contentTag is the strong entity tag of what JSON says about an object that changes with others, such as their number.
func contentTag(body any) string {
	text, _ := json.Marshal(body) // bodies of ours are plain
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// unchanged returns what refuses a project that is not as an If-Match header wants it; nil without one.
func unchanged(match string) func(store.Project) error {
	if match == "" {
		return nil
	}
	return func(p store.Project) error {
		if !matches(match, projectAnswerOf(0, p).ETag, false) {
			return store.ErrChanged
		}
		return nil
	}
}

// checkLine finds what is wrong with a one-line text that must not be empty.
func checkLine(field, text string, most int) error {
	switch {
	case strings.TrimSpace(text) == "":
		return invalid(field, "is empty")
	case utf8.RuneCountInString(text) > most:
		return invalid(field, "is too long")
	case !isText(text):
		return invalid(field, "holds control characters")
	}
	return nil
}

// checkProse finds what is wrong with a text of some lines, which may be empty.
func checkProse(field, text string, most int) error {
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' }
	switch {
	case utf8.RuneCountInString(text) > most:
		return invalid(field, "is too long")
	case !utf8.ValidString(text) || strings.ContainsFunc(text, control):
		return invalid(field, "holds control characters")
	}
	return nil
}

type createProjectRequest struct {
	Body struct {
		Name        string `json:"name" minLength:"1" maxLength:"100"`
		Description string `json:"description,omitempty" maxLength:"500"`
	}
}

func (s *Server) createProject(ctx context.Context, who caller, in *createProjectRequest) (*projectAnswer, error) {
	name := strings.TrimSpace(in.Body.Name)
	if err := allOf(checkLine("name", name, store.MaxProjectName), checkProse("description", in.Body.Description, maxDescription)); err != nil {
		return nil, err
	}
	project, err := s.store.CreateProject(ctx, who.ID, store.NewProject{Name: name, Description: in.Body.Description})
	return projectAnswerOf(http.StatusCreated, project), err
}

type listProjectsRequest struct {
	PageQuery
	Search    string     `query:"search" maxLength:"100"`
	SortBy    store.Sort `query:"sortBy" enum:"createdAt,updatedAt,name" default:"createdAt"`
	SortOrder string     `query:"sortOrder" enum:"asc,desc" default:"desc"`
}

// listProjects lists the projects of which the caller is a member.
func (s *Server) listProjects(ctx context.Context, who caller, in *listProjectsRequest) (*list[projectBody], error) {
	if !isText(in.Search) {
		return nil, invalid("search", "holds control characters")
	}
	return listSorted(in.PageQuery, in.SortBy, in.SortOrder, projectBodyOf, func(p store.Page) ([]store.Project, *store.Position, store.Total, error) {
		return s.store.Projects(ctx, who.ID, in.Search, p)
	})
}

type projectRequest struct {
	ID          string `path:"id"`
	IfMatch     string `header:"If-Match"`
	IfNoneMatch string `header:"If-None-Match"`
}

func (s *Server) getProject(ctx context.Context, who caller, in *projectRequest) (*projectAnswer, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	project, err := s.store.Project(ctx, who.ID, id)
	if err != nil {
		return nil, err
	}
	answer := projectAnswerOf(http.StatusOK, project)
	if matches(in.IfNoneMatch, answer.ETag, true) {
		answer.Status = http.StatusNotModified
	}
	if check := unchanged(in.IfMatch); check != nil {
		err = check(project)
	}
	return answer, err
}

type updateProjectRequest struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
	Body    struct {
		Name        *string `json:"name,omitempty" minLength:"1" maxLength:"100"`
		Description *string `json:"description,omitempty" maxLength:"500"`
	}
}

// updateProject changes what the request names; the rest stays.
func (s *Server) updateProject(ctx context.Context, who caller, in *updateProjectRequest) (*projectAnswer, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	if name := in.Body.Name; name != nil {
		*name = strings.TrimSpace(*name)
		err = checkLine("name", *name, store.MaxProjectName)
	}
	if d := in.Body.Description; d != nil {
		err = allOf(err, checkProse("description", *d, maxDescription))
	}
	if err != nil {
		return nil, err
	}
	project, err := s.store.UpdateProject(ctx, who.ID, id, store.ProjectChange{Name: in.Body.Name, Description: in.Body.Description}, unchanged(in.IfMatch))
	return projectAnswerOf(http.StatusOK, project), err
}

type deleteProjectRequest struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
}

// deleteProject deletes the project; the assets in it stay.
func (s *Server) deleteProject(ctx context.Context, who caller, in *deleteProjectRequest) (*none, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.store.DeleteProject(ctx, who.ID, id, unchanged(in.IfMatch))
}

type duplicateProjectRequest struct {
	ID   string `path:"id"`
	Body *struct {
		Name string `json:"name,omitempty" maxLength:"100"`
	}
}

// duplicateProject answers with a project of the caller's own that holds those of the assets that are the caller's.
func (s *Server) duplicateProject(ctx context.Context, who caller, in *duplicateProjectRequest) (*projectAnswer, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	var n store.NewProject
	if in.Body != nil && in.Body.Name != "" {
		n.Name = strings.TrimSpace(in.Body.Name)
		if err := checkLine("name", n.Name, store.MaxProjectName); err != nil {
			return nil, err
		}
	}
	project, err := s.store.DuplicateProject(ctx, who.ID, id, n)
	return projectAnswerOf(http.StatusCreated, project), err
}

type listProjectAssetsRequest struct {
	ID string `path:"id"`
	ListAssetsQuery
}

// listProjectAssets is listAssets with that projectId.
func (s *Server) listProjectAssets(ctx context.Context, who caller, in *listProjectAssetsRequest) (*list[assetBody], error) {
	if in.ProjectID != "" && in.ProjectID != in.ID {
		return nil, invalid("projectId", "is another one than the path's: leave it out")
	}
	if _, err := parseID(in.ID); err != nil {
		return nil, err
	}
	in.ProjectID = in.ID
	return s.listAssets(ctx, who, &in.ListAssetsQuery)
}

type addToProjectRequest struct {
	ID   string `path:"id"`
	Body struct {
		AssetID  string   `json:"assetId,omitempty" maxLength:"36"`
		AssetIDs []string `json:"assetIds,omitempty" minItems:"1" maxItems:"500"`
	}
}

// Resolve wants just one of the two.
func (in *addToProjectRequest) Resolve(huma.Context) []error {
	if (in.Body.AssetID == "") == (in.Body.AssetIDs == nil) {
		return []error{&huma.ErrorDetail{Location: "body.assetIds", Message: "or assetId is required, and not both"}}
	}
	return nil
}

// addToProject puts the caller's assets into a project: all of them or none.
func (s *Server) addToProject(ctx context.Context, who caller, in *addToProjectRequest) (*projectAnswer, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	texts := in.Body.AssetIDs
	if in.Body.AssetID != "" {
		texts = []string{in.Body.AssetID}
	}
	assets, err := parseIDs(texts)
	if err != nil {
		return nil, err
	}
	project, err := s.store.AddToProject(ctx, who.ID, id, assets)
	return projectAnswerOf(http.StatusCreated, project), err
}

// parseIDs returns each id once.
func parseIDs(texts []string) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	known := map[uuid.UUID]bool{}
	for _, text := range texts {
		id, err := parseID(text)
		if err != nil {
			return nil, err
		}
		if !known[id] {
			ids, known[id] = append(ids, id), true
		}
	}
	return ids, nil
}

type projectAssetRequest struct {
	ID      string `path:"id"`
	AssetID string `path:"assetId"`
}

func (s *Server) removeFromProject(ctx context.Context, who caller, in *projectAssetRequest) (*none, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	asset, err := parseID(in.AssetID)
	if err != nil {
		return nil, err
	}
	return nil, s.store.RemoveFromProject(ctx, who.ID, id, asset)
}
