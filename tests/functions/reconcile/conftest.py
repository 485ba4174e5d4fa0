"""A stack of reconcile's own: it looks after everything that it finds, other tests' leavings included."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from local.stack import LocalStack, prepare_database
from tests.support.aftermath import Reconcile
from tests.support.fixtures import *  # noqa: F403 - pytest finds the fixtures by their names in here
from tests.support.payment_fixtures import *  # noqa: F403 - pytest finds the fixtures by their names in here


@pytest.fixture(scope="session")
def stack(_make_database: Callable[[], tuple[str, str]]) -> Iterator[LocalStack]:
    """A running stack that only reconcile's tests use."""
    _, url = _make_database()
    prepare_database(url)
    with LocalStack.start(database_url=url) as running:
        yield running


@pytest.fixture
def quiet(stack_db: psycopg.Connection, reconcile: Reconcile) -> Iterator[None]:
    """Nothing left open by an earlier test, and nothing left by this one."""
    reconcile()
    yield
    reconcile()
    stack_db.execute("update public.stripe_events set status = 'ignored' where status = 'failed'")


Tamper = Callable[..., int]


@pytest.fixture
def tamper(stack_db: psycopg.Connection) -> Tamper:
    """Change rows as no function could: triggers and foreign keys are off. Gives how many rows were changed."""

    def change(statement: str, *arguments: Any) -> int:
        with stack_db.transaction():
            stack_db.execute("set local session_replication_role = replica")
            return stack_db.execute(statement, arguments).rowcount

    return change
