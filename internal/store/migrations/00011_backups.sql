-- +goose Up

-- While somebody makes a backup nothing is collected. A row that nobody has renewed for a quarter of an hour is of somebody who died.
create table backup_leases (
    id         uuid primary key,
    holder     text not null, -- for people
    renewed_at timestamptz not null default now()
);

-- The backup that the database was restored from, until what is there was compared with it.
alter table assetplatform_schema add column restoring_set text;

update assetplatform_schema set schema = 11, compatible_from = 1, migrated_at = now();
