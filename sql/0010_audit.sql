-- migrate:up
-- Who did what, when, to which row, from what to what. Written by triggers, changed by nobody, and chained: each entry
-- carries a hash over itself and the entry before it of the same row, and the last entry must lead to the row as it is.
-- One chain per row, as one for all would make every payment wait for every other.

create table public.audit_log (
  id         bigint generated always as identity primary key,
  at         timestamptz not null default clock_timestamp(),
  actor      text not null,
  role       text not null,
  request_id text,
  table_name text not null,
  row_id     text not null,
  action     text not null check (action in ('INSERT', 'UPDATE')),
  old        jsonb,
  new        jsonb not null,
  hash       text not null check (hash ~ '^[0-9a-f]{64}$')
);
alter table public.audit_log enable row level security;
comment on table public.audit_log is 'Append-only for every role, the owner included.';
comment on column public.audit_log.old is 'The changed columns as they were; null for an insert.';
comment on column public.audit_log.new is 'All columns of an insert, the changed ones of an update.';
comment on column public.audit_log.hash is 'SHA-256 over the hash before it (of the same row) and all of this entry.';
create index audit_log_row_idx on public.audit_log (table_name, row_id, id);

create function internal.auditable(p_row jsonb) returns jsonb
language sql immutable
set search_path = ''
as $$
  -- Our own bookkeeping would double the log and tell nothing. What identifies a person is noted, not kept: the log can
  -- never be erased, and a person must be.
  select
    (p_row - '{updated_at, leased_until}'::text[])
    || coalesce(jsonb_object_agg(personal.name, '(personal)'), '{}')
  from unnest(array[
    'email', 'title', 'criteria', 'idempotency_key', 'idempotency_fingerprint', 'last4', 'country', 'wallet'
  ]) as personal (name)
  where p_row ->> personal.name is not null
$$;
comment on function internal.auditable(jsonb) is 'A row as the audit log keeps it.';

create function internal.audit_hash(p_before text, p_entry public.audit_log) returns text
language sql immutable
set search_path = ''
as $$
  -- As JSON, so that nothing can be moved from one field to the next: the request id is the caller's own words.
  select encode(sha256(convert_to(jsonb_build_array(
    p_before, extract(epoch from p_entry.at), p_entry.actor, p_entry.role, p_entry.request_id, p_entry.table_name,
    p_entry.row_id, p_entry.action, p_entry.old, p_entry.new
  )::text, 'UTF8')), 'hex')
$$;
comment on function internal.audit_hash(text, public.audit_log) is 'The hash of an entry that follows one with that hash.';

create function internal.audit() returns trigger
language plpgsql
security definer
set search_path = ''
set timezone = 'UTC' -- a row's text, and so its hash, must not depend on who looks
as $$
declare
  before constant jsonb := case when tg_op = 'UPDATE' then internal.auditable(to_jsonb(old)) end;
  after  constant jsonb := internal.auditable(to_jsonb(new));
  entry public.audit_log;
  hash_before text;
begin
  if before = after then
    return null;
  end if;
  entry.at := clock_timestamp();
  entry.actor := internal.actor();
  entry.role := coalesce(nullif(current_setting('role', true), 'none'), session_user::text);
  entry.request_id := internal.request_header('x-request-id');
  entry.table_name := tg_table_name;
  entry.row_id := coalesce(after ->> 'id', after ->> 'user_id');
  entry.action := tg_op;
  entry.new := after;
  if tg_op = 'UPDATE' then
    select jsonb_object_agg(a.key, before -> a.key), jsonb_object_agg(a.key, a.value) into entry.old, entry.new
    from jsonb_each(after) as a
    where a.value is distinct from before -> a.key;
  end if;
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
comment on function internal.audit() is
'Trigger: writes the audit log. Security definer, because those who change rows must not be able to write the log.';

create trigger z_audit after insert or update on public.customers
for each row execute function internal.audit();
create trigger z_audit after insert or update on public.payment_methods
for each row execute function internal.audit();
create trigger z_audit after insert or update on public.setup_intents
for each row execute function internal.audit();
create trigger z_audit after insert or update on public.campaigns
for each row execute function internal.audit();
create trigger z_audit after insert or update on public.bookings
for each row execute function internal.audit();
create trigger z_audit after insert or update on public.attempts
for each row execute function internal.audit();
create trigger z_audit after insert or update on public.refunds
for each row execute function internal.audit();

create trigger a_keep before update or delete on public.audit_log
for each row execute function internal.refuse_change();
create trigger b_keep before truncate on public.audit_log
for each statement execute function internal.refuse_change();
