-- An extension's functions in `public` would be served by the API.
select e.extname::text as object
from pg_extension as e
where e.extnamespace in ('public'::regnamespace, 'internal'::regnamespace);
