package store

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// ErrLastAdmin means that nobody would be left to administer the platform.
var ErrLastAdmin = errors.New("the last administrator")

// SetRole gives the account of an email address a role, which is how the first administrator is made; ErrNotFound, ErrLastAdmin.
func (s *Store) SetRole(ctx context.Context, email, role string) (User, error) {
	user, err := s.queries.UserByEmail(ctx, email)
	if err != nil {
		return User{}, fail("find user by email", err)
	}
	return s.AdministerUser(ctx, uuid.Nil, user.ID, UserAdministration{Role: &role})
}

// UserAdministration is what an administrator changes of an account; nil leaves it as it is.
type UserAdministration struct {
	Role     *string
	Disabled *bool // a disabled account cannot log in, its sessions end, and its keys do not count while it is so
}

// AdministerUser changes an account. by is the administrator, or nil where the command line did it. ErrNotFound, ErrLastAdmin.
func (s *Store) AdministerUser(ctx context.Context, by, id uuid.UUID, c UserAdministration) (User, error) {
	var user User
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		before, err := q.LockAdmins(ctx) // of two who take the role from each other, one must see what the other did
		if err != nil {
			return err
		}
		row, err := q.AdministerUser(ctx, sqlc.AdministerUserParams{ID: id, Role: c.Role, Disabled: c.Disabled})
		if err != nil {
			return err
		}
		user = userOf(row)
		if user.DisabledAt != nil { // sessions end for good: whoever else has their tokens must not be in again with the account
			if err := q.RevokeOtherSessions(ctx, sqlc.RevokeOtherSessionsParams{UserID: id, But: uuid.Nil}); err != nil {
				return err
			}
		}
		admins, err := q.CountAdmins(ctx)
		if err != nil {
			return err
		}
		if admins == 0 && len(before) > 0 {
			return ErrLastAdmin
		}
		return audit(ctx, q, change{action: "user.administer", user: by, of: "user", id: id.String(), details: map[string]any{"role": c.Role, "disabled": c.Disabled}})
	})
	return user, fail("administer user", err)
}

// Users returns a page of all accounts, newest first, and their number. behind begins the page behind the account of that id,
// offset behind so many.
func (s *Store) Users(ctx context.Context, behind uuid.UUID, limit, offset int) ([]User, Total, error) {
	total, err := s.count(ctx, "users", conditions{})
	if err != nil {
		return nil, total, err
	}
	params := sqlc.ListUsersParams{Limit: int32(limit), Offset: int32(offset)} //nolint:gosec // both are bounded by the API
	if behind != uuid.Nil {
		params.Before = &behind
	}
	rows, err := s.queries.ListUsers(ctx, params)
	users := make([]User, len(rows))
	for i, row := range rows {
		users[i] = userOf(row)
	}
	return users, total, fail("list users", err)
}
