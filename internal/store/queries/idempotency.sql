-- name: KeepAnswer :execrows
-- Only where no answer of the last day is there for the key.
insert into idempotency_keys (user_id, key, fingerprint, answer)
values ($1, $2, $3, $4)
on conflict (user_id, key) do update set fingerprint = excluded.fingerprint, answer = excluded.answer, created_at = now()
where idempotency_keys.created_at < now() - interval '1 day';

-- name: KeptAnswer :one
select fingerprint, answer from idempotency_keys where user_id = $1 and key = $2;

-- name: DeleteOldAnswers :exec
delete from idempotency_keys where created_at < now() - interval '1 day';
