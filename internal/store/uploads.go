package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

const (
	// maxPieces bounds the pieces of one upload: each is an object of its own until the end.
	maxPieces = 10_000
	// claimHold is how long a request may be silent that makes the asset, before another one may.
	claimHold = 30 * time.Second
)

// ErrTooManyPieces means that an upload came in too many small pieces.
var ErrTooManyPieces = errors.New("upload has too many pieces")

// Upload is one that comes in several requests.
type Upload struct {
	ID, UserID uuid.UUID
	Size       int64  // bytes, in the end
	Received   int64  // bytes
	Metadata   string // as its creator sent it
	ExpiresAt  time.Time
	Claimed    bool       // a request is making the asset
	AssetID    *uuid.UUID // set: it is complete
}

// Piece is some of an upload's bytes, in the bucket under a key that BeginUpload noted.
type Piece struct {
	Start, Bytes int64
	ObjectKey    string
}

// CreateUpload begins an upload of size bytes, which expires a day after its last bytes came.
func (s *Store) CreateUpload(ctx context.Context, userID uuid.UUID, size int64, metadata string) (Upload, error) {
	if err := owned(userID); err != nil {
		return Upload{}, err
	}
	u := Upload{ID: newID(), UserID: userID, Size: size, Metadata: metadata}
	err := s.inTx(ctx, func(q *sqlc.Queries) (err error) {
		u.ExpiresAt, err = q.CreateUpload(ctx, sqlc.CreateUploadParams{ID: u.ID, UserID: userID, Size: size, Metadata: metadata, Lifetime: uploadLifetime})
		if err != nil {
			return err
		}
		return audit(ctx, q, uploadChange("upload.create", u))
	})
	return u, fail("create upload", err)
}

func uploadChange(action string, u Upload) change {
	return change{action: action, user: u.UserID, of: "upload", id: u.ID.String()}
}

// Upload returns one of the user's that has not expired.
func (s *Store) Upload(ctx context.Context, userID, id uuid.UUID) (Upload, error) {
	if err := owned(userID); err != nil {
		return Upload{}, err
	}
	row, err := s.queries.Upload(ctx, sqlc.UploadParams{ID: id, UserID: userID})
	return Upload{id, userID, row.Size, row.Received, row.Metadata, row.ExpiresAt, row.Claimed, row.AssetID}, fail("find upload", err)
}

// KeepPieces makes pieces part of an upload, which has received all that is before them; it returns when the upload expires now.
// ErrChanged if it has not, for another request was faster, or if the asset is being made; ErrTooManyPieces. The caller then discards the pieces.
func (s *Store) KeepPieces(ctx context.Context, u Upload, pieces []Piece) (expires time.Time, err error) {
	err = s.inTx(ctx, func(q *sqlc.Queries) error {
		for _, p := range pieces {
			row, err := q.AdvanceUpload(ctx, sqlc.AdvanceUploadParams{ID: u.ID, UserID: u.UserID, Bytes: p.Bytes, Start: p.Start, Lifetime: uploadLifetime})
			switch {
			case errors.Is(err, pgx.ErrNoRows):
				return ErrChanged
			case err != nil:
				return err
			case row.Pieces > maxPieces:
				return ErrTooManyPieces
			}
			expires = row.ExpiresAt
			taken, err := q.TakeIntent(ctx, sqlc.TakeIntentParams{ObjectKey: p.ObjectKey, UserID: u.UserID})
			if err == nil && taken == 0 {
				err = ErrUploadExpired
			}
			if err == nil {
				err = q.KeepPiece(ctx, sqlc.KeepPieceParams{UploadID: u.ID, Start: p.Start, Bytes: p.Bytes, ObjectKey: p.ObjectKey, UserID: u.UserID})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return expires, fail("keep pieces", err)
}

// UploadPieces returns what an upload has received, in order.
func (s *Store) UploadPieces(ctx context.Context, u Upload) ([]Piece, error) {
	rows, err := s.queries.UploadPieces(ctx, sqlc.UploadPiecesParams{UploadID: u.ID, UserID: u.UserID})
	pieces := make([]Piece, len(rows))
	for i, row := range rows {
		pieces[i] = Piece(row)
	}
	return pieces, fail("find pieces", err)
}

// HoldUpload lets just one request at a time make the asset of an upload, which has received what u says: until it calls release, or
// half a minute after its process died. ErrChanged if another one does so, or the upload has gone on or ended meanwhile.
func (s *Store) HoldUpload(ctx context.Context, u Upload) (claimed ClaimedUpload, release func(), err error) {
	claimed = ClaimedUpload{u.ID, uuid.New()}
	if err := s.claimUpload(ctx, u, claimed.Claim); err != nil {
		return claimed, nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(claimHold / 3):
				_ = s.claimUpload(ctx, u, claimed.Claim) // whose claim it is, the commit sees
			}
		}
	}()
	return claimed, func() {
		stop()
		<-stopped // else it takes the claim again
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimHold)
		defer cancel()
		_ = s.queries.ReleaseUpload(end, sqlc.ReleaseUploadParams{ID: u.ID, UserID: u.UserID, Claim: claimed.Claim}) // else it runs out
	}, nil
}

func (s *Store) claimUpload(ctx context.Context, u Upload, claim uuid.UUID) error {
	n, err := s.queries.ClaimUpload(ctx, sqlc.ClaimUploadParams{ID: u.ID, UserID: u.UserID, Claim: claim, Hold: claimHold, Received: u.Received})
	if err == nil && n == 0 {
		err = ErrChanged
	}
	return fail("claim upload", err)
}

// ClaimedUpload is an upload whose asset a request may make.
type ClaimedUpload struct {
	ID, Claim uuid.UUID
}

// complete notes that an upload became an asset, in the transaction that makes it. Its pieces are the collector's then.
func (c ClaimedUpload) complete(ctx context.Context, q *sqlc.Queries, userID, assetID uuid.UUID) error {
	n, err := q.CompleteUpload(ctx, sqlc.CompleteUploadParams{ID: c.ID, UserID: userID, AssetID: assetID, Claim: c.Claim})
	if err == nil && n == 0 {
		err = ErrChanged
	}
	if err != nil {
		return err
	}
	return q.DeletePieces(ctx, sqlc.DeletePiecesParams{UploadID: c.ID, UserID: userID})
}

// TerminateUpload forgets an upload. It returns its pieces, which are condemned: the caller discards them, or leaves them to the collector.
// An asset that it has become stays.
func (s *Store) TerminateUpload(ctx context.Context, u Upload) (pieces []Piece, err error) {
	if pieces, err = s.UploadPieces(ctx, u); err != nil {
		return nil, err
	}
	err = s.inTx(ctx, func(q *sqlc.Queries) error {
		n, err := q.DeleteUpload(ctx, sqlc.DeleteUploadParams{ID: u.ID, UserID: u.UserID})
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		return audit(ctx, q, uploadChange("upload.terminate", u))
	})
	return pieces, fail("terminate upload", err)
}

// DeleteExpiredUploads forgets uploads that nobody went on with.
func (s *Store) DeleteExpiredUploads(ctx context.Context) error {
	_, err := s.queries.DeleteExpiredUploads(ctx)
	return fail("delete expired uploads", err)
}
