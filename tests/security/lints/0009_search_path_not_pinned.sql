-- With a caller's search_path a function can be made to call, with its owner's rights, what the caller planted.
select p.oid::regprocedure::text as object
from pg_proc as p
where
  p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and not coalesce(p.proconfig @> array['search_path=""'], false);
