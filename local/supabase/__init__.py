"""A stand-in for a Supabase project: PostgREST's and Supabase Auth's protocols over any Postgres 15 to 18.

It gives the answers of PostgREST 13 (`tests/local/supabase/postgrest` holds recordings of it), or refuses with 501 and
the code STANDIN501: it never guesses.

How a request travels: `__main__` and `server` (HTTP) → `app` (routes) → `gateway` and `tokens` (who is it?) →
`engine` → `request` (what is asked: `grammar` over `parsec`, `preferences`, `media`) → `planner` (what does it mean:
`plan`, `functions`, over the `catalog`) → `sql_read`, `sql_write`, `sql_body` (one statement) → `database`.
Beside it: `auth` (sign-in), `control` (faults on demand), `bootstrap` (what a new project has).

Refused: spread and computed embedding, embedding of views, PUT, OPTIONS without CORS, bodies that are no JSON, variadic
functions, media types of one's own, GeoJSON, query plans, data representations, the OpenAPI page at the root.

Differs from a hosted project: `Prefer: tx=rollback` is honoured (as in the recordings), there is no pg-safeupdate (an
update without a filter changes all rows), and a refresh token is good once, without ten seconds of grace.
"""
