-- Tables, views, functions and schemas say what they are for.
select c.oid::regclass::text as object
from pg_class as c
where
  c.relnamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and obj_description(c.oid, 'pg_class') is null
union all
select p.oid::regprocedure::text
from pg_proc as p
where
  p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and obj_description(p.oid, 'pg_proc') is null
union all
select n.nspname::text
from pg_namespace as n
where n.nspname = 'internal' and obj_description(n.oid, 'pg_namespace') is null;
