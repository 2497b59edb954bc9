package store

import (
	"context"
	"crypto/sha256"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// PrepareDrill takes from a database that was restored to try it what a server would do with it: no job of the platform is done twice. Keys
// of the API go as well, to make room for one more.
func (s *Store) PrepareDrill(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, "delete from river_job; delete from api_keys")
	return fail("prepare drill", err)
}

// DrillAsset is an asset that a drill looks at.
type DrillAsset struct {
	ID, UserID uuid.UUID
	FileType   FileType
	SHA256     [sha256.Size]byte
}

// DrillAssets are the newest asset of each type whose user may log in.
func (s *Store) DrillAssets(ctx context.Context) ([]DrillAsset, error) {
	rows, err := s.pool.Query(ctx, `
select newest.* from (values ('IMAGE'), ('AUDIO')) types (file_type) cross join lateral (
    select a.id, a.user_id, a.file_type, a.sha256 from assets a join users u on u.id = a.user_id
    where a.file_type = types.file_type and a.deleted_at is null and u.disabled_at is null order by a.created_at desc, a.id desc limit 1
) newest`)
	if err != nil {
		return nil, fail("find assets", err)
	}
	assets, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a DrillAsset, err error) {
		var sha []byte
		err = row.Scan(&a.ID, &a.UserID, &a.FileType, &sha)
		copy(a.SHA256[:], sha)
		return a, err
	})
	return assets, fail("find assets", err)
}

// BlobOf is what is stored under a key; ErrNotFound.
func (s *Store) BlobOf(ctx context.Context, objectKey string) (BlobRow, error) {
	b := BlobRow{ObjectKey: objectKey}
	var sha []byte
	err := s.pool.QueryRow(ctx, "select sha256, size from blobs where object_key = $1", objectKey).Scan(&sha, &b.Size)
	copy(b.SHA256[:], sha)
	return b, fail("find blob", err)
}
