package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// Access is what a user may do with an asset or a project: an owner everything, an editor change it, a viewer look at it.
type Access string

// The levels of access, which are the roles of a project's members.
const (
	AccessOwner  Access = "owner"
	AccessEditor Access = "editor"
	AccessViewer Access = "viewer"
)

// Errors of projects.
var (
	ErrForbidden = errors.New("the user's role does not allow it")
	ErrInProject = fmt.Errorf("in the project already: %w", ErrConflict)
	ErrIsMember  = fmt.Errorf("a member already: %w", ErrConflict)
	ErrOwner     = fmt.Errorf("the project's owner: %w", ErrConflict)
)

// Project is a collection of assets that its members share.
type Project struct {
	ID, OwnerID uuid.UUID
	Name        string
	Description string
	Role        Access // of the user who asked
	Assets      int64  // the trash left out
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// NewProject is what CreateProject needs.
type NewProject struct {
	Name, Description string
}

// CreateProject makes an empty project of the user.
func (s *Store) CreateProject(ctx context.Context, userID uuid.UUID, n NewProject) (Project, error) {
	if err := owned(userID); err != nil {
		return Project{}, err
	}
	var project Project
	err := s.inTx(ctx, func(q *sqlc.Queries) (err error) {
		project, err = createProject(ctx, q, userID, n)
		if err != nil {
			return err
		}
		return audit(ctx, q, projectChange("project.create", userID, project.ID, map[string]any{"name": n.Name}))
	})
	return project, fail("create project", err)
}

func createProject(ctx context.Context, q *sqlc.Queries, userID uuid.UUID, n NewProject) (Project, error) {
	id := newID()
	if err := q.CreateProject(ctx, sqlc.CreateProjectParams{ID: id, Name: n.Name, Description: n.Description}); err != nil {
		return Project{}, err
	}
	if _, err := q.AddProjectMember(ctx, sqlc.AddProjectMemberParams{ProjectID: id, UserID: userID, Role: string(AccessOwner)}); err != nil {
		return Project{}, err
	}
	return projectFor(ctx, q, userID, id)
}

func projectChange(action string, user, id uuid.UUID, details map[string]any) change {
	return change{action: action, user: user, of: "project", id: id.String(), details: details}
}

// Project returns a project of which the user is a member.
func (s *Store) Project(ctx context.Context, userID, id uuid.UUID) (Project, error) {
	if err := owned(userID); err != nil {
		return Project{}, err
	}
	project, err := projectFor(ctx, s.queries, userID, id)
	if err == nil {
		project.Assets, err = s.queries.CountProjectAssets(ctx, id)
	}
	return project, fail("get project", err)
}

// ProjectRole returns what a user may do in a project of which the user is a member.
func (s *Store) ProjectRole(ctx context.Context, userID, id uuid.UUID) (Access, error) {
	if err := owned(userID); err != nil {
		return "", err
	}
	project, err := projectFor(ctx, s.queries, userID, id)
	return project.Role, fail("find project", err)
}

// projectFor does not count the assets: most of what needs a project only asks who may do what.
func projectFor(ctx context.Context, q *sqlc.Queries, userID, id uuid.UUID) (Project, error) {
	row, err := q.Project(ctx, sqlc.ProjectParams{ID: id, UserID: userID})
	return Project{
		ID: row.ID, OwnerID: row.Owner, Name: row.Name, Description: row.Description, Role: Access(row.Role),
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(),
	}, err
}

var projectSorts = map[Sort]sortColumn[Project]{
	SortCreatedAt: {"created_at", "id", "timestamptz", func(p Project) any { return p.CreatedAt }},
	SortUpdatedAt: {"updated_at", "id", "timestamptz", func(p Project) any { return p.UpdatedAt }},
	SortName:      {"name", "id", "text", func(p Project) any { return p.Name }},
}

// Projects returns one page of the projects of which the user is a member, the position behind it if there are more (else nil), and
// their number. With a search only those in whose name it is, whatever the case of ASCII letters.
func (s *Store) Projects(ctx context.Context, userID uuid.UUID, search string, p Page) (projects []Project, next *Position, total Total, err error) {
	if err := owned(userID); err != nil {
		return nil, nil, total, err
	}
	const of = `(
    select p.id, o.user_id as owner, p.name, p.description, m.role, p.created_at, p.updated_at, m.user_id as member
    from project_members m join projects p on p.id = m.project_id join project_members o on o.project_id = p.id and o.role = 'owner') listed`
	const assets = `(select count(*) from project_assets where project_id = listed.id and not asset_trashed)`
	var q conditions
	q.add("member = %s", userID)
	if search != "" {
		q.add("lower(name) like lower(%s)", "%"+likeEscaper.Replace(search)+"%")
	}
	if total, err = s.count(ctx, of, q); err != nil {
		return nil, nil, total, err
	}
	itemOf := func(p Project) Project {
		p.CreatedAt, p.UpdatedAt = p.CreatedAt.UTC(), p.UpdatedAt.UTC()
		return p
	}
	projects, next, err = readPage(ctx, s, "select id, owner, name, description, role, "+assets+", created_at, updated_at from "+of, q, p, projectSorts, itemOf, func(p Project) uuid.UUID { return p.ID })
	return projects, next, total, fail("list projects", err)
}

// likeEscaper makes the letters of a text letters in a like pattern.
var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// withProject runs fn on a project that no other change has at the time, if the user is a member with at least that access:
// ErrNotFound for others, ErrForbidden for members who may not.
func (s *Store) withProject(ctx context.Context, userID, id uuid.UUID, least Access, fn func(q *sqlc.Queries, p Project) error) error {
	if err := owned(userID); err != nil {
		return err
	}
	return s.inTx(ctx, func(q *sqlc.Queries) error {
		if err := q.LockProject(ctx, id); err != nil {
			return err
		}
		p, err := projectFor(ctx, q, userID, id)
		if err != nil {
			return err
		}
		if !p.Role.covers(least) {
			return ErrForbidden
		}
		return fn(q, p)
	})
}

// covers says whether a may do all that b may.
func (a Access) covers(b Access) bool {
	rank := map[Access]int{AccessViewer: 1, AccessEditor: 2, AccessOwner: 3}
	return rank[a] >= rank[b]
}

// ProjectChange is what UpdateProject changes; nil leaves it as it is.
type ProjectChange struct {
	Name, Description *string
}

// UpdateProject changes a project, as an editor may, unless check (nil: nothing) refuses it as it is now.
func (s *Store) UpdateProject(ctx context.Context, userID, id uuid.UUID, c ProjectChange, check func(Project) error) (Project, error) {
	err := s.withProject(ctx, userID, id, AccessEditor, func(q *sqlc.Queries, p Project) (err error) {
		if err := checkProject(ctx, q, p, check); err != nil {
			return err
		}
		if err := q.UpdateProject(ctx, sqlc.UpdateProjectParams{ID: id, Name: c.Name, Description: c.Description}); err != nil {
			return err
		}
		details := map[string]any{"name": p.Name}
		if c.Name != nil {
			noteChange(details, "name", p.Name, *c.Name)
		}
		if c.Description != nil {
			noteChange(details, "description", p.Description, *c.Description)
		}
		return audit(ctx, q, projectChange("project.update", userID, id, details))
	})
	if err != nil {
		return Project{}, fail("update project", err)
	}
	return s.Project(ctx, userID, id)
}

// checkProject asks check about a project with the number of its assets.
func checkProject(ctx context.Context, q *sqlc.Queries, p Project, check func(Project) error) (err error) {
	if check == nil {
		return nil
	}
	if p.Assets, err = q.CountProjectAssets(ctx, p.ID); err != nil {
		return err
	}
	return check(p)
}

// DeleteProject deletes a project, as its owner may, unless check (nil: nothing) refuses it as it is now; the assets stay.
func (s *Store) DeleteProject(ctx context.Context, userID, id uuid.UUID, check func(Project) error) error {
	err := s.withProject(ctx, userID, id, AccessOwner, func(q *sqlc.Queries, p Project) error {
		if err := checkProject(ctx, q, p, check); err != nil {
			return err
		}
		if err := q.DeleteProject(ctx, id); err != nil {
			return err
		}
		return audit(ctx, q, projectChange("project.delete", userID, id, map[string]any{"name": p.Name}))
	})
	return fail("delete project", err)
}

// DuplicateProject makes a project of the user's own of one of which the user is a member, with those of its assets that are the
// user's: what others have put into it they share with its members, and not with those of a copy.
func (s *Store) DuplicateProject(ctx context.Context, userID, id uuid.UUID, n NewProject) (Project, error) {
	var project Project
	err := s.withProject(ctx, userID, id, AccessViewer, func(q *sqlc.Queries, p Project) (err error) {
		if n.Name == "" {
			n.Name = copyName(p.Name)
		}
		n.Description = p.Description
		if project, err = createProject(ctx, q, userID, n); err != nil {
			return err
		}
		project.Assets, err = q.CopyOwnProjectAssets(ctx, sqlc.CopyOwnProjectAssetsParams{Copy: project.ID, ProjectID: id, UserID: userID})
		if err != nil {
			return err
		}
		return audit(ctx, q, projectChange("project.create", userID, project.ID, map[string]any{"name": n.Name, "of": id}))
	})
	return project, fail("duplicate project", err)
}

// MaxProjectName bounds a project's name, characters.
const MaxProjectName = 100

// copyName is what a project's copy is called.
func copyName(name string) string {
	const suffix = " (copy)"
	letters := []rune(name)
	return string(letters[:min(len(letters), MaxProjectName-len(suffix))]) + suffix
}

// AddToProject puts assets of the user into a project, as an editor may: all, or none where one is not the user's (ErrNotFound) or in
// it already (ErrInProject).
func (s *Store) AddToProject(ctx context.Context, userID, id uuid.UUID, assets []uuid.UUID) (Project, error) {
	err := s.withProject(ctx, userID, id, AccessEditor, func(q *sqlc.Queries, _ Project) (err error) {
		own, err := q.OwnAssets(ctx, sqlc.OwnAssetsParams{AssetIds: assets, UserID: userID})
		if err != nil {
			return err
		}
		if len(own) < len(assets) {
			return ErrNotFound
		}
		added, err := q.AddOwnAssetsToProject(ctx, sqlc.AddOwnAssetsToProjectParams{ProjectID: id, AssetIds: assets, UserID: userID})
		if err != nil {
			return err
		}
		if len(added) < len(assets) {
			return ErrInProject
		}
		return audit(ctx, q, projectChange("project.add", userID, id, map[string]any{"assets": assets}))
	})
	if err != nil {
		return Project{}, fail("add to project", err)
	}
	return s.Project(ctx, userID, id)
}

// RemoveFromProject takes an asset out of a project, as an editor may, and the asset's owner, also one who is no member any more.
func (s *Store) RemoveFromProject(ctx context.Context, userID, id, asset uuid.UUID) error {
	if err := owned(userID); err != nil {
		return err
	}
	removal := projectChange("project.remove", userID, id, map[string]any{"assets": []uuid.UUID{asset}})
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		n, err := q.RemoveOwnAssetFromProject(ctx, sqlc.RemoveOwnAssetFromProjectParams{ProjectID: id, AssetID: asset, UserID: userID})
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, removal)
	})
	if !errors.Is(err, ErrNotFound) {
		return fail("remove from project", err)
	}
	err = s.withProject(ctx, userID, id, AccessEditor, func(q *sqlc.Queries, _ Project) error {
		n, err := q.RemoveAssetFromProject(ctx, sqlc.RemoveAssetFromProjectParams{ProjectID: id, AssetID: asset})
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, removal)
	})
	return fail("remove from project", err)
}
