package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// Idempotency makes a request that may be sent again count once; the zero value does nothing.
type Idempotency struct {
	Key         string
	Fingerprint [32]byte // of what is asked for
}

// ErrKeyReused means that an idempotency key was used for another request.
var ErrKeyReused = fmt.Errorf("idempotency key used for another request: %w", ErrConflict)

// errAnswered ends a transaction whose work an earlier request has done.
var errAnswered = errors.New("answered before")

// keptAnswer returns the answer to an earlier request of the user with that key; ErrKeyReused if it asked for something else.
func (s *Store) keptAnswer(ctx context.Context, userID uuid.UUID, i Idempotency) ([]byte, error) {
	row, err := s.queries.KeptAnswer(ctx, sqlc.KeptAnswerParams{UserID: userID, Key: i.Key})
	if err != nil {
		return nil, fail("find kept answer", err)
	}
	if !bytes.Equal(row.Fingerprint, i.Fingerprint[:]) {
		return nil, ErrKeyReused
	}
	return []byte(row.Answer), nil
}

// keepAnswer notes the answer in the transaction whose work it tells of; errAnswered if another request with the key was first.
func keepAnswer(ctx context.Context, q *sqlc.Queries, userID uuid.UUID, i Idempotency, answer []byte) error {
	n, err := q.KeepAnswer(ctx, sqlc.KeepAnswerParams{UserID: userID, Key: i.Key, Fingerprint: i.Fingerprint[:], Answer: string(answer)})
	if errors.Is(err, pgx.ErrNoRows) || err == nil && n == 0 {
		return errAnswered
	}
	return err
}

// DeleteOldAnswers forgets answers of more than a day ago.
func (s *Store) DeleteOldAnswers(ctx context.Context) error {
	return fail("delete old answers", s.queries.DeleteOldAnswers(ctx))
}
