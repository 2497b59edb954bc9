-- name: CreateUser :one
insert into users (id, email, username, password_hash)
values ($1, $2, $3, $4)
returning *;

-- name: UserByEmail :one
select * from users where lower(email) = lower(sqlc.arg(email));

-- name: LockUserNames :one
select email, username from users where id = $1 for update;

-- name: UserByUsername :one
select * from users where lower(username) = lower(sqlc.arg(username));

-- name: CountThings :one
select (select count(*) from assets a where a.user_id = $1 and a.deleted_at is null) as assets,
       (select count(*) from project_members m where m.user_id = $1) as projects;

-- name: UpdateUser :one
update users set email = coalesce(sqlc.narg(email), email), username = coalesce(sqlc.narg(username), username), updated_at = now()
where id = $1
returning *;

-- name: SetPassword :execrows
-- Only in place of the hash that the caller has proved to know: two changes at a time do not both count.
update users set password_hash = $2, updated_at = now() where id = $1 and password_hash = sqlc.arg(former);

-- name: AdministerUser :one
update users set
    role = coalesce(sqlc.narg(role), role),
    disabled_at = case when sqlc.narg(disabled)::boolean is null then disabled_at
                       when sqlc.narg(disabled)::boolean then coalesce(disabled_at, now()) end,
    updated_at = now()
where id = $1
returning *;

-- name: CountAdmins :one
select count(*) from users where role = 'admin' and disabled_at is null;

-- name: LockAdmins :many
select id from users where role = 'admin' and disabled_at is null for update;

-- name: ListUsers :many
select * from users
where (sqlc.narg(before)::uuid is null or id < sqlc.narg(before)::uuid)
order by id desc limit $1 offset $2;

-- name: ShareUser :one
-- Neither the password nor what administrators say changes until the transaction ends.
select password_hash, disabled_at from users where id = $1 for share;

-- name: UserDisabled :one
select (disabled_at is not null)::boolean from users where id = $1;

-- name: LockUser :exec
select id from users where id = $1 for update;
