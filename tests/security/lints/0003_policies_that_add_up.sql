-- Permissive policies are joined by OR: two for one role and command let in more than either says, and are slower.
select format('%I.%I %s', p.schemaname, p.tablename, command.name) as object
from pg_policies as p
cross join unnest(p.roles) as r (role)
cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) as command (name)
where p.schemaname in ('public', 'internal') and p.permissive = 'PERMISSIVE' and p.cmd in (command.name, 'ALL')
group by p.schemaname, p.tablename, command.name, r.role
having count(*) > 1;
