-- A policy names whom it lets in, which is never anon, and one command.
select format('%I.%I %s', p.schemaname, p.tablename, p.policyname) as object
from pg_policies as p
where p.schemaname in ('public', 'internal') and (p.roles <> '{authenticated}' or p.cmd = 'ALL');
