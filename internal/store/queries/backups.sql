-- name: RenewBackupLease :exec
insert into backup_leases (id, holder) values ($1, $2)
on conflict (id) do update set renewed_at = now();

-- name: AwaitObjectWriters :exec
-- Who began before the lease was there has ended when this returns: what it deletes is not in a snapshot that is taken then.
lock table object_intents in share mode;

-- name: EndBackupLease :exec
delete from backup_leases where id = $1 or renewed_at < now() - interval '1 day';
