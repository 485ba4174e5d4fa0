"""Fixtures of the functions as their callers meet them: over HTTP, with real users, machines, cards and offers.

The conftest of a folder that wants them imports them all: pytest finds fixtures by their names in there.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psycopg
import pytest

from local.child import Child
from local.stack import LocalStack
from local.stack_settings import base_environment
from local.users import User
from tests.support.http import Caller, connection
from tests.support.invariants import breaches
from tests.support.stripe_side import StripeSide, WebhookSender
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import MakeTraveller, Traveller

__all__ = [
    "OpenGateway",
    "_gateways",
    "_stripe_side",
    "_supabase_side",
    "anonymous",
    "carded",
    "gateway_with",
    "http",
    "machine",
    "make_traveller",
    "stripe_side",
    "supabase_side",
    "traveller",
    "webhook",
]


@pytest.fixture(scope="session")
def http(stack: LocalStack) -> Iterator[httpx.Client]:
    """Connections to the stack's gateway."""
    with connection(stack.api_url) as client:
        yield client


@pytest.fixture(scope="session")
def _stripe_side(stack: LocalStack) -> Iterator[StripeSide]:
    side = StripeSide(stack)
    yield side
    side.close()


@pytest.fixture(scope="session")
def _supabase_side(stack: LocalStack) -> Iterator[SupabaseSide]:
    side = SupabaseSide(stack)
    yield side
    side.close()


@pytest.fixture
def stripe_side(_stripe_side: StripeSide, supabase_side: SupabaseSide) -> Iterator[StripeSide]:
    """Stripe; what a test disturbs is undone after it, once the database is back."""
    yield _stripe_side
    supabase_side.calm()
    _stripe_side.calm()


@pytest.fixture
def supabase_side(_supabase_side: SupabaseSide) -> Iterator[SupabaseSide]:
    """Supabase; what a test disturbs is undone after it."""
    yield _supabase_side
    _supabase_side.calm()


@pytest.fixture
def anonymous(http: httpx.Client) -> Caller:
    """Somebody without a token."""
    return Caller(http)


@pytest.fixture
def machine(http: httpx.Client, stack: LocalStack) -> Caller:
    """The offer feed, or fulfilment."""
    return Caller(http, signing_secret=stack.keys.signing_secrets[0])


@pytest.fixture
def webhook(http: httpx.Client, stack: LocalStack) -> WebhookSender:
    """Whoever posts to the webhook, holding the secrets."""
    return WebhookSender(http, stack.keys.webhook_secrets)


@pytest.fixture
def make_traveller(
    http: httpx.Client,
    machine: Caller,
    stripe_side: StripeSide,
    supabase_side: SupabaseSide,
    stack_db: psycopg.Connection,
    make_user: Callable[[], User],
) -> Iterator[MakeTraveller]:
    """Make a user of the stack with nothing yet. After the test every invariant must hold of each."""
    made = []

    def make() -> Traveller:
        user = make_user()
        made.append(Traveller(user, Caller(http, token=user.access_token), machine, stripe_side, stack_db))
        return made[-1]

    yield make
    supabase_side.calm()
    stripe_side.control("DELETE", "/faults")
    stripe_side.flush()
    assert [breach for traveller in made for breach in breaches(traveller)] == []


@pytest.fixture
def traveller(make_traveller: MakeTraveller) -> Traveller:
    """A user with nothing yet."""
    return make_traveller()


@pytest.fixture
def carded(traveller: Traveller) -> Traveller:
    """A user with a card that always pays."""
    traveller.save_card()
    return traveller


OpenGateway = Callable[..., httpx.Client]


@pytest.fixture(scope="session")
def _gateways(stack: LocalStack) -> Iterator[Callable[[dict[str, str]], httpx.Client]]:
    """Gateways over the same stack with other settings, one for each set of them."""
    opened: dict[tuple[tuple[str, str], ...], httpx.Client] = {}
    with ExitStack() as everything:

        def open_one(changes: dict[str, str]) -> httpx.Client:
            key = tuple(sorted(changes.items()))
            if key not in opened:
                opened[key] = everything.enter_context(_gateway(stack, changes, len(opened)))
            return opened[key]

        yield open_one


@contextmanager
def _gateway(stack: LocalStack, changes: dict[str, str], number: int) -> Iterator[httpx.Client]:
    child = Child(
        "local.gateway",
        ["--port", "0", "--parent-watch"],
        log=stack.log(f"gateway-{number}"),
        environment=base_environment() | stack.environment | changes,
    )
    try:
        with connection(child.announced()["url"]) as client:
            yield client
    finally:
        child.stop()


@pytest.fixture
def gateway_with(_gateways: Callable[[dict[str, str]], httpx.Client]) -> OpenGateway:
    """A way to the functions with other settings: `gateway_with(STRIPE_TIMEOUT_SECONDS="1")`."""
    return lambda **changes: _gateways(changes)
