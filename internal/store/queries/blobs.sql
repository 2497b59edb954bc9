-- name: CreateIntent :exec
insert into object_intents (object_key, user_id, delete_after)
values ($1, $2, now() + sqlc.arg(lifetime)::interval);

-- name: TakeIntent :execrows
-- Part of a commit: the key belongs to a blob from now on.
delete from object_intents where object_key = $1 and user_id = $2 and delete_after > '-infinity';

-- name: CondemnIntent :execrows
-- Waits for a commit that is taking it, and then finds nothing.
update object_intents set delete_after = '-infinity' where object_key = $1 and user_id = $2;

-- name: CondemnDueIntent :one
update object_intents set delete_after = '-infinity'
where object_key = (
    select due.object_key from object_intents due
    where due.delete_after <= now() and due.object_key > sqlc.arg(after)
        and not exists (select from backup_leases where renewed_at > now() - interval '15 minutes')
    order by due.object_key limit 1
    for update skip locked)
returning object_key, user_id;

-- name: DeleteIntent :exec
delete from object_intents where object_key = $1 and user_id = $2;

-- name: CreateOrphanIntent :one
-- Condemned, and the answer says so, unless a backup may need the object: then the collector takes it a day later.
insert into object_intents (object_key, user_id, delete_after)
values ($1, $2, case
    when exists (select from backup_leases where renewed_at > now() - interval '15 minutes') then now() + interval '1 day'
    else '-infinity' end)
returning delete_after = '-infinity' as condemned;

-- name: KeepBlob :one
-- One more reference to these bytes. The key in the answer is that of the copy to
-- keep: another one than object_key when the owner already had the bytes.
insert into blobs (user_id, sha256, size, object_key)
values ($1, $2, $3, $4)
on conflict (user_id, sha256) do update set refs = blobs.refs + 1
returning object_key;

-- name: ReleaseBlob :one
update blobs set refs = refs - 1 where user_id = $1 and sha256 = $2 returning refs;

-- name: DeleteBlob :one
delete from blobs where user_id = $1 and sha256 = $2 and refs = 0 returning object_key;

-- name: BlobKey :one
select object_key from blobs where user_id = $1 and sha256 = $2;
