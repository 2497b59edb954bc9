-- +goose Up

-- Uploads that come in several requests. Once all bytes are there they become an asset, and the row tells which one until it expires.
create table uploads (
    id            uuid primary key,
    user_id       uuid not null references users,
    size          bigint not null check (size > 0), -- bytes, in the end
    received      bigint not null default 0,
    pieces        integer not null default 0,
    metadata      text not null, -- the header Upload-Metadata
    created_at    timestamptz not null default now(),
    expires_at    timestamptz not null,
    claim         uuid,          -- of the request that makes the asset
    claimed_until timestamptz,   -- unless it goes on claiming it
    asset_id      uuid           -- no foreign key: the asset may go before
);
create index uploads_expiry on uploads (expires_at);

-- The bytes of those that are under way, each piece in an object of its own.
create table upload_pieces (
    upload_id  uuid not null references uploads on delete cascade,
    start      bigint not null,
    bytes      bigint not null check (bytes > 0),
    object_key text collate "C" not null unique,
    user_id    uuid not null,
    primary key (upload_id, start)
);
create trigger condemn_piece after delete on upload_pieces for each row execute function condemn_object();

update assetplatform_schema set schema = 8, compatible_from = 1, migrated_at = now();
