-- migrate:up
-- The operators' key opens what operators' commands do and nothing else: verify the log, export a person, erase a person.
-- What moves money belongs to the functions' roles, and `make reconcile` runs as autobook_reconcile
-- (docs/decisions/0008-a-role-per-function.md). The database's owner needs no grant.

do $$
declare
  granted regprocedure;
begin
  for granted in
    select p.oid::regprocedure from pg_proc as p
    where
      p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
      and p.proname not in ('audit_breaches', 'export_user', 'erase_user')
      and pg_has_role(p.proowner, 'usage') -- what an extension brought is not ours to take away
      and has_function_privilege('service_role', p.oid, 'execute')
  loop
    execute format('revoke execute on function %s from service_role', granted);
  end loop;
end
$$;
