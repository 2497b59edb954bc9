package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/assetplatform/assetplatform/internal/store"
)

// profileBody is the caller with the number of their things.
type profileBody struct {
	UserBody
	Counts countsBody `json:"counts"`
}

type countsBody struct {
	Assets   int64 `json:"assets"`
	Prompts  int64 `json:"prompts"`
	Projects int64 `json:"projects"`
}

func (s *Server) profile(ctx context.Context, who caller, _ *none) (*data[profileBody], error) {
	counts, err := s.store.Counts(ctx, who.ID)
	return dataOf(profileBody{userBodyOf(who.User), countsBody{Assets: counts.Assets, Projects: counts.Projects}}), err
}

type updateProfileRequest struct {
	Body struct {
		Email    string `json:"email,omitempty" minLength:"3" maxLength:"254"`
		Username string `json:"username,omitempty" minLength:"3" maxLength:"20" pattern:"^[A-Za-z0-9_]+$" patternDescription:"letters A-Z, digits and _ only"`
	}
}

// Resolve checks what the schema cannot.
func (in *updateProfileRequest) Resolve(huma.Context) []error {
	if in.Body.Email == "" {
		return nil
	}
	return checkEmail(in.Body.Email)
}

// updateProfile changes the caller's names; what is left out stays.
func (s *Server) updateProfile(ctx context.Context, who caller, in *updateProfileRequest) (*data[profileBody], error) {
	var change store.UserChange
	if in.Body.Email != "" {
		change.Email = &in.Body.Email
	}
	if in.Body.Username != "" {
		change.Username = &in.Body.Username
	}
	user, err := s.store.UpdateUser(ctx, who.ID, change)
	if err != nil {
		return nil, err
	}
	who.User = user
	return s.profile(ctx, who, nil)
}

type changePasswordRequest struct {
	Body struct {
		CurrentPassword string `json:"currentPassword" minLength:"1" maxLength:"256"`
		NewPassword     string `json:"newPassword" minLength:"8" maxLength:"256"`
	}
}

// changePassword also ends the caller's other sessions. Wrong passwords count as failed logins do.
func (s *Server) changePassword(ctx context.Context, who caller, in *changePasswordRequest) (*none, error) {
	if s.passwords.tooCommon(in.Body.NewPassword, who.Email, who.Username) {
		return nil, invalid("newPassword", "is too easy to guess: choose another one")
	}
	attempt := s.limiter.attempt(who.ID.String(), requestInfoOf(ctx).client)
	err := s.passwords.inTurn(ctx, func() error {
		if err := attempt.admit(ctx); err != nil {
			return err
		}
		right, err := verifyPassword(in.Body.CurrentPassword, who.PasswordHash)
		if err != nil || right {
			return err
		}
		p := newProblem(http.StatusForbidden, "INVALID_CREDENTIALS", "The current password is another one.")
		p.details = []detail{{"currentPassword", "is not the account's password"}}
		return s.refuseGuess(ctx, attempt, who.ID, "user.password_failed", who.Username, p)
	})
	if err != nil {
		return nil, err
	}
	hash, err := s.passwords.hash(ctx, in.Body.NewPassword)
	if err != nil {
		return nil, err
	}
	return nil, s.store.ChangePassword(ctx, who.ID, who.session, who.PasswordHash, hash)
}
