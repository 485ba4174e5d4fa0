"""What the layers share: one Postgres per run, migrated databases to copy, a running stack per worker, users.

The Postgres belongs to the process that runs pytest, which hands its address to the xdist workers; it ends with that
process, however that ends. DATABASE_URL and PG_BIN choose another one, as they do for `make stack`.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from local.migrate import migrate
from local.postgres import Postgres, PostgresServer, open_postgres
from local.stack import LocalStack, prepare_database
from local.supabase.bootstrap import apply_bootstrap
from local.users import User

_TEMPLATE_LOCK = 0x7E_57  # any number that only this file uses


@dataclass(frozen=True)
class Cluster:
    """The run's Postgres, and what the names of the run's databases begin with."""

    postgres: Postgres
    prefix: str


@contextmanager
def _open_cluster() -> Iterator[Cluster]:
    with open_postgres() as postgres:
        cluster = Cluster(postgres, f"autobook_{uuid4().hex[:8]}")
        yield cluster
        if not isinstance(postgres, PostgresServer):  # ours goes whole; of another's we leave nothing behind
            with psycopg.connect(postgres.url()) as connection:
                names = connection.execute(
                    "select datname from pg_database where datname like %s", [cluster.prefix + "%"]
                )
                left = [name for (name,) in names]
            for name in left:
                postgres.drop_database(name)


_SERVERS = pytest.StashKey[ExitStack]()
_CLUSTER = pytest.StashKey[Cluster]()


_SKIPS: list[tuple[str, str]] = []

_LOOP = pytest.StashKey[asyncio.AbstractEventLoop]()


def pytest_configure(config: pytest.Config) -> None:
    """Have an event loop before a test module loads a handler: Mangum makes one otherwise, and never closes it."""
    config.stash[_LOOP] = asyncio.new_event_loop()
    asyncio.set_event_loop(config.stash[_LOOP])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep every skip, with its reason, for the end of the run."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _SKIPS.append((report.nodeid, reason.removeprefix("Skipped: ")))


def _wrong_skips(config: pytest.Config) -> list[tuple[str, str]]:
    """What was skipped although, with AUTOBOOK_NO_SKIPS as in CI, it had to run: all but what needs another user."""
    if not os.environ.get("AUTOBOOK_NO_SKIPS") or hasattr(config, "workerinput"):
        return []
    allowed = "only an ordinary user" if os.geteuid() == 0 else "only root"
    return [skip for skip in _SKIPS if not skip[1].startswith(allowed)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run is red that skipped what had to run."""
    if _wrong_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name what had to run and was skipped."""
    for nodeid, reason in _wrong_skips(config):
        terminalreporter.write_line(f"MUST NOT BE SKIPPED HERE: {nodeid}: {reason}", red=True)


@pytest.fixture(autouse=True)
def _current_event_loop(request: pytest.FixtureRequest) -> None:
    """Put it back before each test: `asyncio.run` leaves none, and Mangum's handlers expect one."""
    asyncio.set_event_loop(request.config.stash[_LOOP])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Before an xdist worker starts: start Postgres, once, and tell the worker where it is."""
    stash = node.config.stash
    if _CLUSTER not in stash:
        stash[_SERVERS] = ExitStack()
        stash[_CLUSTER] = stash[_SERVERS].enter_context(_open_cluster())
    node.workerinput["autobook_cluster"] = (stash[_CLUSTER].postgres.url(), stash[_CLUSTER].prefix)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what was started for the whole run."""
    config.stash[_LOOP].close()
    servers = config.stash.get(_SERVERS, None)
    if servers is not None:
        servers.close()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The run's Postgres. Don't stop it: other tests use it at the same time."""
    given = getattr(request.config, "workerinput", {}).get("autobook_cluster")
    if given is not None:
        yield Cluster(Postgres(given[0]), given[1])
        return
    with _open_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> str:
    """The name of a bootstrapped and migrated database, to be copied and never to be connected to."""
    name = f"{cluster.prefix}_template"
    with psycopg.connect(cluster.postgres.url(), autocommit=True) as gate:
        gate.execute("select pg_advisory_lock(%s)", [_TEMPLATE_LOCK])  # the first worker makes it, the others wait
        if gate.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None:
            draft = f"{name}_draft"
            cluster.postgres.drop_database(draft)
            url = cluster.postgres.create_database(draft)
            apply_bootstrap(url)
            migrate(url)
            gate.execute(f'alter database "{draft}" rename to "{name}"')
    return name


@pytest.fixture(scope="session")
def _make_database(cluster: Cluster, template: str) -> Callable[[], tuple[str, str]]:
    numbers = count(1)

    def make() -> tuple[str, str]:
        name = f"{cluster.prefix}_{uuid4().hex[:6]}_{next(numbers)}"
        return name, cluster.postgres.create_database(name, template=template)

    return make


@pytest.fixture(scope="session")
def database_url(_make_database: Callable[[], tuple[str, str]]) -> str:
    """The superuser's URL of a migrated database that the tests of one worker share: each makes its own rows in it."""
    return _make_database()[1]


@pytest.fixture
def fresh_database_url(cluster: Cluster, _make_database: Callable[[], tuple[str, str]]) -> Iterator[str]:
    """The superuser's URL of a migrated database for one test alone."""
    name, url = _make_database()
    yield url
    cluster.postgres.drop_database(name)


@pytest.fixture
def empty_database_url(cluster: Cluster) -> Iterator[str]:
    """The superuser's URL of a database with nothing in it, for one test alone."""
    name = f"{cluster.prefix}_empty_{uuid4().hex[:6]}"
    yield cluster.postgres.create_database(name)
    cluster.postgres.drop_database(name)


@pytest.fixture
def db(database_url: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the worker's database; each statement commits unless a transaction is begun."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def stack(_make_database: Callable[[], tuple[str, str]]) -> Iterator[LocalStack]:
    """A running stack over a migrated database, shared by the tests of one worker.

    A test that breaks things for others (faults for all requests, the database taken away) starts its own:
    `with LocalStack.start() as stack`, which takes about two seconds.
    """
    _, url = _make_database()
    prepare_database(url)
    with LocalStack.start(database_url=url) as running:
        yield running


@pytest.fixture
def stack_db(stack: LocalStack) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the stack's database."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def make_user(stack: LocalStack) -> Callable[[], User]:
    """Make a user of the stack who is nobody else's, with an access token."""
    return lambda: stack.users.create(f"user-{uuid4().hex[:12]}@example.com")


@pytest.fixture
def user(make_user: Callable[[], User]) -> User:
    """A user of the stack who has done nothing yet."""
    return make_user()
