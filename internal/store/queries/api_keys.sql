-- name: CreateAPIKey :one
insert into api_keys (id, user_id, name, hash, prefix, scopes, expires_at)
values ($1, $2, $3, $4, $5, $6, $7)
returning *;

-- name: CountAPIKeys :one
select count(*) from api_keys where user_id = $1;

-- name: APIKeys :many
select * from api_keys where user_id = $1 order by id desc;

-- name: DeleteAPIKey :one
delete from api_keys where id = $1 and user_id = $2 returning name;

-- name: APIKeyUser :one
select k.id, k.scopes, coalesce(k.last_used_at < now() - interval '1 minute', true)::boolean as unnoted, sqlc.embed(u)
from api_keys k join users u on u.id = k.user_id
where k.hash = $1 and (k.expires_at is null or k.expires_at > now()) and u.disabled_at is null;

-- name: NoteAPIKeyUse :exec
update api_keys set last_used_at = greatest(created_at, date_trunc('minute', now())) where id = $1;
