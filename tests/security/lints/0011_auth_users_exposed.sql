-- What shows auth.users shows everybody's address: no view of the API's schema reads it, no policy trusts what users
-- may write there themselves (user_metadata).
select c.oid::regclass::text as object
from pg_class as c
where
  c.relnamespace = 'public'::regnamespace
  and c.relkind in ('v', 'm')
  and pg_get_viewdef(c.oid) ~ '\mauth\.(users|sessions|identities|refresh_tokens)\M'
union all
select format('%I.%I %s', p.schemaname, p.tablename, p.policyname)
from pg_policies as p
where concat(p.qual, p.with_check) ~ '(user_metadata|raw_user_meta_data|\mauth\.users\M)';
