-- migrate:up
-- The audit log says of a personal field that it changed, without its value; and it has a head, which a copy kept elsewhere
-- holds an owner to who could otherwise write every chain anew.

create or replace function internal.audit() returns trigger
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
  changed_masked jsonb;
begin
  if tg_op = 'UPDATE' then
    -- Masked before and after, so they look alike: that they changed is said all the same.
    select coalesce(jsonb_object_agg(a.key, a.value), '{}') into changed_masked
    from jsonb_each(after) as a
    where
      a.value = to_jsonb('(personal)'::text) and before -> a.key = a.value
      and to_jsonb(old) -> a.key is distinct from to_jsonb(new) -> a.key;
  end if;
  if before = after and changed_masked = '{}' then
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
    where a.value is distinct from before -> a.key or changed_masked ? a.key;
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

create or replace function public.audit_breaches() returns jsonb
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
    -- A column that a later release added is in the row and not in the log of its insert, so nulls say nothing.
    where jsonb_strip_nulls(s.state) is distinct from jsonb_strip_nulls(a.entry)
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

create function public.audit_settled_until() returns bigint
language plpgsql security definer
set search_path = ''
set lock_timeout = '2s'
as $$
begin
  -- Ids are given before they are committed. Once nobody is writing, all entries up to the last are there to stay or gone.
  lock table public.audit_log in share mode;
  return (select coalesce(max(l.id), 0) from public.audit_log as l);
end
$$;
comment on function public.audit_settled_until() is
'The id up to which the audit log will not grow any more. Waits two seconds at most for those who are writing, and lets them
go on when it returns. Definer: its caller holds no rights on the tables.';

create function public.audit_head(p_until bigint) returns text
language sql stable security definer
set search_path = ''
as $$
  -- In blocks, so that the text of a long log need not fit into one value.
  select encode(sha256(convert_to(coalesce(string_agg(blocks.digest, '' order by blocks.block), ''), 'UTF8')), 'hex')
  from (
    select
      l.id / 10000 as block,
      encode(sha256(convert_to(string_agg(l.id || ':' || l.hash, ' ' order by l.id), 'UTF8')), 'hex') as digest
    from public.audit_log as l
    where l.id <= p_until
    group by l.id / 10000
  ) as blocks
$$;
comment on function public.audit_head(bigint) is
'One SHA-256 over the hashes of all entries up to an id: what was said of the past is the same while this is the same.
Definer: its caller holds no rights on the tables.';
