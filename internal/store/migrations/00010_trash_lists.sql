-- +goose Up

-- A list of a user's trash is read from an index of its own, however large the library is.
create index assets_trashed on assets (user_id, created_at, id) where deleted_at is not null;

update assetplatform_schema set schema = 10, compatible_from = 1, migrated_at = now();
