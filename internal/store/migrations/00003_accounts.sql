-- +goose Up

alter table users
    add column disabled_at timestamptz, -- set: may not log in since then
    add column updated_at  timestamptz not null default now();

-- Keys for programs, in place of a login. What rests is the hash: they are random.
create table api_keys (
    id           uuid primary key,
    user_id      uuid not null references users on delete cascade,
    name         text not null,
    hash         bytea not null unique, -- SHA-256 of the key
    prefix       text not null,         -- its first characters, by which people know it
    scopes       text[] not null,
    created_at   timestamptz not null default now(),
    last_used_at timestamptz,           -- to the minute
    expires_at   timestamptz
);
create index api_keys_user on api_keys (user_id, id);

-- What was done, by whom and from where. No foreign keys: an event outlives what it tells of.
create table audit_events (
    id            uuid primary key, -- version 7, and so in the order of time
    action        text collate "C" not null,
    user_id       uuid,             -- whose event it is; null: an account that is not there
    resource_type text,
    resource_id   text,
    ip            inet,
    user_agent    text not null,
    success       boolean not null,
    request_id    text not null,
    details       jsonb,
    created_at    timestamptz not null default now()
);
create index audit_events_user on audit_events (user_id, id);

update assetplatform_schema set schema = 3, compatible_from = 1, migrated_at = now();
