-- name: CreateUpload :one
insert into uploads (id, user_id, size, metadata, expires_at)
values ($1, $2, $3, $4, now() + sqlc.arg(lifetime)::interval)
returning expires_at;

-- name: Upload :one
select size, received, metadata, expires_at, coalesce(claimed_until > now(), false)::boolean as claimed, asset_id
from uploads where id = $1 and user_id = $2 and expires_at > now();

-- name: AdvanceUpload :one
-- Of two requests that send the same bytes, the second one finds nothing.
update uploads set received = received + sqlc.arg(bytes)::bigint, pieces = pieces + 1, expires_at = now() + sqlc.arg(lifetime)::interval
where id = $1 and user_id = $2 and received = sqlc.arg(start)::bigint and asset_id is null
  and (claimed_until is null or claimed_until < now()) and expires_at > now()
returning pieces, expires_at;

-- name: KeepPiece :exec
insert into upload_pieces (upload_id, start, bytes, object_key, user_id) values ($1, $2, $3, $4, $5);

-- name: UploadPieces :many
select start, bytes, object_key from upload_pieces where upload_id = $1 and user_id = $2 order by start;

-- name: ClaimUpload :execrows
-- Takes it, or goes on having it.
update uploads set claim = sqlc.arg(claim)::uuid, claimed_until = now() + sqlc.arg(hold)::interval
where id = $1 and user_id = $2 and received = sqlc.arg(received)::bigint and asset_id is null and expires_at > now()
  and (claim is null or claim = sqlc.arg(claim)::uuid or claimed_until < now());

-- name: ReleaseUpload :exec
update uploads set claim = null, claimed_until = null where id = $1 and user_id = $2 and claim = sqlc.arg(claim)::uuid;

-- name: CompleteUpload :execrows
update uploads set asset_id = sqlc.arg(asset_id)::uuid, received = size, claim = null, claimed_until = null
where id = $1 and user_id = $2 and claim = sqlc.arg(claim)::uuid and asset_id is null;

-- name: DeletePieces :exec
delete from upload_pieces where upload_id = $1 and user_id = $2;

-- name: DeleteUpload :execrows
delete from uploads where id = $1 and user_id = $2;

-- name: DeleteExpiredUploads :execrows
delete from uploads where expires_at < now();
