-- name: CreateSession :exec
insert into sessions (id, user_id) values ($1, $2);

-- name: CreateRefreshToken :exec
insert into refresh_tokens (hash, session_id, expires_at)
values ($1, $2, now() + sqlc.arg(lifetime)::interval);

-- name: LockRefreshToken :one
-- Fails at once while another request is using the same token. raced tells that the
-- token was used so shortly before that this is one client in two tabs, not a theft.
select t.session_id, (t.expires_at <= now())::boolean as expired, (s.revoked_at is not null or u.disabled_at is not null)::boolean as revoked,
       (t.used_at is not null)::boolean as used, coalesce(t.used_at > now() - sqlc.arg(grace)::interval, false)::boolean as raced,
       sqlc.embed(u)
from refresh_tokens t
join sessions s on s.id = t.session_id
join users u on u.id = s.user_id
where t.hash = $1
for update of t nowait;

-- name: UseRefreshToken :exec
update refresh_tokens set used_at = clock_timestamp() where hash = $1;

-- name: RevokeSession :execrows
update sessions set revoked_at = now() where id = $1 and user_id = $2 and revoked_at is null;

-- name: EndSessionOfToken :one
update sessions s set revoked_at = coalesce(s.revoked_at, now())
from refresh_tokens t
where t.hash = $1 and s.id = t.session_id
returning s.id, s.user_id;

-- name: SessionUser :one
select u.* from sessions s join users u on u.id = s.user_id
where s.id = $1 and s.user_id = $2 and s.revoked_at is null and u.disabled_at is null;

-- name: RevokeOtherSessions :exec
update sessions set revoked_at = now() where user_id = $1 and id <> sqlc.arg(but) and revoked_at is null;

-- name: DeleteExpiredRefreshTokens :execrows
delete from refresh_tokens where expires_at < now();

-- name: DeleteEndedSessions :execrows
delete from sessions s
where created_at < now() - interval '1 day'
  and not exists (select from refresh_tokens t where t.session_id = s.id);
