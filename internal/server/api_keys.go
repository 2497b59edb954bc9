package server

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// apiKeyPrefix begins every API key, so that tools that look for leaked secrets know one.
const apiKeyPrefix = "ap_"

// apiKeyBody is an API key as the API shows it.
type apiKeyBody struct {
	ID         uuid.UUID  `json:"id"`
	Name       string     `json:"name"`
	Prefix     string     `json:"prefix" doc:"The first characters of the key."`
	Scopes     []string   `json:"scopes" enum:"read,write,generate,admin"`
	CreatedAt  time.Time  `json:"createdAt"`
	LastUsedAt *time.Time `json:"lastUsedAt" doc:"To the minute."`
	ExpiresAt  *time.Time `json:"expiresAt"`
	Key        string     `json:"key,omitempty" doc:"The key itself, in the answer to its creation only."`
}

func apiKeyBodyOf(k store.APIKey) apiKeyBody {
	return apiKeyBody{ID: k.ID, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, CreatedAt: k.CreatedAt, LastUsedAt: k.LastUsedAt, ExpiresAt: k.ExpiresAt}
}

type createAPIKeyRequest struct {
	Body struct {
		Name      string     `json:"name" minLength:"1" maxLength:"100"`
		Scopes    []string   `json:"scopes" minItems:"1" maxItems:"4" enum:"read,write,generate,admin"`
		ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	}
}

// createAPIKey answers with the key, which nobody can read again.
func (s *Server) createAPIKey(ctx context.Context, who caller, in *createAPIKeyRequest) (*data[apiKeyBody], error) {
	name := strings.TrimSpace(in.Body.Name)
	switch {
	case name == "" || !isText(name) || utf8.RuneCountInString(name) > 100:
		return nil, invalid("name", "is empty or holds control characters")
	case in.Body.ExpiresAt != nil && !in.Body.ExpiresAt.After(time.Now()):
		return nil, invalid("expiresAt", "is not in the future")
	case slices.Contains(in.Body.Scopes, store.ScopeAdmin) && who.Role != store.RoleAdmin:
		return nil, invalid("scopes", "holds admin, which only administrators may give")
	}
	key := apiKeyPrefix + newRefreshToken()
	made, err := s.store.CreateAPIKey(ctx, who.ID, store.NewAPIKey{
		Name: name, Key: key, Prefix: key[:len(apiKeyPrefix)+6], Scopes: slices.Compact(slices.Sorted(slices.Values(in.Body.Scopes))), ExpiresAt: in.Body.ExpiresAt,
	})
	body := apiKeyBodyOf(made)
	body.Key = key
	return dataOf(body), err
}

// listAPIKeys lists all of the caller's keys, which are few.
func (s *Server) listAPIKeys(ctx context.Context, who caller, _ *none) (*data[[]apiKeyBody], error) {
	keys, err := s.store.APIKeys(ctx, who.ID)
	return dataOf(bodiesOf(keys, apiKeyBodyOf)), err
}

type apiKeyRequest struct {
	ID string `path:"id"`
}

// deleteAPIKey revokes a key at once.
func (s *Server) deleteAPIKey(ctx context.Context, who caller, in *apiKeyRequest) (*none, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.store.DeleteAPIKey(ctx, who.ID, id)
}
