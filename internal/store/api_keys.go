package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// Scopes of API keys: what a key may do on behalf of its user.
const (
	ScopeRead     = "read"     // look at things
	ScopeWrite    = "write"    // change them
	ScopeGenerate = "generate" // have assets generated
	ScopeAdmin    = "admin"    // what its user may do as an administrator
)

// APIKey lets a program act for a user, within its scopes.
type APIKey struct {
	ID         uuid.UUID
	Name       string
	Prefix     string // the key's first characters
	Scopes     []string
	CreatedAt  time.Time
	LastUsedAt *time.Time // to the minute
	ExpiresAt  *time.Time // nil: never
}

// NewAPIKey is what CreateAPIKey needs.
type NewAPIKey struct {
	Name, Key, Prefix string
	Scopes            []string
	ExpiresAt         *time.Time
}

// maxAPIKeys bounds the keys of one user, expired ones included.
const maxAPIKeys = 100

// ErrTooManyKeys means that a user has as many API keys as one may have.
var ErrTooManyKeys = errors.New("too many API keys")

// CreateAPIKey adds a key of the user, of which only the hash is kept; ErrTooManyKeys.
func (s *Store) CreateAPIKey(ctx context.Context, userID uuid.UUID, n NewAPIKey) (APIKey, error) {
	if err := owned(userID); err != nil {
		return APIKey{}, err
	}
	var key APIKey
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		if err := q.LockUser(ctx, userID); err != nil { // two requests at a time count together
			return err
		}
		have, err := q.CountAPIKeys(ctx, userID)
		if err != nil {
			return err
		}
		if have >= maxAPIKeys {
			return ErrTooManyKeys
		}
		row, err := q.CreateAPIKey(ctx, sqlc.CreateAPIKeyParams{
			ID: newID(), UserID: userID, Name: n.Name, Hash: hashToken(n.Key), Prefix: n.Prefix, Scopes: n.Scopes, ExpiresAt: n.ExpiresAt,
		})
		if err != nil {
			return err
		}
		key = apiKeyOf(row)
		return audit(ctx, q, change{action: "key.create", user: userID, of: "key", id: key.ID.String(), details: map[string]any{"name": n.Name, "scopes": n.Scopes}})
	})
	return key, fail("create API key", err)
}

// APIKeys returns the user's keys, newest first.
func (s *Store) APIKeys(ctx context.Context, userID uuid.UUID) ([]APIKey, error) {
	if err := owned(userID); err != nil {
		return nil, err
	}
	rows, err := s.queries.APIKeys(ctx, userID)
	keys := make([]APIKey, len(rows))
	for i, row := range rows {
		keys[i] = apiKeyOf(row)
	}
	return keys, fail("list API keys", err)
}

// DeleteAPIKey revokes a key of the user at once; ErrNotFound.
func (s *Store) DeleteAPIKey(ctx context.Context, userID, id uuid.UUID) error {
	if err := owned(userID); err != nil {
		return err
	}
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		name, err := q.DeleteAPIKey(ctx, sqlc.DeleteAPIKeyParams{ID: id, UserID: userID})
		if err != nil {
			return err
		}
		return audit(ctx, q, change{action: "key.delete", user: userID, of: "key", id: id.String(), details: map[string]any{"name": name}})
	})
	return fail("delete API key", err)
}

// APIKeyUser returns whose key this is, and its scopes; ErrNotFound for one that is unknown or expired, or whose user is disabled.
func (s *Store) APIKeyUser(ctx context.Context, key string) (user User, scopes []string, err error) {
	row, err := s.queries.APIKeyUser(ctx, hashToken(key))
	if err != nil {
		return User{}, nil, fail("find API key", err)
	}
	if row.Unnoted { // at most once a minute: a read must not cost a write
		if err := s.queries.NoteAPIKeyUse(ctx, row.ID); err != nil {
			return User{}, nil, fail("note use of API key", err)
		}
	}
	return userOf(row.User), row.Scopes, nil
}

func apiKeyOf(row sqlc.ApiKey) APIKey {
	return APIKey{
		ID: row.ID, Name: row.Name, Prefix: row.Prefix, Scopes: slices.Clone(row.Scopes),
		CreatedAt: row.CreatedAt.UTC(), LastUsedAt: inUTC(row.LastUsedAt), ExpiresAt: inUTC(row.ExpiresAt),
	}
}

func inUTC(at *time.Time) *time.Time {
	if at == nil {
		return nil
	}
	utc := at.UTC()
	return &utc
}
