"""An environment that is well, made of the local parts, for tests to spoil in one way each."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from functions.shared.secrets import forget
from functions.shared.settings import StripeSettings
from functions.shared.stripe_sdk import stripe
from local import webhook_endpoint
from local.doctor.patient import stripe_client
from local.environment import of_stack
from local.queue import connect, create_queues
from local.stack import LocalStack
from local.stack_settings import base_environment
from local.stripe.server import running
from local.stripe.settings import Settings
from local.stripe.world import StripeWorld
from tests.support.aws_secrets import SecretStore
from tests.support.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in here
from tests.support.ses import SesAccount, ses_account

Values = dict[str, str]


def stripe_key(kind: str = "sk_test") -> str:
    """A key as Stripe makes them, of nobody."""
    return f"{kind}_51{secrets.token_hex(40)}"


@dataclass
class Environment:
    """Variables of an environment that is well, and the parts that they name."""

    stack: LocalStack
    values: Values
    database_url: str
    ses: SesAccount
    cleanup: ExitStack = field(default_factory=ExitStack)
    world: StripeWorld = field(init=False)

    @property
    def webhook_url(self) -> str:
        """Where Stripe is to send its events."""
        return f"{self.stack.api_url}/webhook"

    def open_stripe(self, key: str, *, synced: bool = True, **settings: Any) -> None:
        """Another account at Stripe, with the endpoint that it should have."""
        made = Settings(
            secret_key=key if key.startswith("sk_") else stripe_key(),
            publishable_key=self.values["STRIPE_PUBLISHABLE_KEY"],
            **settings,
        )
        url, self.world = self.cleanup.enter_context(running(made))
        self.values |= {"STRIPE_API_BASE": url, "STRIPE_SECRET_KEY": key}
        if synced:
            self.sync(made.secret_key)

    def sync(self, key: str | None = None) -> None:
        """Make the endpoint at Stripe, as `autobook webhook-endpoint sync` does."""
        with self.stripe(key) as client:
            webhook_endpoint.apply(client, webhook_endpoint.plan([], self.webhook_url).steps)

    def stripe(self, key: str | None = None) -> AbstractContextManager[stripe.StripeClient]:
        """The SDK, talking to the account."""
        secret_key = key or self.values["STRIPE_SECRET_KEY"]
        return stripe_client(
            StripeSettings.made_of({"stripe_secret_key": secret_key, "stripe_api_base": self.values["STRIPE_API_BASE"]})
        )

    def let_reconcile_have_run(self) -> None:
        """However long ago the run of the tests has begun."""
        self.sql("update internal.reconcile_state set events_seen_until = now()")

    def endpoint(self) -> dict[str, Any]:
        """The one webhook endpoint."""
        (endpoint,) = self.world.webhook_endpoints
        return endpoint

    def sql(self, statement: str, *values: object) -> None:
        """Change the database as its owner."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement, values)


@pytest.fixture(scope="session")
def _healthy_database_url(_make_database: Callable[[], tuple[str, str]]) -> str:
    return _make_database()[1]


@dataclass(frozen=True)
class Account:
    """An account at Stripe that tests share; each begins it anew."""

    url: str
    world: StripeWorld
    key: str = field(repr=False)


@pytest.fixture(scope="session")
def _account(stack: LocalStack) -> Iterator[Account]:
    key = stripe_key()
    with running(Settings(secret_key=key, publishable_key=stack.keys.stripe_publishable)) as (url, world):
        yield Account(url, world, key)


@pytest.fixture(scope="session")
def _queue_url(stack: LocalStack) -> str:
    """A queue as it is when deployed; the stack's own gives its messages back sooner."""
    with closing(connect(stack.queue_endpoint)) as sqs:
        return create_queues(sqs, name="doctors", visibility_timeout_seconds=6 * 29).url


@pytest.fixture
def environment(
    stack: LocalStack,
    _account: Account,
    _healthy_database_url: str,
    _queue_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Environment]:
    """An environment that is well. Who changes the database takes `spoil_database` first."""
    for name, value in base_environment().items():
        if "proxy" in name.lower():
            monkeypatch.setenv(name, value)
    with ExitStack() as cleanup:
        ses = cleanup.enter_context(ses_account())
        ses.verified.add("example.com")
        values = of_stack(stack.contract()) | {
            "DATABASE_URL": _healthy_database_url,
            "STAGE": "dev",
            "NOTIFY_FROM_ADDRESS": "Bookings <bookings@example.com>",
            "APP_URL": "https://app.example.com",
            "AWS_ENDPOINT_URL_SESV2": ses.url,
            "CHARGE_QUEUE_URL": _queue_url,
        }
        made = Environment(stack, values, _healthy_database_url, ses, cleanup)
        made.world = _account.world
        made.world.reset()
        made.values |= {"STRIPE_API_BASE": _account.url, "STRIPE_SECRET_KEY": _account.key}
        made.sync()
        made.let_reconcile_have_run()
        for name, value in values.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def spoil_database(environment: Environment, fresh_database_url: str) -> Environment:
    """The environment with a database of its own."""
    environment.database_url = fresh_database_url
    environment.values["DATABASE_URL"] = fresh_database_url
    environment.let_reconcile_have_run()
    return environment


@pytest.fixture
def secret_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretStore]:
    """Secrets Manager, empty."""
    store = SecretStore()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", store.url)
    forget()
    yield store
    forget()
    store.close()
