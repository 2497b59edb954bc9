-- name: CreateAsset :one
insert into assets (id, user_id, sha256, original_name, file_type, mime_type, file_size, tags, category)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
returning *;

-- name: Asset :one
select * from assets where id = $1 and user_id = $2 and deleted_at is null;

-- name: AssetOrTrash :one
select id from assets where id = $1 and user_id = $2;

-- name: TrashAsset :execrows
update assets set deleted_at = now(), updated_at = now()
where id = $1 and user_id = $2 and deleted_at is null
  and (sqlc.narg(versions)::timestamptz[] is null or updated_at = any(sqlc.narg(versions)::timestamptz[]));

-- name: DeleteAsset :one
delete from assets
where id = $1 and user_id = $2
  and (sqlc.narg(versions)::timestamptz[] is null or updated_at = any(sqlc.narg(versions)::timestamptz[]))
returning sha256;

-- name: DeleteTrashedAsset :one
delete from assets
where id = $1 and user_id = $2 and deleted_at < sqlc.arg(before)::timestamptz
returning sha256;

-- name: ExpiredTrash :many
select id, user_id from assets
where deleted_at < sqlc.arg(before)::timestamptz
order by deleted_at limit $1;
