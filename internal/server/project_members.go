package server

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// memberBody is a member of a project as the API shows it. Without the email address: anybody may make anybody a member.
type memberBody struct {
	UserID    uuid.UUID    `json:"userId"`
	Username  string       `json:"username"`
	Role      store.Access `json:"role" enum:"owner,editor,viewer"`
	CreatedAt time.Time    `json:"createdAt"`
}

func memberBodyOf(m store.ProjectMember) memberBody {
	return memberBody{m.UserID, m.Username, m.Role, m.CreatedAt}
}

type listMembersRequest struct {
	ID string `path:"id"`
}

// listMembers lists all members, the owner first.
func (s *Server) listMembers(ctx context.Context, who caller, in *listMembersRequest) (*data[[]memberBody], error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	members, err := s.store.ProjectMembers(ctx, who.ID, id)
	return dataOf(bodiesOf(members, memberBodyOf)), err
}

type addMemberRequest struct {
	ID   string `path:"id"`
	Body struct {
		Username string       `json:"username,omitempty" maxLength:"254"`
		Email    string       `json:"email,omitempty" maxLength:"254"`
		Role     store.Access `json:"role" enum:"editor,viewer"`
	}
}

// Resolve wants just one of the names.
func (in *addMemberRequest) Resolve(huma.Context) []error {
	if (in.Body.Username == "") == (in.Body.Email == "") {
		return []error{&huma.ErrorDetail{Location: "body.username", Message: "or email is required, and not both"}}
	}
	return nil
}

// addMember makes another user a member; the owner may.
func (s *Server) addMember(ctx context.Context, who caller, in *addMemberRequest) (*data[memberBody], error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	field, name := "username", in.Body.Username
	if name == "" {
		field, name = "email", in.Body.Email
	}
	if _, err := s.store.ProjectRole(ctx, who.ID, id); err != nil { // before anything is told of accounts
		return nil, err
	}
	member := store.User{}
	if isText(name) {
		member, err = s.store.UserByLogin(ctx, name)
	}
	if errors.Is(err, store.ErrNotFound) || !isText(name) {
		return nil, invalid(field, "is no account's")
	}
	if err != nil {
		return nil, err
	}
	added, err := s.store.AddProjectMember(ctx, who.ID, id, member.ID, in.Body.Role)
	if errors.Is(err, store.ErrDisabled) {
		err = invalid(field, "is a disabled account's")
	}
	return dataOf(memberBodyOf(added)), err
}

// MemberRequest names a member. Requests embed it; huma looks into exported types only.
type MemberRequest struct {
	ID     string `path:"id"`
	UserID string `path:"userId"`
}

func (in MemberRequest) ids() (project, user uuid.UUID, err error) {
	if project, err = parseID(in.ID); err == nil {
		user, err = parseID(in.UserID)
	}
	return project, user, err
}

type setRoleRequest struct {
	MemberRequest
	Body struct {
		Role store.Access `json:"role" enum:"owner,editor,viewer" doc:"With owner, the caller becomes an editor."`
	}
}

// setRole gives a member another role, and with the role owner the project.
func (s *Server) setRole(ctx context.Context, who caller, in *setRoleRequest) (*none, error) {
	project, user, err := in.ids()
	if err != nil {
		return nil, err
	}
	err = s.store.SetProjectRole(ctx, who.ID, project, user, in.Body.Role)
	if errors.Is(err, store.ErrDisabled) {
		err = invalid("role", "cannot be a disabled account's")
	}
	return nil, err
}

// removeMember ends a membership: the owner that of others, others their own.
func (s *Server) removeMember(ctx context.Context, who caller, in *MemberRequest) (*none, error) {
	project, user, err := in.ids()
	if err != nil {
		return nil, err
	}
	return nil, s.store.RemoveProjectMember(ctx, who.ID, project, user)
}
