-- +goose Up

alter table assets add column bytes_at timestamptz; -- when its present bytes came; null: with the asset

-- What an asset was before its present version. Not deleted with the asset: an image that does not know of versions would not
-- release their bytes.
create table asset_versions (
    asset_id   uuid not null references assets,
    version    integer not null,
    user_id    uuid not null, -- the asset's owner
    sha256     bytea not null,
    file_size  bigint not null,
    mime_type  text not null,
    metadata   jsonb,
    created_at timestamptz not null,
    primary key (asset_id, version),
    foreign key (user_id, sha256) references blobs
);
create index asset_versions_blob on asset_versions (user_id, sha256);

-- Answers to requests that may be sent again.
create table idempotency_keys (
    user_id     uuid not null references users on delete cascade,
    key         text collate "C" not null,
    fingerprint bytea not null, -- SHA-256 of what was asked for
    answer      text not null,  -- JSON
    created_at  timestamptz not null default now(),
    primary key (user_id, key)
);
create index idempotency_keys_created on idempotency_keys (created_at);

update assetplatform_schema set schema = 5, compatible_from = 1, migrated_at = now();
