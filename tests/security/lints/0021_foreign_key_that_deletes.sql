-- Nothing that has seen money is deleted, least of all by the way.
select format('%s %s', k.conrelid::regclass, k.conname) as object
from pg_constraint as k
where
  k.contype = 'f'
  and k.connamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and (k.confdeltype <> 'r' or k.confupdtype <> 'a');
