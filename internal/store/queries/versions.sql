-- name: KeepVersion :exec
insert into asset_versions (asset_id, version, user_id, sha256, file_size, mime_type, created_at)
select a.id, a.version, a.user_id, a.sha256, a.file_size, a.mime_type, coalesce(a.bytes_at, a.created_at)
from assets a where a.id = $1;

-- name: ReplaceBytes :exec
update assets set
    sha256 = sqlc.arg(sha256), file_size = sqlc.arg(file_size), mime_type = sqlc.arg(mime_type), original_name = sqlc.arg(original_name),
    search_text = sqlc.arg(search_text), grams = sqlc.arg(grams),
    version = version + 1, bytes_at = now(), updated_at = greatest(now(), updated_at + interval '1 microsecond')
where id = $1;

-- name: AssetVersions :many
select v.version, v.sha256, v.file_size, v.mime_type, b.metadata, v.created_at
from asset_versions v join blobs b on b.user_id = v.user_id and b.sha256 = v.sha256
where v.asset_id = $1 order by v.version desc;

-- name: AssetVersion :one
select v.version, v.sha256, v.file_size, v.mime_type, b.metadata, v.created_at
from asset_versions v join blobs b on b.user_id = v.user_id and b.sha256 = v.sha256
where v.asset_id = $1 and v.version = $2;

-- name: DeleteVersions :many
delete from asset_versions where asset_id = $1 and user_id = $2 returning sha256;
