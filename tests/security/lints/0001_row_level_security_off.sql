-- A table without row-level security is open to whoever is granted it, now or by a default privilege later.
select format('%I.%I', n.nspname, c.relname) as object
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where n.nspname in ('public', 'internal', 'supabase_migrations') and c.relkind in ('r', 'p') and not c.relrowsecurity
  -- dbmate makes its own ledger; no role of the API may use the schema that it lies in (test_matrix.py).
  and format('%I.%I', n.nspname, c.relname) <> 'supabase_migrations.schema_migrations';
