-- migrate:up
-- The audit log took more than a quarter of what a settled charge costs the database: every update was masked whole,
-- twice, and compared twice. Now what has changed is found first, and only that is masked. The entries are the same.

create function internal.masked(p_key text, p_value jsonb) returns jsonb
language sql immutable
set search_path = ''
as $$
  select case
    when
      p_value <> 'null'
      and p_key in (
        'email', 'title', 'criteria', 'idempotency_key', 'idempotency_fingerprint', 'last4', 'country', 'wallet'
      )
      then to_jsonb('(personal)'::text)
    else p_value
  end
$$;
comment on function internal.masked(text, jsonb) is
'One field of a row as the audit log keeps it; internal.auditable does so with all of them.';

create or replace function internal.auditable(p_row jsonb) returns jsonb
language sql immutable
set search_path = ''
as $$
  -- Our own bookkeeping would double the log and tell nothing. What identifies a person is noted, not kept: the log can
  -- never be erased, and a person must be.
  select jsonb_object_agg(field.key, internal.masked(field.key, field.value))
  from jsonb_each(p_row - '{updated_at, leased_until}'::text[]) as field
$$;

create or replace function internal.audit() returns trigger
language plpgsql
security definer
set search_path = ''
set timezone = 'UTC' -- a row's text, and so its hash, must not depend on who looks
as $$
declare
  after constant jsonb := to_jsonb(new);
  before jsonb;
  entry public.audit_log;
  hash_before text;
begin
  if tg_op = 'UPDATE' then
    before := to_jsonb(old);
    -- A personal field looks the same before and after; that it changed is said all the same.
    select
      jsonb_object_agg(a.key, internal.masked(a.key, before -> a.key)),
      jsonb_object_agg(a.key, internal.masked(a.key, a.value))
    into entry.old, entry.new
    from jsonb_each(after) as a
    where a.value is distinct from before -> a.key and a.key not in ('updated_at', 'leased_until');
    if entry.new is null then
      return null;
    end if;
  else
    entry.new := internal.auditable(after);
  end if;
  entry.at := clock_timestamp();
  entry.actor := internal.actor();
  entry.role := coalesce(nullif(current_setting('role', true), 'none'), session_user::text);
  entry.request_id := internal.request_header('x-request-id');
  entry.table_name := tg_table_name;
  entry.row_id := coalesce(after ->> 'id', after ->> 'user_id');
  entry.action := tg_op;
  -- Whoever writes a row holds its lock, so nobody adds to its chain at the same time.
  select l.hash into hash_before from public.audit_log as l
  where l.table_name = entry.table_name and l.row_id = entry.row_id
  order by l.id desc
  limit 1;
  insert into public.audit_log (at, actor, role, request_id, table_name, row_id, action, old, new, hash)
  values (
    entry.at, entry.actor, entry.role, entry.request_id, entry.table_name, entry.row_id, entry.action, entry.old,
    entry.new, internal.audit_hash(hash_before, entry)
  );
  return null;
end
$$;
