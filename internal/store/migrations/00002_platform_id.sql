-- +goose Up

-- Tells platforms apart that were given the same bucket. A restored copy of the database keeps it: its bytes are there.
alter table assetplatform_schema add column platform_id uuid not null default gen_random_uuid();

update assetplatform_schema set schema = 2, compatible_from = 1, migrated_at = now();
