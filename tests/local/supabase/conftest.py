"""A Postgres with a bootstrapped database to copy, and stand-ins over such copies."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from local.postgres import PostgresServer
from local.supabase.app import serving
from local.supabase.bootstrap import apply_bootstrap
from local.supabase.settings import Settings
from local.supabase.tokens import TokenSigner, mint_role_token, mint_user_token

if TYPE_CHECKING:
    from concurrent.futures import Future

JWT_SECRET = "a-secret-of-the-tests-that-is-long-enough"
ADA = "11111111-1111-1111-1111-111111111111"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of its own: these tests change roles, which belong to the whole cluster."""
    with PostgresServer.start() as server:
        apply_bootstrap(server.create_database("project_template"))
        yield server


@pytest.fixture(scope="session")
def make_database(postgres: PostgresServer) -> Callable[[str], str]:
    """Make a bootstrapped database with the given SQL in it; returns its URL."""
    numbers = count()

    def make(script: str = "") -> str:
        url = postgres.create_database(f"project_{next(numbers)}", template="project_template")
        with psycopg.connect(url) as connection:
            connection.execute(script.encode())
        return url

    return make


def pid_of_running(database_url: str, text: str, request: "Future[httpx.Response]") -> int:
    """Wait until Postgres runs a statement with this text in it; return the backend's process id.

    Fails with the answer of the request that should have started it, when that is there before.
    """
    query = (
        "select pid, pg_sleep(0.01) from pg_stat_activity where datname = current_database() and state = 'active' "
        "and query like %s and pid <> pg_backend_pid()"
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        while (row := connection.execute(query, [f"%{text}%"]).fetchone()) is None:
            assert not request.done(), request.result().text
        return int(row[0])


@dataclass(frozen=True)
class StandIn:
    """A running stand-in, and HTTP to it."""

    url: str
    database_url: str
    client: httpx.Client = field(repr=False)
    signer: TokenSigner = field(repr=False)

    def user_headers(self, user_id: str = ADA) -> dict[str, str]:
        """The headers of a signed-in user."""
        token = mint_user_token(self.signer, user_id=user_id, email="ada@example.com")
        return {"authorization": f"Bearer {token}"}

    def role_headers(self, role: str) -> dict[str, str]:
        """The headers of a database role."""
        return {"authorization": f"Bearer {mint_role_token(self.signer, role)}"}

    def rest(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to `/rest/v1` as service_role, unless headers with another token are given."""
        headers = {**self.role_headers("service_role"), **options.pop("headers", {})}
        return self.client.request(method, f"{self.url}/rest/v1{path}", headers=headers, **options)

    def sql(self, statement: str) -> None:
        """Run SQL as superuser."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement.encode())


StartStandIn = Callable[..., StandIn]


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """One HTTP client for all tests of a worker."""
    with httpx.Client(timeout=15) as client:
        yield client


@pytest.fixture(scope="module")
def start_stand_in(http: httpx.Client) -> Iterator[StartStandIn]:
    """Start stand-ins over databases; they end with the module."""
    with ExitStack() as stack:

        def start(database_url: str, **options: Any) -> StandIn:
            settings = Settings(database_url=database_url, jwt_secret=JWT_SECRET, **options)
            url = stack.enter_context(serving(settings))
            signer = TokenSigner(jwt_secret=JWT_SECRET, issuer=f"{url}/auth/v1", signing_key=options.get("signing_key"))
            return StandIn(url, database_url, http, signer)

        yield start
