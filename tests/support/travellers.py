"""People and feeds for tests: a traveller with cards and campaigns, a feed with offers, both over HTTP."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from local.users import User
from tests.support.http import Caller, ok
from tests.support.stripe_side import StripeSide

Json = dict[str, Any]

CONSENT = {"consent": {"terms_version": "2026-10"}}

# Tokens of Stripe's test cards (https://docs.stripe.com/testing).
VISA = "pm_card_visa"
MASTERCARD = "pm_card_mastercard"
ASKS_UNLESS_SET_UP = "pm_card_authenticationRequiredOnSetup"
ASKS_ALWAYS = "pm_card_authenticationRequired"
SAVES_THEN_DECLINES = "pm_card_chargeCustomerFail"


def in_time(**delta: float) -> str:
    """A moment from now, as the API takes it."""
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def unique(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid4().hex[:12]}"


def an_offer(attributes: Json, **changes: Any) -> Json:
    """An offer as the feed sends it: 120.00 EUR, good for two days."""
    return {
        "id": unique("offer"),
        "attributes": attributes,
        "amount_minor": 12_000,
        "currency": "eur",
        "expires_at": in_time(days=2),
    } | changes


@dataclass
class Traveller:
    """A user of the stack. Each has a trip of their own, so that no other test's offers fit their campaigns."""

    user: User
    api: Caller
    feed: Caller
    stripe: StripeSide
    db: psycopg.Connection
    trip: str = field(default_factory=lambda: unique("trip"))

    @property
    def id(self) -> str:
        """The user's id."""
        return str(self.user.id)

    @property
    def customer_id(self) -> str:
        """The Stripe Customer, once there is one."""
        row = self.db.execute(
            "select stripe_customer_id from public.customers where user_id = %s", [self.id]
        ).fetchone()
        assert row is not None
        return str(row[0])

    # --- cards -------------------------------------------------------------------------------------------------------

    def begin_setup(self, **headers: str) -> Json:
        """A SetupIntent for Stripe.js."""
        made: Json = ok(self.api.post("/setup-intent", CONSENT, **headers), 201)
        return made

    def save_card(self, card: str = VISA) -> Json:
        """Save a card by the page and the polling route, answering a challenge: the card as the API shows it."""
        setup = self.begin_setup()
        status = self.stripe.confirm_setup(setup["client_secret"], card)
        if status == "requires_action":
            self.stripe.authenticate(setup["id"])
        saved = ok(self.api.get(f"/setup-intent/{setup['id']}"))
        assert saved["status"] == "succeeded", saved
        method: Json = saved["payment_method"]
        return method

    def stripe_id(self, payment_method: Json) -> str:
        """Stripe's id of a saved card."""
        row = self.db.execute(
            "select stripe_payment_method_id from public.payment_methods where id = %s", [payment_method["id"]]
        ).fetchone()
        assert row is not None
        return str(row[0])

    # --- campaigns and offers ----------------------------------------------------------------------------------------

    def campaign_body(self, **changes: Any) -> Json:
        """What opens a campaign for the traveller's trip: up to 150.00 EUR each, 500.00 in all, not automatic."""
        return {
            "title": "A long weekend",
            "criteria": {"trip": self.trip},
            "currency": "eur",
            "max_price_minor": 15_000,
            "budget_minor": 50_000,
            "max_bookings": 4,
            "expires_at": in_time(days=30),
            "auto_book": False,
        } | changes

    def open_campaign(self, **changes: Any) -> Json:
        """Open a campaign."""
        made: Json = ok(self.api.post("/campaigns", self.campaign_body(**changes)), 201)
        return made

    def campaign(self, campaign: Json) -> Json:
        """The campaign as it is now."""
        shown: Json = ok(self.api.get(f"/campaigns/{campaign['id']}"))
        return shown

    def offer(self, **changes: Any) -> Json:
        """Have the feed post an offer for the traveller's trip: the offer."""
        offer = an_offer({"trip": self.trip}, **changes)
        ok(self.feed.post("/offers", {"offers": [offer]}), 202)
        return offer

    def timeline(self, campaign: Json) -> list[Json]:
        """The first page of the timeline."""
        shown: list[Json] = ok(self.api.get(f"/campaigns/{campaign['id']}/timeline"))["data"]
        return shown

    # --- bookings ----------------------------------------------------------------------------------------------------

    def charge(self, campaign: Json, offer: Json) -> httpx.Response:
        """Ask for a booking."""
        return self.api.post("/charge-booking", {"campaign_id": campaign["id"], "offer_id": offer["id"]})

    def book(self, campaign: Json, offer: Json | None = None) -> Json:
        """A booking that is made at once."""
        booking: Json = ok(self.charge(campaign, offer or self.offer()), 201)
        return booking

    def booking(self, booking: Json) -> Json:
        """The booking as it is now."""
        shown: Json = ok(self.api.get(f"/bookings/{booking['id']}"))
        return shown

    def bookings(self) -> list[Json]:
        """The first page of bookings."""
        shown: list[Json] = ok(self.api.get("/bookings", limit=100))["data"]
        return shown

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Rows of the database, as its owner sees them."""
        return self.db.execute(query, arguments).fetchall()

    def notified(self) -> list[str]:
        """The kinds of messages owed to the traveller, oldest first."""
        return [
            kind
            for (kind,) in self.rows(
                "select kind from public.notifications where user_id = %s order by created_at, kind", self.id
            )
        ]

    def ledger(self, campaign: Json) -> list[tuple[str, int]]:
        """Kind and amount of the campaign's entries, oldest first."""
        return [
            (kind, amount)
            for kind, amount in self.rows(
                "select kind::text, amount_minor from public.ledger_entries where campaign_id = %s order by id",
                campaign["id"],
            )
        ]


MakeTraveller = Callable[[], Traveller]
