"""notify in this process, over a database and a mailbox of the test's own."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO

import boto3
import httpx
import psycopg
import pytest

from functions.notify import mail
from functions.shared import database, logs, settings
from local.mailbox import Mailbox, receiving
from local.supabase.app import serving
from local.supabase.settings import Settings
from local.supabase.tokens import TokenSigner, mint_role_token
from tests.functions.notify.samples import APP_URL
from tests.support.notifications import Notifications

FROM = "Autobook <bookings@example.com>"
PUBLISHABLE_KEY = "sb_publishable_of_the_tests"
JWT_SECRET = "a secret of the tests that is long enough"


def _forget() -> None:
    """What a warm Lambda keeps: the settings, and the clients made from them."""
    settings._read.cache_clear()
    if mail._ses.cache_info().currsize:
        mail._ses().close()
        mail._ses.cache_clear()
    boto3.DEFAULT_SESSION = None
    if database._http.cache_info().currsize:
        database._http().close()
        database._http.cache_clear()


SetEnvironment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetEnvironment]:
    """Set variables as the Lambda's environment has them; None removes one."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "SES_"))]:
        monkeypatch.delenv(name)

    def change(**variables: str | None) -> None:
        _forget()
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    change(
        NOTIFY_FROM_ADDRESS=FROM,
        APP_URL=APP_URL,
        AWS_REGION="eu-central-1",
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_ACCESS_KEY_ID="local",
        AWS_SECRET_ACCESS_KEY="local",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    )
    yield change
    _forget()


@pytest.fixture
def mailbox(environment: SetEnvironment) -> Iterator[Mailbox]:
    """SES, as far as notify needs it."""
    with receiving() as mailbox:
        environment(AWS_ENDPOINT_URL_SESV2=mailbox.url)
        yield mailbox


@pytest.fixture
def printed() -> Iterator[Callable[[], str]]:
    """What the function has logged, in the form in which it prints it."""
    printed = StringIO()
    handler = logging.StreamHandler(printed)
    handler.setFormatter(logs._JsonFormatter())
    logs.logger.addHandler(handler)  # set_up leaves a logger alone that has one
    logs.logger.setLevel(logging.INFO)
    yield printed.getvalue
    logs.logger.removeHandler(handler)


@dataclass(frozen=True)
class Office:
    """Where notify works: a database behind the stand-in's REST API."""

    owed: Notifications
    url: str

    def disturb(self, function: str, action: str, *, when: str = "before", times: int | None = 1) -> None:
        """Let a fault strike calls of a SQL function (local/supabase/control.py)."""
        rule = {"match": f"/rest/v1/rpc/{function}", "action": action, "when": when, "times": times}
        httpx.post(f"{self.url}/_control/faults", json=[rule], timeout=5).raise_for_status()

    def counts(self) -> dict[str, int]:
        """How many notifications have which status."""
        rows = self.owed.db.execute("select status::text, count(*)::integer from public.notifications group by status")
        return dict(rows.fetchall())


@pytest.fixture
def office(fresh_database_url: str, environment: SetEnvironment, printed: Callable[[], str]) -> Iterator[Office]:
    """A database of the test's own, with nothing owed yet."""
    project = Settings(
        database_url=fresh_database_url, jwt_secret=JWT_SECRET, publishable_key=PUBLISHABLE_KEY, control=True
    )
    with serving(project) as url, psycopg.connect(fresh_database_url, autocommit=True) as connection:
        token = mint_role_token(TokenSigner(jwt_secret=JWT_SECRET, issuer=f"{url}/auth/v1"), "autobook_notify")
        environment(SUPABASE_URL=url, SUPABASE_PUBLISHABLE_KEY=PUBLISHABLE_KEY, SUPABASE_TOKEN_NOTIFY=token)
        yield Office(Notifications(connection, fresh_database_url), url)
