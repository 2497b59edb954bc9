package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// ErrTokenRefused means that a refresh token is unknown, expired, already used or of an ended session.
var ErrTokenRefused = errors.New("refresh token refused")

// refreshGrace is how long after its use a refresh token is not taken for stolen: tabs of
// one browser refresh with the token that they share, a little apart.
const refreshGrace = 10 * time.Second

// Session is what one login began.
type Session struct {
	ID   uuid.UUID
	User User
}

// CreateSession begins a session of the user whose first refresh token is valid for lifetime; ErrDisabled, and ErrNotFound if the user
// has another password by now than the one that was verified.
func (s *Store) CreateSession(ctx context.Context, user User, refreshToken string, lifetime time.Duration) (Session, error) {
	if err := owned(user.ID); err != nil {
		return Session{}, err
	}
	session := Session{ID: newID(), User: user}
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		now, err := q.ShareUser(ctx, user.ID) // a change of the password ends the sessions that there are, and must not miss this one
		switch {
		case err != nil:
			return err
		case now.PasswordHash != user.PasswordHash:
			return ErrNotFound
		case now.DisabledAt != nil:
			return ErrDisabled
		}
		if err := q.CreateSession(ctx, sqlc.CreateSessionParams{ID: session.ID, UserID: user.ID}); err != nil {
			return err
		}
		err = q.CreateRefreshToken(ctx, sqlc.CreateRefreshTokenParams{Hash: hashToken(refreshToken), SessionID: session.ID, Lifetime: lifetime})
		if err != nil {
			return err
		}
		return audit(ctx, q, change{action: "user.login", user: user.ID, of: "session", id: session.ID.String()})
	})
	return session, fail("create session", err)
}

// RefreshSession exchanges the refresh token old, which is used up by it, for next.
// A token that was used before is taken for stolen and ends its session:
// ErrTokenRefused, as for one that is unknown or expired. Of requests that exchange one
// token within refreshGrace all but the first get ErrConflict, and the session goes on.
func (s *Store) RefreshSession(ctx context.Context, old, next string, lifetime time.Duration) (Session, error) {
	var session Session
	refused := false
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		token, err := q.LockRefreshToken(ctx, sqlc.LockRefreshTokenParams{Grace: refreshGrace, Hash: hashToken(old)})
		switch {
		case err != nil:
			return err
		case token.Revoked || token.Expired:
			refused = true
			return nil
		case token.Raced:
			return ErrConflict
		case token.Used:
			refused = true // and committed
			if _, err := q.RevokeSession(ctx, sqlc.RevokeSessionParams{ID: token.SessionID, UserID: token.User.ID}); err != nil {
				return err
			}
			return audit(ctx, q, change{action: "session.reuse", user: token.User.ID, of: "session", id: token.SessionID.String(), failed: true})
		}
		session = Session{ID: token.SessionID, User: userOf(token.User)}
		if err := q.CreateRefreshToken(ctx, sqlc.CreateRefreshTokenParams{
			Hash: hashToken(next), SessionID: token.SessionID, Lifetime: lifetime,
		}); err != nil {
			return err
		}
		if err := q.UseRefreshToken(ctx, hashToken(old)); err != nil {
			return err
		}
		return audit(ctx, q, change{action: "session.refresh", user: token.User.ID, of: "session", id: token.SessionID.String()})
	})
	err = fail("refresh session", err)
	if refused && err == nil || errors.Is(err, ErrNotFound) {
		return Session{}, ErrTokenRefused
	}
	return session, err
}

// EndSession revokes a session of the user, its access tokens included; ending one that
// has ended is no error.
func (s *Store) EndSession(ctx context.Context, userID, sessionID uuid.UUID) error {
	if err := owned(userID); err != nil {
		return err
	}
	err := s.inTx(ctx, func(q *sqlc.Queries) error {
		if _, err := q.RevokeSession(ctx, sqlc.RevokeSessionParams{ID: sessionID, UserID: userID}); err != nil {
			return err
		}
		return audit(ctx, q, change{action: "user.logout", user: userID, of: "session", id: sessionID.String()})
	})
	return fail("end session", err)
}

// EndSessionOfToken revokes the session of a refresh token, also of one that was used or
// has expired, and returns whose it was: who has the token may end it. ErrTokenRefused if
// it is unknown.
func (s *Store) EndSessionOfToken(ctx context.Context, refreshToken string) (userID uuid.UUID, err error) {
	err = s.inTx(ctx, func(q *sqlc.Queries) error {
		session, err := q.EndSessionOfToken(ctx, hashToken(refreshToken))
		if err != nil {
			return err
		}
		userID = session.UserID
		return audit(ctx, q, change{action: "user.logout", user: userID, of: "session", id: session.ID.String()})
	})
	if err = fail("end session", err); errors.Is(err, ErrNotFound) {
		err = ErrTokenRefused
	}
	return userID, err
}

// SessionUser returns the user of a session that goes on, else ErrNotFound.
func (s *Store) SessionUser(ctx context.Context, userID, sessionID uuid.UUID) (User, error) {
	if err := owned(userID); err != nil {
		return User{}, err
	}
	row, err := s.queries.SessionUser(ctx, sqlc.SessionUserParams{ID: sessionID, UserID: userID})
	return userOf(row), fail("find session", err)
}

// DeleteEndedSessions forgets refresh tokens past their time and the sessions that have none left.
func (s *Store) DeleteEndedSessions(ctx context.Context) error {
	if _, err := s.queries.DeleteExpiredRefreshTokens(ctx); err != nil {
		return fail("delete expired refresh tokens", err)
	}
	_, err := s.queries.DeleteEndedSessions(ctx)
	return fail("delete ended sessions", err)
}

// hashToken is how refresh tokens rest: they are random, so that one fast hash is enough.
func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
