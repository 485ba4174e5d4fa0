"""Connections to Postgres as PostgREST holds them, and the catalogue that is read over them."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from local.supabase.catalog import Catalog, Row
from local.supabase.catalog_load import load_catalog
from local.supabase.errors import DatabaseGoneError, PoolTimeoutError
from local.supabase.pipeline import PipelinedConnection

API_ROLE = "authenticator"
_CONNECT_TIMEOUT_SECONDS = 5
_RELOAD_CHANNEL = "pgrst"
_LISTEN_SECONDS = 0.1  # how long a stop may take


_ROLE_SETTINGS = """
select set_config(settable.name, substr(own.entry, strpos(own.entry, '=') + 1), false)
from pg_roles
cross join unnest(rolconfig) as own (entry)
join pg_settings as settable on settable.name = split_part(own.entry, '=', 1) and settable.context = 'user'
where rolname = %s
"""


def _become_api_role(connection: Connection[Row]) -> None:
    """Let a superuser's connection be the API's login role, with that role's own settings, as if it had logged in."""
    row = connection.execute(
        "select from pg_roles as self join pg_roles as api on api.rolname = %s "
        "where self.rolname = session_user and self.rolsuper",
        [API_ROLE],
    ).fetchone()
    if row is None:
        return
    connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(API_ROLE)))
    connection.execute(_ROLE_SETTINGS, [API_ROLE])


class Pool:
    """A bounded set of connections, opened on demand, the last used first.

    psycopg_pool waits while the database is away; PostgREST answers 503 at once, and so does this.
    """

    def __init__(self, database_url: str, *, size: int, timeout_seconds: float, as_api_role: bool = True) -> None:
        self._conninfo = make_conninfo(
            database_url,
            connect_timeout=conninfo_to_dict(database_url).get("connect_timeout", _CONNECT_TIMEOUT_SECONDS),
        )
        self._timeout_seconds = timeout_seconds
        self._as_api_role = as_api_role
        self._free = threading.BoundedSemaphore(size)
        self._idle: deque[PipelinedConnection] = deque()
        self._busy: set[PipelinedConnection] = set()

    def _connect(self) -> PipelinedConnection:
        try:
            connection = PipelinedConnection.connect(self._conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise DatabaseGoneError(str(error)) from error
        if self._as_api_role:
            _become_api_role(connection)
        return connection

    @contextmanager
    def connection(self) -> Iterator[PipelinedConnection]:
        """Lend a connection in autocommit mode. Raises `ApiError` (503 no database, 504 none free in time)."""
        if not self._free.acquire(timeout=self._timeout_seconds):
            raise PoolTimeoutError
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            self._busy.add(connection)
            try:
                self._lend(connection)
                yield connection
            finally:
                self._busy.discard(connection)
                idle = connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
                if idle and not connection.closed:
                    self._idle.append(connection)
                else:
                    connection.close()
        finally:
            self._free.release()

    def _lend(self, connection: PipelinedConnection) -> None:
        """Called for each connection that is lent; for those who want to know."""

    def discard_idle(self) -> None:
        """Close every connection that nobody uses: after one was lost, the others are likely gone too."""
        while self._idle:
            self._idle.pop().close()

    def cancel_running(self) -> None:
        """Ask Postgres to cancel every statement that still runs."""
        for connection in tuple(self._busy):
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=1)


class Catalogs:
    """The catalogue, read on first use and again when Postgres says so."""

    def __init__(self, pool: Pool, schemas: Sequence[str]) -> None:
        self._pool = pool
        self._schemas = tuple(schemas)
        self._catalog: Catalog | None = None
        self._read_at = 0.0
        self._lock = threading.Lock()

    def current(self) -> Catalog:
        """Return the catalogue. Raises `ApiError` 503 or `psycopg.Error` when it can't be read."""
        catalog = self._catalog
        if catalog is not None:
            return catalog
        with self._lock:
            if self._catalog is None:
                self._load()
            return self._catalog  # type: ignore[return-value]  # _load sets it

    def read_since(self, moment: float) -> Catalog:
        """Return a catalogue that was read after this moment (`time.monotonic()`), because something was not found.

        PostgREST itself waits for its notification. Here a test or a migration may have created the object a moment
        ago, and reading costs 20 ms.
        """
        with self._lock:
            if self._catalog is None or self._read_at < moment:
                self._load()
            return self._catalog  # type: ignore[return-value]  # _load sets it

    def invalidate(self) -> None:
        """Forget the catalogue; the next request reads it."""
        self._catalog = None

    def _load(self) -> None:
        with self._pool.connection() as connection:
            started_at = monotonic()
            self._catalog = load_catalog(connection, self._schemas)
            self._read_at = started_at


class ReloadListener:
    """Listens for `notify pgrst, 'reload schema'` (or 'reload config') and forgets the catalogue."""

    def __init__(self, database_url: str, catalogs: Catalogs) -> None:
        self._conninfo = make_conninfo(database_url, connect_timeout=_CONNECT_TIMEOUT_SECONDS)
        self._catalogs = catalogs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pgrst-listener", daemon=True)

    def start(self) -> None:
        """Start listening in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and wait for the thread."""
        self._stopping.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._conninfo, autocommit=True) as connection:
                    self._listen(connection)
            except psycopg.Error:
                # The database is away: requests say so themselves. What it looks like when it is back is unknown.
                self._catalogs.invalidate()
                self._stopping.wait(1)

    def _listen(self, connection: Connection[Row]) -> None:
        connection.execute(sql.SQL("listen {}").format(sql.Identifier(_RELOAD_CHANNEL)))
        # Whatever was announced while nobody listened is caught up with.
        self._catalogs.invalidate()
        while not self._stopping.is_set():
            for _ in connection.notifies(timeout=_LISTEN_SECONDS):
                self._catalogs.invalidate()
