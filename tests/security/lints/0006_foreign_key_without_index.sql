-- Without an index on the referencing columns every delete and many joins read the whole table.
select format('%s %s', k.conrelid::regclass, k.conname) as object
from pg_constraint as k
where
  k.contype = 'f'
  and k.connamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and not exists (
    select from pg_index as i
    where
      i.indrelid = k.conrelid
      and i.indisvalid
      -- The key's columns in any order at the index's head. A partial index serves if all that it leaves out is null.
      and (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey
      and (
        i.indpred is null
        or pg_get_expr(i.indpred, i.indrelid) = (
          select format('(%I IS NOT NULL)', a.attname) from pg_attribute as a
          where a.attrelid = k.conrelid and a.attnum = k.conkey[1]
        )
      )
  );
