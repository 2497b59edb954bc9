-- +goose Up

-- While somebody makes a backup nothing is collected. A row that nobody has renewed for a quarter of an hour is of somebody who died.
create table backup_leases (
    id         uuid primary key,
    holder     text not null, -- for people
    renewed_at timestamptz not null default now()
);

-- The backup that the database was restored from, until what is there was compared with it, and the restore that did so last.
alter table assetplatform_schema add column restoring_set text, add column restored_set text, add column restore_id text;

-- Tells this database from what a backup of it is restored into: they have one platform_id, and must not have one bucket.
alter table assetplatform_schema add column instance uuid not null default gen_random_uuid();

-- Bytes whose thumbnails are not there although their metadata is: no backup has thumbnails.
alter table blobs add column reread boolean not null default false;
create index blobs_reread on blobs (created_at) where reread;

update assetplatform_schema set schema = 11, compatible_from = 1, migrated_at = now();
