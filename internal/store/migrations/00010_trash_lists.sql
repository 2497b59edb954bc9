-- +goose Up

-- A list of a user's trash is read from an index of its own, however large the library is.
create index assets_trashed on assets (user_id, created_at, id) where deleted_at is not null;

-- What happened to one thing.
create index audit_events_resource on audit_events (resource_id, id);

update assetplatform_schema set schema = 10, compatible_from = 1, migrated_at = now();
