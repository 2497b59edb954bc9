-- name: CreateProject :exec
insert into projects (id, name, description) values ($1, $2, $3);

-- name: Project :one
select p.id, p.name, p.description, p.created_at, p.updated_at, m.role, o.user_id as owner
from projects p
join project_members m on m.project_id = p.id
join project_members o on o.project_id = p.id and o.role = 'owner'
where p.id = sqlc.arg(id) and m.user_id = sqlc.arg(user_id);

-- name: CountProjectAssets :one
select count(*) from project_assets where project_id = $1 and not asset_trashed;

-- name: ProjectAssetOwners :many
-- From one owner to the next by the index, however many assets each has.
with recursive owners as (
    (
        select first.asset_user_id from project_assets first
        where first.project_id = $1 and not first.asset_trashed order by first.asset_user_id limit 1
    )
    union all
    select (
        select pa.asset_user_id from project_assets pa
        where pa.project_id = $1 and not pa.asset_trashed and pa.asset_user_id > owners.asset_user_id
        order by pa.asset_user_id limit 1
    ) from owners where owners.asset_user_id is not null
)
select asset_user_id::uuid as owner from owners where asset_user_id is not null limit $2;

-- name: LockProject :exec
select id from projects where id = $1 for update;

-- name: KeepProject :exec
-- It is not deleted, and no membership changes, until the transaction ends; others may put something into it meanwhile.
select id from projects where id = $1 for key share;

-- name: UpdateProject :exec
update projects set name = coalesce(sqlc.narg(name), name), description = coalesce(sqlc.narg(description), description), updated_at = now()
where id = $1;

-- name: DeleteProject :exec
delete from projects where id = $1;

-- name: AddProjectMember :execrows
insert into project_members (project_id, user_id, role) values ($1, $2, $3) on conflict do nothing;

-- name: ProjectMember :one
select u.id, u.username, m.role, m.created_at
from project_members m join users u on u.id = m.user_id
where m.project_id = $1 and m.user_id = $2;

-- name: SetProjectRole :execrows
update project_members set role = $3 where project_id = $1 and user_id = $2;

-- name: RemoveProjectMember :execrows
delete from project_members where project_id = $1 and user_id = $2;

-- name: ProjectMembers :many
select u.id, u.username, m.role, m.created_at
from project_members m join users u on u.id = m.user_id
where m.project_id = $1
order by m.role <> 'owner', lower(u.username);

-- name: AddOwnAssetsToProject :many
-- Of those that are the user's, which ones were not in it. A trigger locks each: in an order that lets no two changes wait for each other.
insert into project_assets (project_id, asset_id)
select sqlc.arg(project_id)::uuid, a.id from assets a
where a.id = any(sqlc.arg(asset_ids)::uuid[]) and a.user_id = sqlc.arg(user_id) and a.deleted_at is null
order by a.id
on conflict do nothing
returning asset_id;

-- name: OwnAssets :many
select id from assets where id = any(sqlc.arg(asset_ids)::uuid[]) and user_id = sqlc.arg(user_id) and deleted_at is null;

-- name: CopyOwnProjectAssets :execrows
insert into project_assets (project_id, asset_id)
select sqlc.arg(copy)::uuid, pa.asset_id from project_assets pa join assets a on a.id = pa.asset_id
where pa.project_id = sqlc.arg(project_id) and a.user_id = sqlc.arg(user_id) and a.deleted_at is null
order by a.id;

-- name: RemoveOwnAssetFromProject :execrows
delete from project_assets pa using assets a where pa.project_id = $1 and pa.asset_id = $2 and a.id = pa.asset_id and a.user_id = sqlc.arg(user_id);

-- name: RemoveAssetFromProject :execrows
delete from project_assets where project_id = $1 and asset_id = $2;

-- name: RemoveAssetsFromProject :exec
delete from project_assets where project_id = $1 and asset_id = any(sqlc.arg(asset_ids)::uuid[]);
