-- A row without a name can't be audited, replicated or mended.
select c.oid::regclass::text as object
from pg_class as c
where
  c.relnamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and c.relkind in ('r', 'p')
  and not exists (
    select from pg_index as i
    where i.indrelid = c.oid and i.indisprimary
  );
