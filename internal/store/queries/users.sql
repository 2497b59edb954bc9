-- name: CreateUser :one
insert into users (id, email, username, password_hash)
values ($1, $2, $3, $4)
returning *;

-- name: UserByEmail :one
select * from users where lower(email) = lower(sqlc.arg(email));

-- name: UserByUsername :one
select * from users where lower(username) = lower(sqlc.arg(username));

-- name: CountAssets :one
select count(*) from assets where user_id = $1 and deleted_at is null;
