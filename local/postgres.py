"""A real PostgreSQL server for the local stack and the tests: our own, or one that somebody else runs.

    with PostgresServer.start() as postgres:
        postgres.create_database("shop")
        psycopg.connect(postgres.url("shop"))

Our own server listens on 127.0.0.1 only, asks for a random password, and ends with the process that started
it, however that process ends (`local/watchdog.py`). DATABASE_URL chooses somebody else's server, PG_BIN
other programs.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from local import orphans, postgres_binaries
from local.postgres_binaries import Account, PostgresUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

_WATCHDOG = Path(__file__).with_name("watchdog.py")
_SUPERUSER = "postgres"
_START_TIMEOUT_SECONDS = 60.0
_PORT_ATTEMPTS = 5
_PLACES = ("/tmp", "/var/tmp")  # noqa: S108 - mkdtemp makes directories there that are ours alone
_MEMORY = "/dev/shm"  # noqa: S108 - likewise
_MEMORY_NEEDED_BYTES = 2 * 1024**3

_SOCKET_PATH_BYTES = 107
"""What a socket's address has room for (man 7 unix)."""

_SETTINGS: dict[str, str] = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # two test workers, each with a stack: a pool, thirty-two threads and the tests' own
    "max_connections": "200",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "shared_buffers": "64MB",
    "log_checkpoints": "off",
}
_FORGETFUL: dict[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "dynamic_shared_memory_type": "mmap",  # in the data directory: what an immediate stop leaves goes with that
}
"""What a database may leave out that nobody will look at after a power failure.

Commits still reach the operating system before they are answered, so a server that crashes forgets nothing.
"""


class Postgres:
    """A server that somebody runs, by the URL of one of its databases; its account may create databases."""

    def __init__(self, base_url: str) -> None:
        self._base = urlsplit(base_url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base.hostname}:{self._base.port})"  # the URL holds a password

    def nearby(self, url: str) -> str:
        """One of the server's URLs by the quickest way that there is to it."""
        return url

    @property
    def own_database(self) -> str:
        """The name of the database that the server's URL itself names, `postgres` if it names none."""
        return self._base.path.lstrip("/") or "postgres"

    def url(self, database: str | None = None) -> str:
        """The URL of one of the server's databases, by default the one its own URL names."""
        return urlunsplit(self._base._replace(path="/" + quote(database or self.own_database, safe="")))

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if one is given (nobody may be connected to it).

        Returns its URL. Raises psycopg.errors.DuplicateDatabase.
        """
        statement = sql.SQL("create database {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" template {}").format(sql.Identifier(template))
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop the database if it exists, with whoever is connected to it."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def version(self) -> int:
        """The server's major version, e.g. 18."""
        with psycopg.connect(self.url()) as connection:
            return connection.info.server_version // 10_000


class PostgresServer(Postgres):
    """A server of our own. Use `start`, and leave through `with` or `stop`."""

    def __init__(
        self,
        *,
        home: Path,
        temporary: bool,
        bin_directory: Path,
        account: Account,
        settings: "Mapping[str, str]",
        port: int | None,
    ) -> None:
        self.home = home
        self._temporary = temporary
        self._bin = bin_directory
        self._account = account
        self._settings = settings
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._record: Path | None = None
        self._password = self._initialise()
        self.port = self._launch_on_free_port() if port is None else self._launch(port)
        super().__init__(f"postgresql://{_SUPERUSER}:{self._password}@127.0.0.1:{self.port}/postgres")

    @classmethod
    def start(
        cls,
        *,
        data_dir: Path | None = None,
        durable: bool = False,
        port: int | None = None,
        bin_directory: Path | None = None,
    ) -> "Self":
        """Start a server, on a free port unless one is given, and wait until it takes connections.

        Its files live in a private temporary directory that goes with it, or in `data_dir`, which stays.
        Unless `durable`, nothing is forced to disk: quick, and safe against everything but the machine
        losing power. Raises PostgresUnavailableError with the end of the server's own log.
        """
        orphans.sweep()
        account = Account.choose()
        home = _private_directory(account, durable=durable) if data_dir is None else _kept_directory(account, data_dir)
        try:
            programs = bin_directory or postgres_binaries.named_or_embedded()
            return cls(
                home=home,
                temporary=data_dir is None,
                bin_directory=postgres_binaries.usable_by(account, programs, home),
                account=account,
                settings=_SETTINGS if durable else _SETTINGS | _FORGETFUL,
                port=port,
            )
        except BaseException:
            if data_dir is None:
                shutil.rmtree(home, ignore_errors=True)
            raise

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self.stop()

    def nearby(self, url: str) -> str:
        """One of the server's URLs, past TCP if it has a socket."""
        return f"{url}?host={quote(self._sockets, safe='')}" if self._sockets else url

    @property
    def _sockets(self) -> str:
        """The directory of the socket: the cluster's own, if its path is not too long; empty for none."""
        path = str(self.data / ".s.PGSQL.65535")
        return str(self.data) if len(path.encode()) <= _SOCKET_PATH_BYTES else ""

    @property
    def data(self) -> Path:
        """The cluster's own directory (PGDATA)."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """The file with what the server says."""
        return self.home / "server.log"

    def stop(self) -> None:
        """End the server, and remove its files if they are temporary. Calling it again does nothing."""
        self._end(keep=not self._temporary)

    def halt(self) -> None:
        """Take the server away as a crash would, its files kept, until `resume`."""
        self._end(keep=True)

    def resume(self) -> None:
        """Start the halted server again, on the same port with the same data."""
        assert self._watchdog is None, "the server is running"
        self._launch(self.port)

    def _end(self, *, keep: bool) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            assert watchdog.stdin is not None
            with watchdog.stdin as pipe, contextlib.suppress(BrokenPipeError):  # broken: both have ended already
                if keep:
                    pipe.write(b"k")
            watchdog.wait()
        if self._record is not None:
            self._record.unlink(missing_ok=True)
            self._record = None
        if not keep:
            shutil.rmtree(self.home, ignore_errors=True)

    def _initialise(self) -> str:
        """Make the cluster unless it is there. Returns the superuser's password."""
        secret = self.home / "superuser-password"
        if (self.data / "PG_VERSION").exists():
            return secret.read_text("utf-8")
        password = secrets.token_urlsafe(24)
        secret.touch(mode=0o600)
        secret.write_text(password, "utf-8")
        self._account.own(secret)
        made = self._account.run(
            *(self._bin / "initdb", "--pgdata", self.data, "--username", _SUPERUSER),
            *("--pwfile", secret, "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--no-locale", "--no-sync", "--no-instructions"),
        )
        if made.returncode != 0:
            raise PostgresUnavailableError(f"initdb failed:\n{made.stdout}{made.stderr}")
        return password

    def _launch_on_free_port(self) -> int:
        """Another process can take a free port before Postgres does, so a few are tried."""
        for remaining in reversed(range(_PORT_ATTEMPTS)):
            port = free_port()
            try:
                return self._launch(port)
            except PostgresUnavailableError:
                if not remaining or "could not bind" not in self.log.read_text("utf-8", "replace"):
                    raise
                self.log.unlink()
        raise AssertionError  # the loop has returned or raised

    def _launch(self, port: int) -> int:
        settings = {**self._settings, "unix_socket_directories": self._sockets}
        options = [argument for item in settings.items() for argument in ("-c", "=".join(item))]
        task = {
            "command": [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(port), *options],
            "user": self._account.uid,
            "group": self._account.gid,
            "log": str(self.log),
            # Immediate if nobody will start from these files again, else fast: with everything written out.
            "stop_signal": signal.SIGQUIT if self._temporary and self._settings["fsync"] == "off" else signal.SIGINT,
            "patience_seconds": 20,
            "remove": str(self.home) if self._temporary else None,
        }
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WATCHDOG), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._watchdog.stdout is not None
        with self._watchdog.stdout as answer:
            server_pid = int(answer.readline() or 0)
        try:
            if server_pid:
                self._record = orphans.record(self._watchdog.pid, server_pid, self.home)
            self._wait_until_ready(self._watchdog)
        except BaseException:
            self._end(keep=True)
            raise
        return port

    def _wait_until_ready(self, watchdog: "subprocess.Popen[bytes]") -> None:
        """The eighth line of postmaster.pid is the server's status; pg_ctl waits for it in the same way."""
        state = self.data / "postmaster.pid"
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if watchdog.poll() is not None:
                raise PostgresUnavailableError(f"Postgres didn't start; the end of its log:\n{self._log_end()}")
            try:
                if state.read_text("utf-8").splitlines()[7].strip() == "ready":
                    return
            except (FileNotFoundError, IndexError):
                pass
            time.sleep(0.005)
        raise PostgresUnavailableError(
            f"Postgres wasn't ready in {_START_TIMEOUT_SECONDS:.0f} s; the end of its log:\n{self._log_end()}"
        )

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-20:]) if self.log.exists() else ""


@contextmanager
def open_postgres(*, durable: bool = False, port: int | None = None) -> "Iterator[Postgres]":
    """The server that DATABASE_URL names, else one of our own for as long as the `with` lasts."""
    named = os.environ.get("DATABASE_URL")
    if named:
        yield Postgres(named)
        return
    with PostgresServer.start(durable=durable, port=port) as server:
        yield server


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _private_directory(account: Account, *, durable: bool) -> Path:
    """A new directory that is the account's alone, in a place that it can reach."""
    places = [tempfile.gettempdir(), *_PLACES]
    if not durable and _is_roomy_memory(_MEMORY):
        places.insert(0, _MEMORY)
    for place in dict.fromkeys(places):
        if Path(place).is_dir() and account.may("-x", Path(place)):
            directory = Path(tempfile.mkdtemp(prefix=orphans.PREFIX, dir=place))
            account.own(directory)
            return directory
    raise PostgresUnavailableError(f"No temporary directory can be reached by uid {account.uid}: set TMPDIR.")


def _is_roomy_memory(path: str) -> bool:
    """Whether the file system in memory is there, has room (Docker gives it 64 MB) and lets programs run."""
    if "TMPDIR" in os.environ or not os.access(path, os.W_OK):
        return False
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize >= _MEMORY_NEEDED_BYTES and not facts.f_flag & os.ST_NOEXEC


def _kept_directory(account: Account, directory: Path) -> Path:
    if not directory.exists():
        directory.mkdir(parents=True, mode=0o700)
        account.own(directory)
    if not account.may("-x", directory):
        raise PostgresUnavailableError(f"{directory} can't be reached by the account that runs Postgres.")
    return directory.resolve()
