"""The database of a simulation: the real SQL on a real Postgres, with simulated time, ids and chance.

What differs from a deployed database: the clock, `gen_random_uuid()` in defaults, and the seed of `random()`; so that
time can pass and a run can be repeated. Roles, locks, constraints, triggers and functions are the real ones.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import httpx
import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from local.faults.stage import Invocation, current
from local.supabase.catalog import RoleSettings
from local.supabase.database import Catalogs, Pool
from local.supabase.engine import Engine, Incoming, Locals, Moment
from local.supabase.errors import ApiError
from local.supabase.gateway import Caller, Gateway
from local.supabase.pipeline import PipelinedConnection
from local.supabase.planner import Plan
from local.supabase.request import Request
from local.supabase.settings import Settings
from local.supabase.tokens import TokenVerifier

_POOL_SIZE = 16
_KEPT = {"settings", "transitions", "currencies", "reconcile_state"}
"""Tables whose rows belong to the schema, not to a run."""
_PREPARE = r"""
create schema if not exists simulated;
create sequence if not exists simulated.ids;
create or replace function simulated.uuid() returns uuid language sql volatile as
  $$ select pg_catalog.md5(pg_catalog.current_setting('autobook.seed') || ':' || nextval('simulated.ids'))::uuid $$;
grant usage on schema simulated to public;
grant usage on sequence simulated.ids to public;
grant execute on function simulated.uuid() to public;
do $do$
declare
  found record;
begin
  for found in
    select c.oid::regclass as relation, a.attname, pg_get_expr(d.adbin, d.adrelid) as expression
    from pg_attrdef as d
    join pg_class as c on c.oid = d.adrelid
    join pg_attribute as a on a.attrelid = d.adrelid and a.attnum = d.adnum
    where c.relnamespace in ('public'::regnamespace, 'internal'::regnamespace)
  loop
    if found.expression = 'gen_random_uuid()' then
      execute format('alter table %s alter column %I set default simulated.uuid()', found.relation, found.attname);
    elsif found.expression in ('now()', 'clock_timestamp()') then
      execute format('alter table %s alter column %I set default internal.clock()', found.relation, found.attname);
    end if;
  end loop;
  for found in
    select regexp_replace(
      pg_get_functiondef(p.oid), '\m(clock|transaction)_timestamp\(\)', 'internal.clock()', 'g'
    ) as definition
    from pg_proc as p
    where p.pronamespace in ('public'::regnamespace, 'internal'::regnamespace)
      and p.prokind = 'f' and p.prosrc ~ '\m(clock|transaction)_timestamp\(\)'
  loop
    execute found.definition;
  end loop;
end
$do$;
-- Both without a search path of their own, which would keep Postgres from writing them into what calls them.
create or replace function internal.clock() returns timestamptz language sql stable as
  $$ select pg_catalog.to_timestamp(pg_catalog.current_setting('autobook.now')::pg_catalog.float8) $$;
grant execute on function internal.clock() to public;
"""


class Lost(Exception):
    """The connection between function and database broke."""


def prepare(database_url: str) -> None:
    """Give a migrated database simulated time, ids and chance; doing it again changes nothing."""
    with psycopg.connect(database_url, options="-c client_min_messages=warning") as connection:
        connection.execute(_PREPARE)
        # The tables are small and the statements few, so that planning anew each time would take longer than they do.
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("alter database {} set plan_cache_mode = force_generic_plan").format(name))
        # Nobody kills this server and looks at what is left.
        connection.execute(sql.SQL("alter database {} set synchronous_commit = off").format(name))


class _SimulatedPool(Pool):
    """Connections that say which invocation has them."""

    def _lend(self, connection: PipelinedConnection) -> None:
        current().backend_pid = connection.pgconn.backend_pid


class _SimulatedEngine(Engine):
    """Transactions that know the simulated time, and whose chance is the schedule's."""

    def __init__(self, settings: Settings, pool: Pool, tell: Callable[[Invocation], Locals]) -> None:
        super().__init__(settings, pool, Catalogs(pool, settings.schemas))
        self._tell = tell

    def _locals(
        self, incoming: Incoming, caller: Caller, request: Request, plan: Plan, role: RoleSettings | None
    ) -> Locals:
        # First of all: from the role on, they are made as that role.
        return [*self._tell(current()), *super()._locals(incoming, caller, request, plan, role)]


class SimulatedDatabase:
    """One prepared database, for one schedule after the other."""

    def __init__(self, database_url: str, *, jwt_secret: str) -> None:
        prepare(database_url)
        self.url = database_url
        self.observer = psycopg.connect(database_url, autocommit=True)
        self.observer.prepare_threshold = 1
        self._watcher = psycopg.connect(database_url, autocommit=True)
        self.seed = 0
        self.now: Callable[[], float] = lambda: 0.0
        self._transactions = 0
        settings = Settings(database_url=database_url, jwt_secret=jwt_secret)
        self._pool = _SimulatedPool(database_url, size=_POOL_SIZE, timeout_seconds=5)
        verifier = TokenVerifier(jwt_secret=jwt_secret, audience=settings.audience, signing_key=None)
        self._gateway = Gateway(verifier)
        self._engine = _SimulatedEngine(settings, self._pool, self._tell)
        self._emptying = self._how_to_empty()

    def close(self) -> None:
        """Close every connection."""
        self._pool.discard_idle()
        self.observer.close()
        self._watcher.close()

    def _tell(self, invocation: Invocation) -> Locals:
        self._transactions += 1
        chance = (self.seed * 7919 + self._transactions * 104729) % 999983 / 999983
        return [
            ("autobook.now", f"{self.now() + invocation.database_skew_seconds:.6f}"),
            ("autobook.seed", str(self.seed)),
            ("seed", f"{chance:.6f}"),  # what setseed() sets
        ]

    def _how_to_empty(self) -> str:
        names = self.rows(
            "select quote_ident(schemaname) || '.' || quote_ident(tablename) as name, tablename from pg_tables "
            "where schemaname in ('public', 'internal') order by 1"
        )
        filled = [
            row["name"] for row in names if row["tablename"] not in _KEPT and "migrations" not in row["tablename"]
        ]
        emptying = [f"delete from {name}" for name in filled]  # noqa: S608 - quoted by Postgres itself
        return ";".join(["set local session_replication_role = replica", *emptying])

    def begin(self, seed: int, now: Callable[[], float]) -> None:
        """Forget the last schedule and begin another."""
        self.seed, self.now, self._transactions = seed, now, 0
        self.observe()
        with self.observer.transaction():
            self.observer.execute(self._emptying.encode())
            self.observer.execute("delete from auth.users")
            self.observer.execute("select setval('simulated.ids', 1, false)")
            self.observer.execute("update internal.reconcile_state set events_seen_until = internal.clock()")

    def tidy(self) -> None:
        """Give back the space of deleted rows; now and then, as autovacuum would."""
        self.observer.execute("vacuum")

    def observe(self) -> None:
        """Let the observer's own connection know the time."""
        self.observer.execute(
            "select set_config('autobook.now', %s, false), set_config('autobook.seed', %s, false)",
            [f"{self.now():.6f}", str(self.seed)],
        )

    def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """What a superuser sees, whatever the functions do."""
        with self.observer.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query.encode(), arguments).fetchall()

    def add_user(self, user_id: str, email: str) -> None:
        """Somebody who has signed up."""
        moment = datetime.fromtimestamp(self.now(), UTC)
        self.observer.execute(
            "insert into auth.users (instance_id, id, aud, role, email, email_confirmed_at, raw_app_meta_data, "
            "raw_user_meta_data, created_at, updated_at) values ('00000000-0000-0000-0000-000000000000', %s, "
            "'authenticated', 'authenticated', %s, %s, '{}', '{}', %s, %s)",
            [user_id, email, moment, moment, moment],
        )

    def waits_for_lock(self, pid: int, holder_pid: int) -> bool:
        """Whether a connection waits for what another one holds."""
        row = self._watcher.execute("select %s = any(pg_blocking_pids(%s))", [holder_pid, pid]).fetchone()
        return row is not None and bool(row[0])

    def answer(self, incoming: Incoming, hook: Callable[[Moment], None] | None) -> httpx.Response:
        """One request by PostgREST's rules: what the client gets, or what `hook` raises around its commit."""
        try:
            answer = self._engine.answer(incoming, self._gateway.identify(incoming.headers), hook)
        except ApiError as error:
            return httpx.Response(error.status, content=error.body(), headers=error.response_headers())
        return _Arrived(answer.status, tuple(answer.headers.items()), answer.body)


class _Arrived(httpx.Response):
    """A response that is read already, without httpx's stream and decoders, which have nothing to do here."""

    def __init__(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        self.__dict__.update(_read_response(status, headers).__dict__)
        self._content = body


@lru_cache(maxsize=256)
def _read_response(status: int, headers: tuple[tuple[str, str], ...]) -> httpx.Response:
    return httpx.Response(status, headers=headers)


def boundary_of(incoming: Incoming) -> str:
    """The name of the boundary that a request crosses: `db begin_charge`, `db GET bookings`."""
    path = incoming.path.removeprefix("/")
    return f"db {path[4:]}" if path.startswith("rpc/") else f"db {incoming.method} {path}"


FAILURES: dict[str, Callable[[], Exception]] = {
    "lost_before_commit": Lost,
    "serialization_failure": lambda: errors.SerializationFailure("could not serialize access"),
    "deadlock": lambda: errors.DeadlockDetected("deadlock detected"),
    "statement_timeout": lambda: errors.QueryCanceled("canceling statement due to statement timeout"),
}
"""What is raised inside of the transaction before its commit; the stand-in rolls back and answers as PostgREST does."""
