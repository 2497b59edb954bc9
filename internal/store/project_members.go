package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// ProjectMember is a user with a role in a project.
type ProjectMember struct {
	UserID    uuid.UUID
	Username  string
	Role      Access
	CreatedAt time.Time
}

// ProjectMembers returns the members of a project of which the user is one, its owner first.
func (s *Store) ProjectMembers(ctx context.Context, userID, id uuid.UUID) ([]ProjectMember, error) {
	if _, err := s.ProjectRole(ctx, userID, id); err != nil {
		return nil, err
	}
	rows, err := s.queries.ProjectMembers(ctx, id)
	members := make([]ProjectMember, len(rows))
	for i, row := range rows {
		members[i] = memberOf(sqlc.ProjectMemberRow(row))
	}
	return members, fail("list members", err)
}

func memberOf(row sqlc.ProjectMemberRow) ProjectMember {
	return ProjectMember{row.ID, row.Username, Access(row.Role), row.CreatedAt.UTC()}
}

// AddProjectMember makes another user a member, as the owner may; ErrIsMember, ErrDisabled.
func (s *Store) AddProjectMember(ctx context.Context, userID, id, member uuid.UUID, role Access) (added ProjectMember, err error) {
	err = s.withProject(ctx, userID, id, AccessOwner, func(q *sqlc.Queries, _ Project) error {
		if err := refuseDisabled(ctx, q, member); err != nil {
			return err
		}
		n, err := q.AddProjectMember(ctx, sqlc.AddProjectMemberParams{ProjectID: id, UserID: member, Role: string(role)})
		if err == nil && n == 0 {
			err = ErrIsMember
		}
		if err != nil {
			return err
		}
		row, err := q.ProjectMember(ctx, sqlc.ProjectMemberParams{ProjectID: id, UserID: member})
		if err != nil {
			return err
		}
		added = memberOf(row)
		return audit(ctx, q, memberChange("project.member_add", userID, id, member, role))
	})
	return added, fail("add member", err)
}

// SetProjectRole gives a member another role, as the owner may. To make another member the owner is to become an editor; the owner's
// own role goes in no other way: ErrOwner.
func (s *Store) SetProjectRole(ctx context.Context, userID, id, member uuid.UUID, role Access) error {
	err := s.withProject(ctx, userID, id, AccessOwner, func(q *sqlc.Queries, _ Project) error {
		if member == userID && role != AccessOwner {
			return ErrOwner
		}
		if err := refuseDisabled(ctx, q, member); err != nil {
			return err // also a role that they have already would be of no use
		}
		if role == AccessOwner {
			if _, err := q.SetProjectRole(ctx, sqlc.SetProjectRoleParams{ProjectID: id, UserID: userID, Role: string(AccessEditor)}); err != nil {
				return err
			}
		}
		n, err := q.SetProjectRole(ctx, sqlc.SetProjectRoleParams{ProjectID: id, UserID: member, Role: string(role)})
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, memberChange("project.member_role", userID, id, member, role))
	})
	return fail("set role", err)
}

// RemoveProjectMember ends a membership: the owner that of others, others their own; ErrOwner for the owner's own.
func (s *Store) RemoveProjectMember(ctx context.Context, userID, id, member uuid.UUID) error {
	least := AccessOwner
	if member == userID {
		least = AccessViewer
	}
	err := s.withProject(ctx, userID, id, least, func(q *sqlc.Queries, p Project) error {
		if member == p.OwnerID {
			return ErrOwner
		}
		n, err := q.RemoveProjectMember(ctx, sqlc.RemoveProjectMemberParams{ProjectID: id, UserID: member})
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, memberChange("project.member_remove", userID, id, member, ""))
	})
	return fail("remove member", err)
}

func memberChange(action string, user, project, member uuid.UUID, role Access) change {
	details := map[string]any{"member": member}
	if role != "" {
		details["role"] = role
	}
	return projectChange(action, user, project, details)
}
