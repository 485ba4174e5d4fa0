-- A timestamp without a zone means another moment to whoever reads it elsewhere.
select format('%s.%I', c.oid::regclass, a.attname) as object
from pg_attribute as a
inner join pg_class as c on a.attrelid = c.oid
where
  c.relnamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and c.relkind in ('r', 'p', 'v', 'm')
  and a.attnum > 0
  and not a.attisdropped
  and a.atttypid in ('timestamp'::regtype, 'time'::regtype, 'timetz'::regtype)
union all
select p.oid::regprocedure::text
from pg_proc as p
where
  p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and array_append(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.prorettype) && array['timestamp'::regtype::oid];
