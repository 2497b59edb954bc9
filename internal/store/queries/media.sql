-- name: UnreadBlob :one
-- The type is that of an asset or a version that has the bytes.
select b.object_key, b.size, of.mime_type::text as mime_type
from blobs b, lateral (
    (select a.mime_type from assets a where a.user_id = b.user_id and a.sha256 = b.sha256 limit 1)
    union all
    (select v.mime_type from asset_versions v where v.user_id = b.user_id and v.sha256 = b.sha256 limit 1)
    limit 1
) of
where b.user_id = $1 and b.sha256 = $2 and (b.metadata is null or b.reread);

-- name: KeepMetadata :execrows
-- What is known already stays.
update blobs set reread = false,
    metadata = coalesce(metadata, sqlc.arg(metadata)::jsonb),
    width = coalesce(width, (sqlc.arg(metadata)::jsonb ->> 'width')::integer),
    height = coalesce(height, (sqlc.arg(metadata)::jsonb ->> 'height')::integer),
    duration = coalesce(duration, (sqlc.arg(metadata)::jsonb ->> 'duration')::double precision)
where user_id = $1 and sha256 = $2 and (metadata is null or reread);

-- name: KeepThumbnail :exec
insert into thumbnails (user_id, sha256, size, object_key, mime_type, bytes) values ($1, $2, $3, $4, $5, $6);

-- name: UnreadBlobs :many
(select b.user_id, b.sha256 from blobs b where b.metadata is null and b.created_at < sqlc.arg(before)::timestamptz order by b.created_at limit $1)
union all
(select b.user_id, b.sha256 from blobs b where b.reread and b.metadata is not null order by b.created_at limit $1)
limit $1;

-- name: Thumbnail :one
-- The smallest that is large enough, or else the largest.
select object_key, mime_type, bytes from thumbnails
where user_id = $1 and sha256 = $2
order by size >= sqlc.arg(wanted)::smallint desc, abs(size - sqlc.arg(wanted)::smallint) limit 1;
