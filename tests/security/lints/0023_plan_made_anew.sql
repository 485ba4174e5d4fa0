-- A function in SQL that pins its search path is planned anew for each call before Postgres 18, which takes longer than it
-- does. What others call again and again is in PL/pgSQL; what is called once in a while, or for many rows at once, may be
-- in SQL, whose bodies are checked when they are created.
select p.oid::regprocedure::text
from pg_catalog.pg_proc as p
inner join pg_catalog.pg_language as l on p.prolang = l.oid
where
  p.pronamespace = 'internal'::regnamespace
  and l.lanname = 'sql'
  and not p.proretset
  and p.proname not in ('age_seconds', 'card_json', 'due_since', 'finding', 'hold_expired_sentence', 'reconsider_offers')
order by 1
