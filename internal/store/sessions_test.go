package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	first, err := s.CreateSession(t.Context(), alice, "token 0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		got, err := s.RefreshSession(t.Context(), fmt.Sprint("token ", i), fmt.Sprint("token ", i+1), time.Hour)
		if err != nil || got.ID != first.ID || got.User != alice {
			t.Fatalf("refresh %d: %+v, %v", i, got, err)
		}
	}
	if _, err := s.RefreshSession(t.Context(), "unknown", "x", time.Hour); !errors.Is(err, ErrTokenRefused) {
		t.Errorf("unknown token: %v", err)
	}
	if _, err := s.SessionUser(t.Context(), alice.ID, first.ID); err != nil {
		t.Errorf("an unknown token ended the session: %v", err)
	}
}

func TestReuseEndsTheSession(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	stolen, err := s.CreateSession(t.Context(), alice, "a0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.CreateSession(t.Context(), alice, "b0", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, tokens := range [][2]string{{"a0", "a1"}, {"a1", "a2"}} {
		if _, err := s.RefreshSession(t.Context(), tokens[0], tokens[1], time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.RefreshSession(t.Context(), "a0", "x", time.Hour); !errors.Is(err, ErrConflict) {
		t.Errorf("reuse at once: %v", err)
	}
	exec(t, s, "update refresh_tokens set used_at = used_at - interval '11 s'")
	if _, err := s.RefreshSession(t.Context(), "a0", "x", time.Hour); !errors.Is(err, ErrTokenRefused) {
		t.Errorf("reuse: %v", err)
	}
	if _, err := s.SessionUser(t.Context(), alice.ID, stolen.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("access after reuse: %v", err)
	}
	if _, err := s.RefreshSession(t.Context(), "a2", "x", time.Hour); !errors.Is(err, ErrTokenRefused) {
		t.Errorf("the newest token after reuse: %v", err)
	}
	if _, err := s.SessionUser(t.Context(), alice.ID, other.ID); err != nil {
		t.Errorf("another session ended as well: %v", err)
	}
}

// A client that sends one token twice at the same time is not taken for a thief.
func TestConcurrentRefresh(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	session, err := s.CreateSession(t.Context(), alice, "old", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.queries.WithTx(first).LockRefreshToken(t.Context(), sqlc.LockRefreshTokenParams{Grace: refreshGrace, Hash: hashToken("old")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RefreshSession(t.Context(), "old", "x", time.Hour); !errors.Is(err, ErrConflict) {
		t.Errorf("while another request holds the token: %v", err)
	}
	rollback(t, first)

	late, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RefreshSession(t.Context(), "old", "new", time.Hour); err != nil {
		t.Fatal(err)
	}
	token, err := s.queries.WithTx(late).LockRefreshToken(t.Context(), sqlc.LockRefreshTokenParams{Grace: refreshGrace, Hash: hashToken("old")})
	if err != nil || !token.Used || !token.Raced {
		t.Errorf("a request that began before the token was used: %+v, %v", token, err)
	}
	rollback(t, late)
	if _, err := s.SessionUser(t.Context(), alice.ID, session.ID); err != nil {
		t.Errorf("the session ended: %v", err)
	}
}

func rollback(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyOneRefreshWins(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if _, err := s.CreateSession(t.Context(), newUser(t, s, "alice"), "old", time.Hour); err != nil {
		t.Fatal(err)
	}
	results := make([]error, 20)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			_, results[i] = s.RefreshSession(t.Context(), "old", fmt.Sprint("new ", i), time.Hour)
		})
	}
	all.Wait()
	won := 0
	for i, err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, ErrConflict):
			t.Errorf("request %d: %v", i, err)
		}
	}
	if n := query[int](t, s, "select count(*) from refresh_tokens"); won != 1 || n != 2 {
		t.Errorf("%d requests won, %d refresh tokens", won, n)
	}
}

func TestExpiredTokensAreRefusedAndForgotten(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	old, err := s.CreateSession(t.Context(), alice, "old", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateSession(t.Context(), alice, "young", time.Hour); err != nil {
		t.Fatal(err)
	}
	exec(t, s, "update refresh_tokens set expires_at = now() - interval '1 s' where session_id = $1", old.ID)
	exec(t, s, "update sessions set created_at = now() - interval '8 days'")
	if _, err := s.RefreshSession(t.Context(), "old", "x", time.Hour); !errors.Is(err, ErrTokenRefused) {
		t.Errorf("expired token: %v", err)
	}
	if err := s.DeleteEndedSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, s, "select count(*) from sessions"); n != 1 {
		t.Errorf("%d sessions left", n)
	}
	if _, err := s.RefreshSession(t.Context(), "young", "x", time.Hour); err != nil {
		t.Errorf("the other session: %v", err)
	}
}

// Whoever logs in while the password is changed, or the account disabled, is out afterwards.
func TestSessionsOfAFormerPassword(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	disabled := true
	for i := range 20 {
		change := func() error {
			return s.ChangePassword(t.Context(), alice.ID, uuid.Nil, alice.PasswordHash, fmt.Sprint("hash ", i))
		}
		if i == 19 {
			change = func() error {
				_, err := s.AdministerUser(t.Context(), uuid.Nil, alice.ID, UserAdministration{Disabled: &disabled})
				return err
			}
		}
		var all sync.WaitGroup
		for login := range 4 {
			all.Go(func() {
				_, err := s.CreateSession(t.Context(), alice, fmt.Sprint("token ", i, login), time.Hour)
				if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDisabled) {
					t.Error(err)
				}
			})
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if n := query[int](t, s, "select count(*) from sessions where revoked_at is null"); n != 0 {
			t.Fatalf("%d sessions go on", n)
		}
		if i < 19 {
			if _, err := s.CreateSession(t.Context(), alice, fmt.Sprint("late token ", i), time.Hour); !errors.Is(err, ErrNotFound) {
				t.Errorf("a session by the former password: %v", err)
			}
			alice.PasswordHash = fmt.Sprint("hash ", i)
		}
	}
	if _, err := s.CreateSession(t.Context(), alice, "x", time.Hour); !errors.Is(err, ErrDisabled) {
		t.Errorf("a session of a disabled account: %v", err)
	}
}

func TestEndSession(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	alice := newUser(t, s, "alice")
	session, err := s.CreateSession(t.Context(), alice, "token", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time is no error
		if err := s.EndSession(t.Context(), alice.ID, session.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.SessionUser(t.Context(), alice.ID, session.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("access: %v", err)
	}
	if _, err := s.RefreshSession(t.Context(), "token", "x", time.Hour); !errors.Is(err, ErrTokenRefused) {
		t.Errorf("refresh: %v", err)
	}
}
