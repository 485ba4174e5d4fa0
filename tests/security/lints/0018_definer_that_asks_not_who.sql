-- A security definer function that users may execute has to ask who they are: row-level security doesn't.
select p.oid::regprocedure::text as object
from pg_proc as p
where
  p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
  and p.prosecdef
  and has_function_privilege('authenticated', p.oid, 'execute')
  and regexp_replace(p.prosrc, '--[^\n]*', '', 'g') !~ '\mauth\.uid\(\)';
