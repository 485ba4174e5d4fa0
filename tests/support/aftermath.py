"""What comes of a payment: both sides' books as one value, Stripe's events in a test's own hands, reconcile."""

import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import stripe

from functions.reconcile.jobs import JOBS, Line, Run
from functions.shared import database
from functions.shared.clock import Deadline
from functions.shared.stripe_gateway import gateway
from local.stack import LocalStack
from tests.support.http import ok
from tests.support.lambdas import invoke
from tests.support.stripe_side import StripeSide, WebhookSender
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import Json, Traveller

SETTLE = "/rest/v1/rpc/settle_payment"
"""Where the charging function commits its outcome; webhooks commit theirs elsewhere (receive_event)."""

PASSING = frozenset(
    {
        "authentication_required",
        "booking_authorized",
        "booking_retrying",
        "booking_under_review",
        "card_setup_failed",
    }
)
"""Messages about a state that passes. Who comes to know only after it has passed must not be told any more."""

RESERVED = ("reserve", 12_000)
SPENT = ("spend", 12_000)
RELEASED = ("release", 12_000)


@dataclass(frozen=True)
class Books:
    """What both sides hold of a traveller with one booking, free of ids and times, so that two can be compared."""

    booking: str
    attempts: tuple[str, ...]
    ledger: tuple[tuple[str, int], ...]
    campaign: tuple[str, str | None]
    reserved_and_spent: tuple[int, int]
    told: tuple[str, ...]
    """Kinds of notifications, sorted, those about passing states left out."""
    cards: tuple[str, ...]
    """The status of each card, in the order in which they were saved."""
    intent: str | None
    charges: tuple[str, ...]
    """At Stripe, oldest first: failed, pending, succeeded; uncaptured for a hold."""
    incidents: tuple[str, ...]


def books(traveller: Traveller, booking: Json) -> Books:
    """The books of a booking as they are now; those of its campaign make sense if it is the campaign's only one."""
    (row,) = traveller.rows(
        "select b.status::text, c.status::text, c.pause_reason::text, c.reserved_minor, c.spent_minor, "
        "b.stripe_payment_intent_id from public.bookings as b inner join public.campaigns as c on b.campaign_id = c.id "
        "where b.id = %s",
        booking["id"],
    )
    status, campaign_status, pause_reason, reserved, spent, intent_id = row
    intents = [
        intent
        for intent in traveller.stripe.intents(traveller.customer_id)
        if intent["metadata"]["booking_id"] == booking["id"]
    ]
    assert len(intents) <= 1, "one booking is one PaymentIntent"
    assert intent_id in {None, *(intent["id"] for intent in intents)}
    charges = traveller.stripe.charges(traveller.customer_id)
    return Books(
        booking=status,
        attempts=column(
            traveller, "select status::text from public.attempts where booking_id = %s order by ordinal", booking["id"]
        ),
        ledger=tuple(
            traveller.rows(
                "select kind::text, amount_minor from public.ledger_entries where booking_id = %s order by id",
                booking["id"],
            )
        ),
        campaign=(campaign_status, pause_reason),
        reserved_and_spent=(reserved, spent),
        told=tuple(kind for kind in _told(traveller, booking) if kind not in PASSING),
        cards=column(
            traveller,
            "select status::text from public.payment_methods where user_id = %s order by created_at, id",
            traveller.id,
        ),
        intent=intents[0]["status"] if intents else None,
        charges=tuple(
            charge_state(charge)
            for charge in reversed(charges)
            if intents and charge["payment_intent"] == intents[0]["id"]
        ),
        incidents=column(
            traveller, "select kind from public.incidents where booking_id = %s order by kind", booking["id"]
        ),
    )


def _told(traveller: Traveller, booking: Json) -> tuple[str, ...]:
    return column(
        traveller,
        "select kind from public.notifications where user_id = %s and (booking_id = %s or booking_id is null) "
        "order by kind",
        traveller.id,
        booking["id"],
    )


def charge_state(charge: Json) -> str:
    """A Charge's status; uncaptured while only held."""
    if charge["status"] == "succeeded" and not charge["captured"]:
        return "uncaptured"
    return str(charge["status"])


def column(traveller: Traveller, query: str, *arguments: Any) -> tuple[Any, ...]:
    """The first column of a query."""
    return tuple(row[0] for row in traveller.rows(query, *arguments))


def move_into_the_past(traveller: Traveller, booking: Json, name: str) -> None:
    """Let a moment of a booking (retry_at, action_expires_at, …) have come."""
    assert name in {"retry_at", "action_expires_at", "capture_before", "leased_until"}
    changed = traveller.db.execute(
        f"update public.bookings set {name} = now() - interval '1 second' where id = %s and {name} is not null",  # noqa: S608 - a name from the list above
        [booking["id"]],
    ).rowcount
    assert changed == 1, f"{name} is not set"


@contextmanager
def sdk_as_it_is() -> Iterator[None]:
    """Let Stripe's SDK send bodies as it does: it takes httpx's complaint of that for a lost connection."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Use 'content=", category=DeprecationWarning)
        yield


class Reconcile:
    """The reconcile Lambda of a stack. Use it within `lambdas.cold_functions`."""

    def __call__(self, *, apply: bool = True, seconds: float = 60.0) -> dict[str, list[Line]]:
        """Invoke the Lambda: what each job found."""
        answer = invoke("functions.reconcile.handler:handler", {"apply": apply}, seconds)
        assert answer["apply"] is apply
        jobs: dict[str, list[Line]] = answer["jobs"]
        return jobs

    def job(self, name: str) -> list[Line]:
        """One job alone: a run over everything would look through all the events of the worker's stack."""
        run = Run(database.as_function("reconcile", f"test-{uuid4().hex}"), gateway(), Deadline.after(60), apply=True)
        with sdk_as_it_is():
            return JOBS[name](run)

    def due(self, booking: Json) -> list[Line]:
        """Do what is due until nothing is: what it said of this booking."""
        said: list[Line] = []
        for _ in range(6):
            lines = [line for line in self.job("due bookings") if line["booking_id"] == booking["id"]]
            if not lines:
                return said
            said += lines
        raise AssertionError(f"never at rest: {said}")


class Page:
    """The cardholder's browser with Stripe.js: it holds the publishable key and what our API gave the user."""

    def __init__(self, stack: LocalStack) -> None:
        self._sdk = stripe.StripeClient(
            stack.keys.stripe_publishable,
            base_addresses={"api": stack.stripe_url},
            http_client=stripe.RequestsClient(timeout=30),
        )

    def confirm(self, traveller: Traveller, booking: Json, card: Json) -> str:
        """`confirmCardPayment` with a saved card: the PaymentIntent's status. Raises stripe.CardError."""
        way = ok(traveller.api.get(f"/bookings/{booking['id']}/authentication"))
        intent_id = way["client_secret"].partition("_secret_")[0]
        params: Any = {  # the client secret is Stripe.js's own parameter, which the SDK does not know
            "client_secret": way["client_secret"],
            "payment_method": traveller.stripe_id(card),
            "use_stripe_sdk": True,
        }
        intent = self._sdk.v1.payment_intents.confirm(intent_id, params)
        return intent.status

    def authenticate(self, traveller: Traveller, booking: Json, card: Json, outcome: str) -> None:
        """Confirm on the page and answer the bank's challenge."""
        assert self.confirm(traveller, booking, card) == "requires_action"
        (intent_id,) = column(
            traveller, "select stripe_payment_intent_id from public.bookings where id = %s", booking["id"]
        )
        traveller.stripe.authenticate(intent_id, outcome)


class Wire:
    """The way from Stripe to our webhook, with the test as its courier."""

    def __init__(self, side: StripeSide, webhook: WebhookSender) -> None:
        self._side = side
        self._webhook = webhook

    @contextmanager
    def cut(self) -> Iterator[list[Json]]:
        """No event that Stripe makes within the block is delivered; at its end the list holds them, oldest first."""
        self._side.flush()
        newest = self._side.sdk.v1.events.list({"limit": 1}).data
        rule = self._side.control("POST", "/faults", {"kind": "webhook_lose"})
        events: list[Json] = []
        yield events
        self._side.flush()  # what the stand-in does a moment later is done now
        self._side.control("DELETE", f"/faults/{rule['id']}")
        page = self._side.sdk.v1.events.list(
            {"ending_before": newest[0].id, "limit": 100} if newest else {"limit": 100}
        )
        assert not page.has_more
        events += [event.to_dict() for event in reversed(page.data)]

    def deliver(self, event: Json) -> Json:
        """Deliver an event once, signed; the receipt."""
        receipt: Json = ok(self._webhook.send(event))
        return receipt

    def post(self, event: Json) -> httpx.Response:
        """The same, whatever the answer."""
        return self._webhook.send(event)


@contextmanager
def late_settles(supabase: SupabaseSide, count: int, milliseconds: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which charges may run whose outcome reaches the database so much later."""
    supabase.fault(SETTLE, f"delay_ms:{milliseconds}", times=count)
    with ThreadPoolExecutor(max_workers=count) as pool:
        yield pool


def still_running(future: "Future[Any]") -> bool:
    """Whether a call has not come back yet."""
    return not future.done()
