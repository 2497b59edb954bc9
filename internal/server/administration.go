package server

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// accountBody is a user as administrators see them.
type accountBody struct {
	UserBody
	DisabledAt *time.Time `json:"disabledAt"`
}

func accountBodyOf(u store.User) accountBody { return accountBody{userBodyOf(u), u.DisabledAt} }

// listUsers lists all accounts, newest first.
func (s *Server) listUsers(ctx context.Context, _ caller, in *PageQuery) (*list[accountBody], error) {
	return listByID(*in, accountBodyOf, func(u store.User) uuid.UUID { return u.ID }, func(behind uuid.UUID, limit, offset int) ([]store.User, store.Total, error) {
		return s.store.Users(ctx, behind, limit, offset)
	})
}

type administerUserRequest struct {
	ID   string `path:"id"`
	Body struct {
		Role     *string `json:"role,omitempty" enum:"user,admin"`
		Disabled *bool   `json:"disabled,omitempty" doc:"A disabled account cannot log in; its sessions end, and its keys do not count while it is so."`
	}
}

// administerUser changes what an administrator may change of an account.
func (s *Server) administerUser(ctx context.Context, who caller, in *administerUserRequest) (*data[accountBody], error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	if in.Body.Role == nil && in.Body.Disabled == nil {
		return nil, invalid("body", "changes nothing: give role or disabled")
	}
	user, err := s.store.AdministerUser(ctx, who.ID, id, store.UserAdministration{Role: in.Body.Role, Disabled: in.Body.Disabled})
	return dataOf(accountBodyOf(user)), err
}
