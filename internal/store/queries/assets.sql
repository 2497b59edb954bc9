-- name: CreateAsset :one
insert into assets (id, user_id, sha256, original_name, file_type, mime_type, file_size, tags, category, search_text, grams)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
returning created_at, updated_at;

-- name: Asset :one
-- One of the user's, if that is wanted also in the trash, or one in a project of which the user is a member.
select a.id, a.user_id, a.sha256, a.original_name, a.file_type, a.mime_type, a.file_size, a.version, a.tags, a.category,
    b.metadata, exists (select from thumbnails t where t.user_id = a.user_id and t.sha256 = a.sha256) as has_thumbnail,
    a.created_at, a.updated_at, a.deleted_at, a.bytes_at, visible.access,
    array(
        select pa.project_id from project_assets pa join project_members m on m.project_id = pa.project_id
        where pa.asset_id = a.id and m.user_id = sqlc.arg(user_id) order by 1
    )::uuid[] as project_ids
from assets a join blobs b on b.user_id = a.user_id and b.sha256 = a.sha256, lateral (
    select case when a.user_id = sqlc.arg(user_id) then 'owner' else (
        select case when bool_or(m.role <> 'viewer') then 'editor' else 'viewer' end
        from project_assets pa join project_members m on m.project_id = pa.project_id
        where pa.asset_id = a.id and m.user_id = sqlc.arg(user_id)
        having count(*) > 0
    ) end::text as access
) visible
where a.id = $1 and visible.access is not null and (a.deleted_at is null or a.user_id = sqlc.arg(user_id) and sqlc.arg(trashed)::boolean);

-- name: LockAsset :one
select user_id, sha256, original_name, file_type, mime_type, version, tags, category, updated_at
from assets where id = $1 and deleted_at is null for update;

-- name: UpdateAsset :exec
update assets set original_name = $2, category = $3, tags = $4, search_text = $5, grams = $6,
    updated_at = greatest(now(), updated_at + interval '1 microsecond')
where id = $1;

-- name: LockOwnAsset :one
-- In the trash or not.
select original_name, updated_at, deleted_at from assets where id = $1 and user_id = $2 for update;

-- name: AssetOrTrash :one
select id from assets where id = $1 and user_id = $2;

-- name: TrashAsset :one
update assets set deleted_at = now(), updated_at = greatest(now(), updated_at + interval '1 microsecond')
where id = $1 and user_id = $2 and deleted_at is null
  and (sqlc.narg(versions)::timestamptz[] is null or updated_at = any(sqlc.narg(versions)::timestamptz[]))
returning original_name;

-- name: DeleteAsset :one
delete from assets
where id = $1 and user_id = $2
returning sha256;

-- name: DeleteTrashedAsset :one
delete from assets
where id = $1 and user_id = $2 and deleted_at < sqlc.arg(before)::timestamptz
returning sha256;

-- name: ExpiredTrash :many
select id, user_id from assets
where deleted_at < sqlc.arg(before)::timestamptz
order by deleted_at limit $1;

-- name: LockVisibleAssets :many
-- Those of the user, or in a project of which the user is a member, in an order that lets no two changes wait for each other.
select a.id, a.user_id, a.original_name, a.tags, (a.user_id = sqlc.arg(user_id) or exists (
    select from project_assets pa join project_members m on m.project_id = pa.project_id
    where pa.asset_id = a.id and m.user_id = sqlc.arg(user_id) and m.role <> 'viewer'
))::boolean as may_edit
from assets a
where a.id = any(sqlc.arg(ids)::uuid[]) and a.deleted_at is null and (a.user_id = sqlc.arg(user_id) or exists (
    select from project_assets pa join project_members m on m.project_id = pa.project_id
    where pa.asset_id = a.id and m.user_id = sqlc.arg(user_id)
))
order by a.id
for update of a;

-- name: UpdateTags :exec
update assets a set tags = changed.tags, search_text = changed.search_text, grams = changed.grams,
    updated_at = greatest(now(), a.updated_at + interval '1 microsecond')
from jsonb_to_recordset(sqlc.arg(changes)::jsonb) as changed(id uuid, tags text[], search_text text, grams integer[])
where a.id = changed.id;

-- name: UpdateCategories :exec
update assets a set category = sqlc.narg(category), updated_at = greatest(now(), a.updated_at + interval '1 microsecond')
where a.id = any(sqlc.arg(ids)::uuid[]);

-- name: TrashAssets :exec
update assets set deleted_at = now(), updated_at = greatest(now(), updated_at + interval '1 microsecond') where id = any(sqlc.arg(ids)::uuid[]);

-- name: RestoreAsset :exec
update assets set deleted_at = null, updated_at = greatest(now(), updated_at + interval '1 microsecond')
where id = $1 and user_id = $2;

-- name: TagCounts :many
select tag::text as name, count(*) as assets
from (select unnest(tags) as tag from assets where user_id = $1 and deleted_at is null) used
group by tag order by count(*) desc, tag limit $2;

-- name: CategoryCounts :many
select category::text as name, count(*) as assets
from assets
where user_id = $1 and deleted_at is null and category is not null
group by category order by count(*) desc, category limit $2;

-- name: ProjectTagCounts :many
select tag::text as name, count(*) as assets
from (
    select unnest(a.tags) as tag from project_assets pa join assets a on a.id = pa.asset_id where pa.project_id = $1 and not pa.asset_trashed
) used
group by tag order by count(*) desc, tag limit $2;

-- name: ProjectCategoryCounts :many
select a.category::text as name, count(*) as assets
from project_assets pa join assets a on a.id = pa.asset_id
where pa.project_id = $1 and not pa.asset_trashed and a.category is not null
group by a.category order by count(*) desc, a.category limit $2;

-- name: UnindexedAssets :many
select id, user_id, original_name, tags from assets where grams is null order by id limit $1 for update skip locked;

-- name: IndexAssets :exec
update assets a set search_text = indexed.search_text, grams = indexed.grams
from jsonb_to_recordset(sqlc.arg(indexed)::jsonb) as indexed(id uuid, search_text text, grams integer[])
where a.id = indexed.id;
