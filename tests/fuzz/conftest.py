"""Two surroundings for the handlers: one with nothing behind them, one with a stack that nobody else uses."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import boto3
import psycopg
import pytest

from local.stack import LocalStack, prepare_database
from local.users import User
from tests.fuzz.target import Books, Target
from tests.support.http import Caller, connection
from tests.support.lambdas import cold_functions
from tests.support.stripe_side import StripeSide
from tests.support.travellers import Traveller


@pytest.fixture(scope="session")
def fuzz_stack(_make_database: Callable[[], tuple[str, str]]) -> Iterator[LocalStack]:
    """A stack whose webhooks stay back, so that all that is written was written by the request of the moment."""
    _, url = _make_database()
    prepare_database(url)
    with LocalStack.start(database_url=url) as stack:
        yield stack


@dataclass
class People:
    """Who is there: somebody with a card, campaigns, a hold and a booking; and somebody with nothing."""

    owner: Traveller
    stranger: User
    ids: dict[str, list[str]]
    """By the first segment of a path, ids that exist."""
    signing_secret: str
    webhook_secret: str


@pytest.fixture(scope="session")
def people(fuzz_stack: LocalStack) -> Iterator[People]:
    """The world that is fuzzed, made once."""
    stack = fuzz_stack
    side = StripeSide(stack)
    database = psycopg.connect(stack.database_url, autocommit=True)
    with connection(stack.api_url) as http:
        owner_user, stranger = (stack.users.create(f"{name}@example.com") for name in ("owner", "stranger"))
        machine = Caller(http, signing_secret=stack.keys.signing_secrets[0])
        owner = Traveller(owner_user, Caller(http, token=owner_user.access_token), machine, side, database)
        setup = owner.begin_setup()
        card = owner.save_card()
        campaign = owner.open_campaign()
        hold_campaign = owner.open_campaign(capture="manual")
        offers = [owner.offer(), owner.offer()]
        bookings = [owner.book(campaign, offers[0]), owner.book(hold_campaign, offers[1])]
        side.flush()
        side.control("POST", "/webhooks/hold")
        yield People(
            owner,
            stranger,
            {
                "campaigns": [campaign["id"], hold_campaign["id"]],
                "bookings": [booking["id"] for booking in bookings],
                "payment-methods": [card["id"]],
                "setup-intent": [setup["id"]],
                "offers": [offer["id"] for offer in offers],
            },
            stack.keys.signing_secrets[0],
            stack.keys.webhook_secrets[0],
        )
    side.close()
    database.close()


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address that refuses every connection: bound, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def nothing_behind(fuzz_stack: LocalStack, closed_port: str) -> Iterator[Target]:
    """Handlers with neither database nor Stripe: a request that is refused must be refused by them alone.

    Only the keys that sign tokens can be read. One that comes through, with good credentials, ends in a 503.
    """
    with (
        cold_functions(fuzz_stack, SUPABASE_URL=closed_port, STRIPE_API_BASE=closed_port),
        Target(frozenset({"database_unavailable"})) as target,
    ):
        yield target


@pytest.fixture
def whole(fuzz_stack: LocalStack, people: People) -> Iterator[Target]:
    """Handlers over the real database; what matches goes to a queue that nobody reads."""
    assert people.ids
    sqs = boto3.client(
        "sqs",
        endpoint_url=fuzz_stack.queue_endpoint,
        region_name="eu-central-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    queue_url = sqs.create_queue(QueueName="read-by-nobody")["QueueUrl"]
    sqs.close()
    with cold_functions(fuzz_stack, CHARGE_QUEUE_URL=queue_url), Target() as target:
        yield target


@pytest.fixture
def table_state(fuzz_stack: LocalStack) -> Iterator[Books]:
    """The tables of the fuzzed stack."""
    with psycopg.connect(fuzz_stack.database_url, autocommit=True) as database:
        yield Books(database)
