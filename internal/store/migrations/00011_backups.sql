-- +goose Up

-- While somebody makes a backup nothing is collected. A row that nobody has renewed for a quarter of an hour is of somebody who died.
create table backup_leases (
    id         uuid primary key,
    holder     text not null, -- for people
    renewed_at timestamptz not null default now()
);

-- The backup that the database was restored from, and the restore that did so.
alter table assetplatform_schema add column restored_set text, add column restore_id text;

-- Tells this database from what a backup of it is restored into, and since when it is one of its own: they have one platform_id, and must have
-- neither one bucket nor one destination of backups.
alter table assetplatform_schema add column instance uuid not null default gen_random_uuid(), add column instance_since timestamptz not null default now();

-- The platform whose backup is being restored here: the bucket may already be marked as its.
alter table assetplatform_schema add column bucket_of uuid;

-- Bytes whose thumbnails are not there although their metadata is: no backup has thumbnails.
alter table blobs add column reread boolean not null default false;
create index blobs_reread on blobs (created_at) where reread;

update assetplatform_schema set schema = 11, compatible_from = 1, migrated_at = now();
