"""The questions that `local.supabase.catalog_load` asks of Postgres."""

TABLES = """
select
  n.nspname, c.relname, c.relkind in ('v', 'm', 'f'),
  coalesce((
    select array_agg(a.attname::text order by k.position)
    from pg_constraint con
    cross join unnest(con.conkey) with ordinality as k (attnum, position)
    join pg_attribute a on a.attrelid = con.conrelid and a.attnum = k.attnum
    where con.conrelid = c.oid and con.contype = 'p'
  ), '{}')
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition and n.nspname = any(%s)
order by 1, 2
"""

# The type: a domain over a built-in type counts as that type, lengths of built-in types are left out, so that too long
# a value fails in the table (with its message) and not on the way.
COLUMNS = """
with recursive base as (
  select oid as type_oid, oid as base_oid, typbasetype, typnamespace from pg_type
  union all
  select b.type_oid, t.oid, t.typbasetype, t.typnamespace
  from base b join pg_type t on t.oid = b.typbasetype where b.typbasetype <> 0
)
select
  n.nspname, c.relname, a.attname,
  case
    when t.typtype = 'd' and b.typnamespace = 'pg_catalog'::regnamespace then format_type(b.base_oid, null)
    when t.typtype <> 'd' and t.typnamespace = 'pg_catalog'::regnamespace then format_type(a.atttypid, null)
    else format_type(a.atttypid, a.atttypmod)
  end,
  case
    when t.typbasetype <> 0 and d.adbin is null then pg_get_expr(t.typdefaultbin, 0)
    when a.attidentity = 'd' then format('nextval(%%L)', pg_get_serial_sequence(c.oid::regclass::text, a.attname))
    when a.attgenerated <> '' then null
    else pg_get_expr(d.adbin, d.adrelid)
  end
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_type t on t.oid = a.atttypid
join base b on b.type_oid = t.oid and b.typbasetype = 0
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where
  a.attnum > 0 and not a.attisdropped
  and c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition and n.nspname = any(%s)
order by c.oid, a.attnum
"""

FOREIGN_KEYS = """
select
  n.nspname, c.relname, fn.nspname, fc.relname, con.conname,
  cols.names, cols.foreign_names,
  exists (
    select from pg_constraint u
    where u.conrelid = con.conrelid and u.contype in ('p', 'u')
    and (select array_agg(k order by k) from unnest(u.conkey) k)
      = (select array_agg(k order by k) from unnest(con.conkey) k)
  )
from pg_constraint con
join pg_class c on c.oid = con.conrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_class fc on fc.oid = con.confrelid
join pg_namespace fn on fn.oid = fc.relnamespace
cross join lateral (
  select
    array_agg(a.attname::text order by k.position) as names,
    array_agg(fa.attname::text order by k.position) as foreign_names
  from unnest(con.conkey, con.confkey) with ordinality as k (attnum, foreign_attnum, position)
  join pg_attribute a on a.attrelid = con.conrelid and a.attnum = k.attnum
  join pg_attribute fa on fa.attrelid = con.confrelid and fa.attnum = k.foreign_attnum
) cols
where con.contype = 'f' and con.conparentid = 0
order by con.conrelid, con.conname
"""

FUNCTIONS = """
with recursive base as (
  select oid as type_oid, oid as base_oid, typbasetype from pg_type
  union all
  select b.type_oid, t.oid, t.typbasetype from base b join pg_type t on t.oid = b.typbasetype where b.typbasetype <> 0
)
select
  n.nspname, p.proname,
  array(select format_type(x.type_oid, null) from unnest(p.proargtypes::oid[]) with ordinality as x (type_oid, position)
        order by x.position),
  p.proargnames, p.proargmodes::text[], p.pronargdefaults, p.proretset,
  t.typtype = 'c' or coalesce(p.proargmodes::text[] && '{t,b,o}', false),
  coalesce(c.relname, t.typname), tn.nspname, t.typname,
  p.provolatile, p.provariadic <> 0, coalesce(p.proconfig, '{}'), p.pronargs
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join base b on b.type_oid = p.prorettype and b.typbasetype = 0
join pg_type t on t.oid = b.base_oid
join pg_namespace tn on tn.oid = t.typnamespace
left join pg_class c on c.oid = t.typrelid
where p.prokind = 'f' and t.oid <> 'trigger'::regtype and n.nspname = any(%s)
order by n.nspname, p.proname, p.pronargs, p.oid
"""

# Functions that take one row of a table and return rows of another: PostgREST embeds them like foreign keys.
COMPUTED_RELATIONSHIPS = """
select an.nspname, a.typname, p.proname
from pg_proc p
join pg_type a on a.oid = p.proargtypes[0]
join pg_namespace an on an.oid = a.typnamespace
join pg_class ac on ac.oid = a.typrelid
join pg_type r on r.oid = p.prorettype
join pg_class rc on rc.oid = r.typrelid
where p.pronargs = 1 and ac.relkind in ('r', 'v', 'm', 'f', 'p') and rc.relkind in ('r', 'v', 'm', 'f', 'p')
"""

# Domains with an implicit cast to or from json or text: PostgREST converts them on the way ("data representations").
TRANSFORMED_TYPES = """
select format_type(case when s.typtype = 'd' then s.oid else t.oid end, null)
from pg_cast c
join pg_type s on s.oid = c.castsource
join pg_type t on t.oid = c.casttarget
where c.castcontext = 'i' and c.castmethod = 'f' and (s.typtype = 'd' or t.typtype = 'd')
"""

ROLES = """
select r.rolname, r.rolconfig
from pg_auth_members m
join pg_roles r on r.oid = m.roleid
where m.member = (select oid from pg_roles where rolname = current_user) and r.rolconfig is not null
"""

# Settings that a role may give itself; others need a right that the API's login role has not.
SETTABLE = """
select name from pg_settings
where context = 'user' or has_parameter_privilege(current_user, name, 'set')
"""
