-- Money is whole minor units in bigint: floats lose cents, and type money depends on lc_monetary.
select format('%s.%I', c.oid::regclass, a.attname) as object
from pg_attribute as a
inner join pg_class as c on a.attrelid = c.oid
where
  c.relnamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and c.relkind in ('r', 'p')
  and a.attnum > 0
  and not a.attisdropped
  and (
    a.atttypid in ('float4'::regtype, 'float8'::regtype, 'money'::regtype, 'numeric'::regtype)
    -- amount_step_minor is a step of 1, 10 or 100, no amount.
    or (a.attname ~ '_minor$' and a.atttypid <> 'int8'::regtype and a.attname <> 'amount_step_minor')
  );
