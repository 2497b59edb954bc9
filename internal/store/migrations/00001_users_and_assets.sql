-- +goose Up

-- Text columns that are indexed are compared by byte (collate "C"), so that no index
-- depends on the locale of the database or on the version of its C library.

create table users (
    id            uuid primary key,
    email         text collate "C" not null,
    username      text collate "C" not null,
    password_hash text not null,
    role          text not null default 'user' check (role in ('user', 'admin')),
    created_at    timestamptz not null default now()
);
create unique index users_email on users (lower(email));
create unique index users_username on users (lower(username));

-- A session is what one login began: the family of its refresh tokens.
create table sessions (
    id         uuid primary key,
    user_id    uuid not null references users on delete cascade,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
create index sessions_user on sessions (user_id);

-- Every refresh token that was handed out and is not past its time, used ones
-- included: presenting a used one revokes the session.
create table refresh_tokens (
    hash       bytea primary key, -- SHA-256 of the token
    session_id uuid not null references sessions on delete cascade,
    expires_at timestamptz not null,
    used_at    timestamptz
);
create index refresh_tokens_session on refresh_tokens (session_id);
create index refresh_tokens_expiry on refresh_tokens (expires_at);

-- Bytes in the bucket, once per owner and content.
create table blobs (
    user_id    uuid not null references users,
    sha256     bytea not null check (octet_length(sha256) = 32),
    size       bigint not null check (size > 0),
    object_key text collate "C" not null unique,
    refs       bigint not null default 1 check (refs >= 0),
    created_at timestamptz not null default now(),
    primary key (user_id, sha256)
);

create table assets (
    id            uuid primary key,
    user_id       uuid not null references users,
    sha256        bytea not null,
    original_name text collate "C" not null,
    file_type     text not null check (file_type in ('IMAGE', 'AUDIO')),
    mime_type     text not null,
    file_size     bigint not null,
    version       integer not null default 1,
    tags          text[] not null default '{}',
    category      text collate "C",
    metadata      jsonb,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    deleted_at    timestamptz, -- set: in the trash since then
    foreign key (user_id, sha256) references blobs
);
create index assets_created on assets (user_id, created_at, id);
create index assets_updated on assets (user_id, updated_at, id);
create index assets_name on assets (user_id, original_name, id);
create index assets_size on assets (user_id, file_size, id);
create index assets_blob on assets (user_id, sha256);
create index assets_tags on assets using gin (tags);
create index assets_trash on assets (deleted_at) where deleted_at is not null;

-- Keys in the bucket that no blob owns: an upload under way, or bytes whose last
-- asset was purged. Once delete_after has passed, the collector condemns the key, which
-- sets delete_after to -infinity, deletes the object and then the row. A commit takes
-- the row away before, and does not find one that is condemned.
create table object_intents (
    object_key   text collate "C" primary key,
    user_id      uuid not null,
    delete_after timestamptz not null
);
create index object_intents_due on object_intents (delete_after);

-- The last statement of every migration: what it makes of the schema, and from which
-- schema on older images still fit it.
update assetplatform_schema set schema = 1, compatible_from = 1, migrated_at = now();
