-- What the migrating role makes next in `public` must be closed until it is granted, also on projects of before 2026-05-30.
select format('%s: %s to %s', d.defaclobjtype, a.privilege_type, coalesce(r.rolname, 'public')) as object
from pg_default_acl as d
cross join aclexplode(d.defaclacl) as a
left join pg_roles as r on a.grantee = r.oid
where
  d.defaclrole = (
    select c.relowner from pg_class as c
    where c.oid = 'public.campaigns'::regclass
  )
  and d.defaclnamespace in (0, 'public'::regnamespace)
  and a.grantee in (0, 'anon'::regrole, 'authenticated'::regrole, 'service_role'::regrole)
union all
select 'functions are executable by everybody by default'
where not exists (
    select from pg_default_acl as d
    where
      d.defaclrole = (
        select c.relowner from pg_class as c
        where c.oid = 'public.campaigns'::regclass
      )
      and d.defaclnamespace = 0
      and d.defaclobjtype = 'f'
  );
