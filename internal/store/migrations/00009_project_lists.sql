-- +goose Up

-- A list of a project's assets is read in its order from an index: so a place in a project has what lists sort by. Triggers keep it, also
-- for images that do not know of it. The assets come first: what adds one to a project locks them in that order, too.
-- +goose StatementBegin
create function assetplatform_copy_asset() returns trigger language plpgsql as $$
begin
    -- A change of the asset that is not committed yet would not see this place: wait for it.
    select user_id, created_at, updated_at, original_name, file_size, deleted_at is not null
    into new.asset_user_id, new.asset_created_at, new.asset_updated_at, new.asset_original_name, new.asset_file_size, new.asset_trashed
    from assets where id = new.asset_id for share;
    return new;
end $$;
-- +goose StatementEnd
-- +goose StatementBegin
create function assetplatform_copy_to_projects() returns trigger language plpgsql as $$
begin
    update project_assets set asset_created_at = new.created_at, asset_updated_at = new.updated_at, asset_original_name = new.original_name,
        asset_file_size = new.file_size, asset_trashed = new.deleted_at is not null
    where asset_id = new.id;
    return null;
end $$;
-- +goose StatementEnd
create trigger assets_to_projects after update of created_at, updated_at, original_name, file_size, deleted_at on assets
    for each row execute function assetplatform_copy_to_projects();

alter table project_assets
    add column asset_user_id       uuid,
    add column asset_created_at    timestamptz,
    add column asset_updated_at    timestamptz,
    add column asset_original_name text collate "C",
    add column asset_file_size     bigint,
    add column asset_trashed       boolean;
create trigger project_assets_copy before insert on project_assets
    for each row execute function assetplatform_copy_asset();
update project_assets set asset_user_id = a.user_id, asset_created_at = a.created_at, asset_updated_at = a.updated_at,
    asset_original_name = a.original_name, asset_file_size = a.file_size, asset_trashed = a.deleted_at is not null
from assets a where a.id = asset_id;
create index project_assets_owner on project_assets (project_id, asset_user_id) where not asset_trashed;
create index project_assets_created on project_assets (project_id, asset_created_at, asset_id) where not asset_trashed;
create index project_assets_updated on project_assets (project_id, asset_updated_at, asset_id) where not asset_trashed;
create index project_assets_name on project_assets (project_id, asset_original_name, asset_id) where not asset_trashed;
create index project_assets_size on project_assets (project_id, asset_file_size, asset_id) where not asset_trashed;

-- What changes is sorted into the index of pieces by half megabytes: a bulk edit is ten times as fast, since what the assets have in
-- common is looked for once. A search goes through what is not sorted in yet, which takes less than a millisecond.
alter index assets_grams set (fastupdate = on, gin_pending_list_limit = 512);

-- Categories are counted in the index alone.
drop index assets_category;
create index assets_category on assets (user_id, category, created_at, id) where deleted_at is null;

update assetplatform_schema set schema = 9, compatible_from = 1, migrated_at = now();
