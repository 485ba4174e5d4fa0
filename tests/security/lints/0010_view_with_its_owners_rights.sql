-- A view asks for its owner's rights unless it says security_invoker; a materialized view or foreign table knows no
-- row-level security at all.
select c.oid::regclass::text as object
from pg_class as c
where
  c.relnamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and (
    c.relkind in ('m', 'f')
    or (c.relkind = 'v' and not coalesce(c.reloptions && array['security_invoker=true', 'security_invoker=on'], false))
  );
