-- Every state machine's table has its trigger; its moves are between words of its enum; each word can be reached from
-- the one that rows begin with.
with recursive machines as (
  select
    c.oid,
    c.relname::text as machine,
    a.atttypid,
    pg_get_expr(d.adbin, d.adrelid) as beginning
  from pg_class as c
  inner join pg_attribute as a on c.oid = a.attrelid and a.attname = 'status'
  left join pg_attrdef as d on c.oid = d.adrelid and a.attnum = d.adnum
  where
    c.relnamespace = 'public'::regnamespace
    and c.relname in (select t.machine from internal.transitions as t)
),

reached as (
  select
    m.machine,
    e.enumlabel::text as status
  from machines as m
  inner join pg_enum as e on m.atttypid = e.enumtypid
  where m.beginning = format('%L::%s', e.enumlabel, format_type(m.atttypid, null))
    or m.beginning = format('%L::public.%s', e.enumlabel, format_type(m.atttypid, null))
  union
  select
    t.machine,
    t.to_status
  from internal.transitions as t
  inner join reached as r on t.machine = r.machine and t.from_status = r.status
)

select format('%s: %s is never reached', m.machine, e.enumlabel) as object
from machines as m
inner join pg_enum as e on m.atttypid = e.enumtypid
where not exists (
    select from reached as r
    where r.machine = m.machine and r.status = e.enumlabel
  )
union all
select format('%s: %s to %s is no move', t.machine, t.from_status, t.to_status)
from internal.transitions as t
where 2 <> (
    select count(*) from machines as m
    inner join pg_enum as e on m.atttypid = e.enumtypid
    where m.machine = t.machine and e.enumlabel in (t.from_status, t.to_status)
  )
union all
select format('%s has no trigger', m.machine)
from machines as m
where not exists (
    select from pg_trigger as t
    where t.tgrelid = m.oid and t.tgfoid = 'internal.check_transition'::regproc and t.tgenabled = 'O'
  );
