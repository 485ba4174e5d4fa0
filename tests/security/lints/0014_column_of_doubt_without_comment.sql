-- A word out of a few, in a column that neither a type, a check, a foreign key nor a comment explains.
select format('%s.%I', c.oid::regclass, a.attname) as object
from pg_attribute as a
inner join pg_class as c on a.attrelid = c.oid
where
  c.relnamespace = 'public'::regnamespace
  and c.relkind in ('r', 'p')
  and a.attnum > 0
  and not a.attisdropped
  and a.atttypid = 'text'::regtype
  and a.attname ~ '(^|_)(status|state|kind|type|reason|result|code|category|source|level|mode)$'
  and col_description(c.oid, a.attnum) is null
  and not exists (
    select from pg_constraint as k
    where k.conrelid = c.oid and k.contype in ('c', 'f') and a.attnum = any(k.conkey)
  );
