-- auth.uid() as it stands is computed for each row; within (select ...) it is computed once, as an init-plan.
-- https://supabase.com/docs/guides/database/postgres/row-level-security#call-functions-with-select
select format('%I.%I %s', p.schemaname, p.tablename, p.policyname) as object
from pg_policies as p
cross join lateral (values (p.qual), (p.with_check)) as e (expression)
where
  p.schemaname in ('public', 'internal')
  and regexp_replace(
    lower(e.expression), '\( *select +(auth\.\w+\(\)|current_setting\([^)]*\))( +as +\w+)? *\)', '', 'g'
  ) ~ '(auth\.\w+|current_setting)\(';
