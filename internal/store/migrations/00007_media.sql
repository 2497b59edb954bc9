-- +goose Up

-- What the media job has read from the bytes; null until then. What filters look into has a column of its own.
alter table blobs
    add column metadata jsonb,
    add column width    integer,          -- pixels
    add column height   integer,          -- pixels
    add column duration double precision; -- seconds
create index blobs_unread on blobs (created_at) where metadata is null;
create index blobs_width on blobs (user_id, width) where width is not null;
create index blobs_height on blobs (user_id, height) where height is not null;
create index blobs_duration on blobs (user_id, duration) where duration is not null;

-- Small pictures of a picture, in the bucket like itself.
create table thumbnails (
    user_id    uuid not null,
    sha256     bytea not null, -- of the picture
    size       smallint not null, -- of the square that it fits, pixels
    object_key text collate "C" not null unique,
    mime_type  text not null,
    bytes      bigint not null,
    primary key (user_id, sha256, size),
    foreign key (user_id, sha256) references blobs on delete cascade
);

-- They go with the picture, also where an image that does not know of them deletes it: their objects are the collector's then.
-- +goose StatementBegin
create function condemn_object() returns trigger language plpgsql as $$
begin
    insert into object_intents (object_key, user_id, delete_after) values (old.object_key, old.user_id, '-infinity');
    return null;
end
$$;
-- +goose StatementEnd
create trigger condemn_thumbnail after delete on thumbnails for each row execute function condemn_object();

update assetplatform_schema set schema = 7, compatible_from = 1, migrated_at = now();
