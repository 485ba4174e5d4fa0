-- A security definer function is a door in the wall: neither everybody nor visitors go through any.
select p.oid::regprocedure::text as object
from pg_proc as p
where
  p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and p.prosecdef
  and (has_function_privilege('public', p.oid, 'execute') or has_function_privilege('anon', p.oid, 'execute'));
