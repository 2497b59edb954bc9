-- +goose Up

-- What searches look into: see search.go. Null until an image that knows of it has written it; a job does so for the others.
alter table assets
    add column search_text text collate "C", -- name and tags, each normalized
    add column grams       integer[];        -- hashes of all pieces of one to three characters in it, with whose and where they are
-- Without fastupdate: a search must not have to go through what was not sorted in yet.
create index assets_grams on assets using gin (grams) with (fastupdate = off);
create index assets_prefix on assets (user_id, left(search_text, 64));
create index assets_unindexed on assets (id) where grams is null;
create index assets_category on assets (user_id, category, created_at, id);

update assetplatform_schema set schema = 6, compatible_from = 1, migrated_at = now();
