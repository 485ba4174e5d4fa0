"""A stand-in per test, served over HTTP from a thread, and the official SDK to talk to it."""

from __future__ import annotations

import queue
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import stripe

from local.stripe import authentication
from local.stripe.server import running
from local.stripe.settings import Settings
from local.stripe.transport import BASE_URL, InProcessTransport
from local.stripe.world import StripeWorld
from tests.local.stripe.conformity import problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET_KEY = "sk_test_standin"
PUBLISHABLE_KEY = "pk_test_standin"
CARD_ONLY = ["card"]


def settings(**changes: Any) -> Settings:
    """The settings of a test's stand-in."""
    base: dict[str, Any] = {
        "secret_key": SECRET_KEY,
        "publishable_key": PUBLISHABLE_KEY,
        "control": True,
        "seed": 7,
        "refund_delay_seconds": 0.0,
        "webhook_retry_seconds": (0.01, 0.02, 0.05),
    }
    return Settings(**{**base, **changes})


def client_for(url: str, key: str = SECRET_KEY, **options: Any) -> stripe.StripeClient:
    """The official client, pointed at a stand-in."""
    http = stripe.RequestsClient(timeout=options.pop("timeout", 10))
    return stripe.StripeClient(key, base_addresses={"api": url}, http_client=http, **options)


@dataclass
class Account:
    """One running stand-in with a client for it."""

    url: str
    world: StripeWorld
    client: stripe.StripeClient

    @property
    def v1(self) -> Any:
        """The client's v1 services."""
        return self.client.v1

    def customer(self, **params: Any) -> stripe.Customer:
        """A new customer."""
        return self.client.v1.customers.create(params)  # type: ignore[arg-type] # the tests' own keywords

    def save_card(self, customer: stripe.Customer, token: str) -> str:
        """Save a test card with a SetupIntent, answering a challenge: the payment method's id."""
        intent = self.client.v1.setup_intents.create(
            {
                "customer": customer.id,
                "payment_method": token,
                "confirm": True,
                "usage": "off_session",
                "allowed_payment_method_types": ["card"],
            }
        )
        if intent.status == "requires_action":
            authentication.answer(self.world, intent.id, "succeed")
            intent = self.client.v1.setup_intents.retrieve(intent.id)
        assert intent.status == "succeeded", intent.status
        assert isinstance(intent.payment_method, str)
        return intent.payment_method

    def charge(self, customer: stripe.Customer, method: str, **params: Any) -> stripe.PaymentIntent:
        """Charge a saved card off-session."""
        base: dict[str, Any] = {
            "amount": 2500,
            "currency": "eur",
            "customer": customer.id,
            "payment_method": method,
            "off_session": True,
            "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
        options = params.pop("options", None)
        made: stripe.PaymentIntent = self.v1.payment_intents.create({**base, **params}, options)
        return made

    def event_types(self) -> list[str]:
        """The types of all events, oldest first."""
        with self.world.lock:
            return [event["type"] for event in self.world.events]


def assert_conforming(world: StripeWorld) -> None:
    """Every object of a world, and every event's copy of one, fits the SDK's classes."""
    with world.lock:
        found = [text for table in world.tables.values() for row in table for text in problems_of(row)]
        for event in world.events:
            found += problems_of(event["data"]["object"], event["type"])
    assert found == []


@pytest.fixture
def start() -> Iterator[Callable[..., Account]]:
    """Start stand-ins with settings of one's own; whatever a test leaves in them must fit the SDK's classes."""
    with ExitStack() as stack:
        worlds = []

        def begin(**changes: Any) -> Account:
            url, world = stack.enter_context(running(settings(**changes)))
            worlds.append(world)
            return Account(url, world, client_for(url))

        yield begin
        for world in worlds:
            assert_conforming(world)


@pytest.fixture
def account() -> Iterator[Account]:
    """A stand-in of one's own, without a network between: the SDK's calls go straight into its world."""
    world = StripeWorld(settings())
    http = InProcessTransport(world)
    yield Account(BASE_URL, world, stripe.StripeClient(SECRET_KEY, base_addresses={"api": BASE_URL}, http_client=http))
    assert_conforming(world)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[tuple[str, StripeWorld]]:
    """One server for a module: starting and stopping one takes longer than most tests."""
    with running(settings()) as (url, world):
        yield url, world


@pytest.fixture
def served(shared_server: tuple[str, StripeWorld]) -> Iterator[Account]:
    """A stand-in with the usual settings, served over HTTP, in which nothing has happened yet."""
    url, world = shared_server
    world.reset()
    yield Account(url, world, client_for(url))
    assert_conforming(world)


@dataclass
class Receiver:
    """A webhook endpoint that records what it gets; ``statuses`` are answered in turn, then 200."""

    url: str
    received: queue.Queue[tuple[bytes, dict[str, str]]] = field(default_factory=queue.Queue)
    statuses: list[int] = field(default_factory=list)

    def take(self, count: int, timeout: float = 5.0) -> list[tuple[bytes, dict[str, str]]]:
        """Wait for so many deliveries."""
        return [self.received.get(timeout=timeout) for _ in range(count)]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A webhook receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                status = receiver.statuses.pop(0) if receiver.statuses else 200
            receiver.received.put((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/webhook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook receiver."""
    with receiving() as one:
        yield one
