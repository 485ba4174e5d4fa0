-- migrate:up
-- Proof that the audit log was not tampered with.

create function internal.audited_rows() returns table (table_name text, row_id text, entry jsonb)
language sql stable
set search_path = ''
as $$
  select 'customers', r.user_id::text, internal.auditable(to_jsonb(r)) from public.customers as r
  union all
  select 'payment_methods', r.id::text, internal.auditable(to_jsonb(r)) from public.payment_methods as r
  union all
  select 'setup_intents', r.id, internal.auditable(to_jsonb(r)) from public.setup_intents as r
  union all
  select 'campaigns', r.id::text, internal.auditable(to_jsonb(r)) from public.campaigns as r
  union all
  select 'bookings', r.id::text, internal.auditable(to_jsonb(r)) from public.bookings as r
  union all
  select 'attempts', r.id::text, internal.auditable(to_jsonb(r)) from public.attempts as r
  union all
  select 'refunds', r.id::text, internal.auditable(to_jsonb(r)) from public.refunds as r
  union all
  select 'disputes', r.id, internal.auditable(to_jsonb(r)) from public.disputes as r
$$;
comment on function internal.audited_rows() is 'Every audited row as it is now, as the log would write it.';

create function public.audit_breaches() returns jsonb
language plpgsql stable security definer
set search_path = ''
set timezone = 'UTC'
as $$
declare
  found jsonb;
begin
  with recursive numbered as (
    select l.id, row_number() over (partition by l.table_name, l.row_id order by l.id) as place
    from public.audit_log as l
  ),
  chain as (
    select
      l.*, n.place,
      lag(l.hash) over (partition by l.table_name, l.row_id order by l.id) as hash_before
    from public.audit_log as l
    inner join numbered as n on l.id = n.id
  ),
  replayed as (
    select c.table_name, c.row_id, c.place, c.new as state from chain as c where c.place = 1 and c.action = 'INSERT'
    union all
    select r.table_name, r.row_id, c.place, r.state || c.new
    from replayed as r
    inner join chain as c on r.table_name = c.table_name and r.row_id = c.row_id and c.place = r.place + 1
  ),
  last_states as (
    select distinct on (r.table_name, r.row_id) r.table_name, r.row_id, r.state
    from replayed as r
    order by r.table_name, r.row_id, r.place desc
  ),
  breaches as (
    select 'entry_was_changed_or_one_before_it_is_missing' as breach, c.table_name, c.row_id
    from chain as c
    where c.hash <> internal.audit_hash(c.hash_before, (
      c.id, c.at, c.actor, c.role, c.request_id, c.table_name, c.row_id, c.action, c.old, c.new, c.hash
    )::public.audit_log)
    union
    select 'row_is_not_what_its_log_says', a.table_name, a.row_id
    from internal.audited_rows() as a
    left join last_states as s on a.table_name = s.table_name and a.row_id = s.row_id
    where s.state is distinct from a.entry
    union
    select 'row_is_gone', s.table_name, s.row_id
    from last_states as s
    left join internal.audited_rows() as a on s.table_name = a.table_name and s.row_id = a.row_id
    where a.row_id is null
  )
  select coalesce(jsonb_agg(to_jsonb(b) order by b.table_name, b.row_id), '[]') into found
  from (select * from breaches limit 1000) as b;
  return found;
end
$$;
comment on function public.audit_breaches() is
'Where the log and the rows do not agree, or the chain of hashes is broken. Reads everything: run it by hand
(`make audit-verify`), not every five minutes. Definer: its caller holds no rights on the tables.';
