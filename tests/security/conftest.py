"""Two kinds of project, and a connection to each whose work is always undone.

"older" is what the other tests use: new objects are granted to the API roles by default, and a superuser migrates.
"newer" is a hosted project made since 2026-05-30: no default grants, and migrations run as `hosted_postgres`, who is no
superuser. It needs a server of its own, as roles belong to a cluster and its roles have to be that account's.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from local.migrate import migrate
from local.postgres import PostgresServer
from local.supabase.bootstrap import apply_bootstrap
from tests.support.books import Books
from tests.support.fixtures import (
    _stripe_side,
    _supabase_side,
    carded,
    http,
    machine,
    make_traveller,
    stripe_side,
    supabase_side,
    traveller,
)

__all__ = [
    "_stripe_side",
    "_supabase_side",
    "carded",
    "http",
    "machine",
    "make_traveller",
    "stripe_side",
    "supabase_side",
    "traveller",
]


@pytest.fixture(scope="session")
def hosted_url() -> Iterator[str]:
    """The superuser's URL of a database that was migrated as a hosted project is."""
    with PostgresServer.start() as server:
        url = server.create_database("hosted")
        apply_bootstrap(url, auto_expose=False)
        with psycopg.connect(url) as connection:
            connection.execute("alter role hosted_postgres password 'migrates'")
        parts = urlsplit(url)
        migrate(urlunsplit(parts._replace(netloc=f"hosted_postgres:migrates@{parts.hostname}:{parts.port}")))
        yield url


@pytest.fixture(scope="session", params=["older", "newer"])
def project_url(request: pytest.FixtureRequest) -> str:
    """The superuser's URL of a migrated project of each kind; change it only in transactions that are undone."""
    url: str = request.getfixturevalue("database_url" if request.param == "older" else "hosted_url")
    return url


@pytest.fixture
def project(project_url: str) -> Iterator[psycopg.Connection]:
    """A superuser's transaction in a project, undone after the test."""
    with psycopg.connect(project_url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def books(project: psycopg.Connection) -> Books:
    """A user of the project, in the transaction that is undone."""
    return Books(project)
