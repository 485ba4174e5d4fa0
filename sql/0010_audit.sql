-- migrate:up
-- Who did what, when, to which row, from what to what. Written by triggers, changed by nobody.

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
  new        jsonb not null
);
alter table public.audit_log enable row level security;
comment on table public.audit_log is 'Append-only for every role, the owner included.';
comment on column public.audit_log.old is 'The changed columns as they were; null for an insert.';
comment on column public.audit_log.new is 'All columns of an insert, the changed ones of an update.';
create index audit_log_row_idx on public.audit_log (table_name, row_id, id);

create function internal.audit() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  -- Times of our own bookkeeping would double the log and tell nothing.
  noise constant text[] := '{updated_at, leased_until}';
  before jsonb := case when tg_op = 'UPDATE' then to_jsonb(old) - noise end;
  after  jsonb := to_jsonb(new) - noise;
  changed_before jsonb;
  changed_after jsonb := after;
begin
  if tg_op = 'UPDATE' then
    if before = after then
      return null;
    end if;
    select jsonb_object_agg(a.key, before -> a.key), jsonb_object_agg(a.key, a.value)
    into changed_before, changed_after
    from jsonb_each(after) as a
    where a.value is distinct from before -> a.key;
  end if;
  insert into public.audit_log (actor, role, request_id, table_name, row_id, action, old, new)
  values (
    internal.actor(), coalesce(nullif(current_setting('role', true), 'none'), session_user::text),
    internal.request_header('x-request-id'), tg_table_name,
    coalesce(after ->> 'id', after ->> 'user_id'), tg_op, changed_before, changed_after
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
