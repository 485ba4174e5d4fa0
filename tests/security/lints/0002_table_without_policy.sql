-- A table that nobody has thought about: it has a policy, or it is closed on purpose and stands here.
select format('%I.%I', n.nspname, c.relname) as object
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where
  n.nspname in ('public', 'internal')
  and c.relkind in ('r', 'p')
  and not exists (
    select from pg_policy as p
    where p.polrelid = c.oid
  )
  and format('%I.%I', n.nspname, c.relname) not in (
    'public.audit_log', 'public.incidents', 'public.stripe_events',
    'internal.reconcile_state', 'internal.settings', 'internal.transitions'
  );
