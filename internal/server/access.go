package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// caller is the user who sent a request, in a session or by an API key.
type caller struct {
	store.User
	session uuid.UUID // nil: by a key
	scopes  []string  // of the key
}

// right is what a route asks of its callers.
type right int

const (
	reads       right = iota // looks at things
	writes                   // changes them
	ownsSession              // logged in: a key makes no keys and changes no password
	administers              // for administrators
)

// scopes are what API keys need for these rights.
var scopes = map[right]string{reads: store.ScopeRead, writes: store.ScopeWrite, administers: store.ScopeAdmin}

// may returns a *problem if the caller has not the right.
func (c caller) may(needed right) error {
	byKey := c.session == uuid.Nil
	switch scope := scopes[needed]; {
	case needed == administers && c.Role != store.RoleAdmin:
		return newProblem(http.StatusForbidden, "FORBIDDEN", "This is for administrators: ask one of them.")
	case byKey && needed == ownsSession:
		return newProblem(http.StatusForbidden, "FORBIDDEN", "An API key cannot do this: log in, and send the access token.")
	case byKey && !slices.Contains(c.scopes, scope):
		return newProblem(http.StatusForbidden, "FORBIDDEN", "This API key lacks the scope "+scope+": make one that has it.")
	}
	return nil
}

// enter returns who sent a request, if they have the right that its route needs. Who is refused counts, too: by the address if nobody
// is logged in. The limit is not asked before the token is looked up, for it must not keep out those at the address whose tokens are good.
func (s *Server) enter(r *http.Request, needed right) (caller, error) {
	who, err := s.authenticate(r.Context(), r.Header.Get("Authorization"))
	if err == nil {
		err = who.may(needed)
	}
	if err == nil {
		return who, nil
	}
	if status := problemOf(err).status; status == http.StatusUnauthorized || status == http.StatusForbidden {
		if limited := s.limiter.admit(r.Context(), http.Header{}, s.limiter.general(who.ID, requestInfoOf(r.Context()).client)); limited != nil {
			err = limited
		}
	}
	return who, err
}

// authenticate returns who sent a request with that Authorization header. One lookup by
// an index per request makes a logout, and the end of a key, count at once on every pod.
func (s *Server) authenticate(ctx context.Context, authorization string) (caller, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return caller{}, errNoToken
	}
	ctx, cancel := context.WithTimeout(ctx, jsonTimeout)
	defer cancel()
	who, err := s.callerOf(ctx, token)
	requestInfoOf(ctx).userID = who.ID
	return who, err
}

// callerOf returns whose access token or API key this is.
func (s *Server) callerOf(ctx context.Context, token string) (caller, error) {
	if strings.HasPrefix(token, apiKeyPrefix) {
		user, scopes, err := s.store.APIKeyUser(ctx, token)
		if errors.Is(err, store.ErrNotFound) {
			err = errBadKey
		}
		return caller{User: user, scopes: scopes}, err
	}
	userID, session, err := s.tokens.verify(token)
	if err != nil {
		return caller{}, err
	}
	user, err := s.store.SessionUser(ctx, userID, session)
	if errors.Is(err, store.ErrNotFound) {
		err = errBadToken
	}
	return caller{User: user, session: session}, err
}
