package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// User is an account. Email and Username keep the case they were given in and are
// unique without it.
type User struct {
	ID           uuid.UUID
	Email        string
	Username     string
	PasswordHash string
	Role         string // "user" or "admin"
	CreatedAt    time.Time
}

// NewUser is what CreateUser needs.
type NewUser struct {
	Email, Username, PasswordHash string
}

// Both are an ErrConflict.
var (
	ErrEmailTaken    = fmt.Errorf("email taken: %w", ErrConflict)
	ErrUsernameTaken = fmt.Errorf("user name taken: %w", ErrConflict)
)

// CreateUser adds an account; ErrEmailTaken, ErrUsernameTaken.
func (s *Store) CreateUser(ctx context.Context, n NewUser) (User, error) {
	row, err := s.queries.CreateUser(ctx, sqlc.CreateUserParams{
		ID: newID(), Email: n.Email, Username: n.Username, PasswordHash: n.PasswordHash,
	})
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.ConstraintName {
		case "users_email":
			err = ErrEmailTaken
		case "users_username":
			err = ErrUsernameTaken
		}
	}
	return userOf(row), fail("create user", err)
}

// UserByLogin finds an account by its email or user name, whatever the case; a user
// name never holds an @.
func (s *Store) UserByLogin(ctx context.Context, login string) (User, error) {
	find := s.queries.UserByUsername
	if strings.Contains(login, "@") {
		find = s.queries.UserByEmail
	}
	row, err := find(ctx, login)
	return userOf(row), fail("find user by login", err)
}

// Counts are the numbers of a user's things, the trash left out.
type Counts struct {
	Assets int64
}

// Counts counts what the user has.
func (s *Store) Counts(ctx context.Context, userID uuid.UUID) (Counts, error) {
	if err := owned(userID); err != nil {
		return Counts{}, err
	}
	assets, err := s.queries.CountAssets(ctx, userID)
	return Counts{Assets: assets}, fail("count assets", err)
}

func userOf(row sqlc.User) User {
	user := User(row)
	user.CreatedAt = user.CreatedAt.UTC()
	return user
}

// newID returns a UUID of version 7: ids grow with time, so that indexes on them stay dense.
func newID() uuid.UUID {
	return uuid.Must(uuid.NewV7()) // fails only if the system has no randomness
}
