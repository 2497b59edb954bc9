-- +goose Up

create table projects (
    id          uuid primary key,
    name        text collate "C" not null,
    description text not null,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);

-- Who may do what with a project and the assets in it. Just one member is its owner.
create table project_members (
    project_id uuid not null references projects on delete cascade,
    user_id    uuid not null references users on delete cascade,
    role       text not null check (role in ('owner', 'editor', 'viewer')),
    created_at timestamptz not null default now(),
    primary key (project_id, user_id)
);
create index project_members_user on project_members (user_id, project_id);
create unique index project_members_owner on project_members (project_id) where role = 'owner';

create table project_assets (
    project_id uuid not null references projects on delete cascade,
    asset_id   uuid not null references assets on delete cascade,
    added_at   timestamptz not null default now(),
    primary key (project_id, asset_id)
);
create index project_assets_asset on project_assets (asset_id);

update assetplatform_schema set schema = 4, compatible_from = 1, migrated_at = now();
