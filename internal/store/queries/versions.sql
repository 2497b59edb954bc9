-- name: KeepVersion :exec
insert into asset_versions (asset_id, version, user_id, sha256, file_size, mime_type, metadata, created_at)
select a.id, a.version, a.user_id, a.sha256, a.file_size, a.mime_type, a.metadata, coalesce(a.bytes_at, a.created_at)
from assets a where a.id = $1;

-- name: ReplaceBytes :exec
update assets set
    sha256 = sqlc.arg(sha256), file_size = sqlc.arg(file_size), mime_type = sqlc.arg(mime_type), original_name = sqlc.arg(original_name),
    search_text = sqlc.arg(search_text), grams = sqlc.arg(grams),
    version = version + 1, metadata = null, bytes_at = now(), updated_at = greatest(now(), updated_at + interval '1 microsecond')
where id = $1;

-- name: AssetVersions :many
select version, sha256, file_size, mime_type, metadata, created_at from asset_versions where asset_id = $1 order by version desc;

-- name: AssetVersion :one
select version, sha256, file_size, mime_type, metadata, created_at from asset_versions where asset_id = $1 and version = $2;

-- name: DeleteVersions :many
delete from asset_versions where asset_id = $1 and user_id = $2 returning sha256;
