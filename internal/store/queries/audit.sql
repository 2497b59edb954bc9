-- name: CreateAuditEvent :exec
insert into audit_events (id, action, user_id, resource_type, resource_id, ip, user_agent, success, request_id, details)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: DeleteOldAuditEvents :execrows
-- Ids of version 7 begin with the time.
delete from audit_events where id in (select old.id from audit_events old where old.id < $1 order by old.id limit $2);
