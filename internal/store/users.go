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
	Role         string // RoleUser or RoleAdmin
	CreatedAt    time.Time
	DisabledAt   *time.Time // set: may not log in since then
	UpdatedAt    time.Time
}

// Roles of users.
const (
	RoleUser  = "user"
	RoleAdmin = "admin"
)

// NewUser is what CreateUser needs.
type NewUser struct {
	Email, Username, PasswordHash string
}

// ErrDisabled means that an administrator has disabled the account.
var ErrDisabled = errors.New("account disabled")

// Both are an ErrConflict.
var (
	ErrEmailTaken    = fmt.Errorf("email taken: %w", ErrConflict)
	ErrUsernameTaken = fmt.Errorf("user name taken: %w", ErrConflict)
)

// CreateUser adds an account; ErrEmailTaken, ErrUsernameTaken.
func (s *Store) CreateUser(ctx context.Context, n NewUser) (User, error) {
	var user User
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		row, err := q.CreateUser(ctx, sqlc.CreateUserParams{ID: newID(), Email: n.Email, Username: n.Username, PasswordHash: n.PasswordHash})
		if err != nil {
			return taken(err)
		}
		user = userOf(row)
		return audit(ctx, q, change{action: "user.register", user: user.ID, of: "user", id: user.ID.String()})
	})
	return user, fail("create user", err)
}

// taken tells which of a user's names another one has.
func taken(err error) error {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.ConstraintName {
		case "users_email":
			return ErrEmailTaken
		case "users_username":
			return ErrUsernameTaken
		}
	}
	return err
}

// UserChange is what a user changes of the own account; nil leaves a name as it is.
type UserChange struct {
	Email, Username *string
}

// UpdateUser changes the user's names; ErrEmailTaken, ErrUsernameTaken.
func (s *Store) UpdateUser(ctx context.Context, userID uuid.UUID, c UserChange) (User, error) {
	if err := owned(userID); err != nil {
		return User{}, err
	}
	var user User
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		before, err := q.LockUserNames(ctx, userID)
		if err != nil {
			return err
		}
		row, err := q.UpdateUser(ctx, sqlc.UpdateUserParams{ID: userID, Email: c.Email, Username: c.Username})
		if err != nil {
			return taken(err)
		}
		user = userOf(row)
		details := map[string]any{}
		noteChange(details, "email", before.Email, row.Email)
		noteChange(details, "username", before.Username, row.Username)
		return audit(ctx, q, change{action: "user.update", user: userID, of: "user", id: userID.String(), details: details})
	})
	return user, fail("update user", err)
}

// ChangePassword puts another password's hash in the place of the former one and ends all sessions of the user but one;
// ErrConflict if the hash is not the former one any more.
func (s *Store) ChangePassword(ctx context.Context, userID, session uuid.UUID, former, hash string) error {
	if err := owned(userID); err != nil {
		return err
	}
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		n, err := q.SetPassword(ctx, sqlc.SetPasswordParams{ID: userID, PasswordHash: hash, Former: former})
		if err == nil && n == 0 {
			err = ErrConflict
		}
		if err == nil {
			err = q.RevokeOtherSessions(ctx, sqlc.RevokeOtherSessionsParams{UserID: userID, But: session})
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, change{action: "user.password", user: userID, of: "user", id: userID.String()})
	})
	return fail("change password", err)
}

// refuseDisabled ends what a user began before the account was disabled; ErrDisabled.
func refuseDisabled(ctx context.Context, q *sqlc.Queries, userID uuid.UUID) error {
	disabled, err := q.UserDisabled(ctx, userID)
	if err == nil && disabled {
		err = ErrDisabled
	}
	return err
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
	Assets, Projects int64
}

// Counts counts what the user has.
func (s *Store) Counts(ctx context.Context, userID uuid.UUID) (Counts, error) {
	if err := owned(userID); err != nil {
		return Counts{}, err
	}
	row, err := s.queries.CountThings(ctx, userID)
	return Counts(row), fail("count things", err)
}

func userOf(row sqlc.User) User {
	user := User(row)
	user.CreatedAt, user.UpdatedAt, user.DisabledAt = user.CreatedAt.UTC(), user.UpdatedAt.UTC(), inUTC(user.DisabledAt)
	return user
}

// newID returns a UUID of version 7: ids grow with time, so that indexes on them stay dense.
func newID() uuid.UUID {
	return uuid.Must(uuid.NewV7()) // fails only if the system has no randomness
}
