"""Everything at once on one campaign: whatever the interleaving, the invariants hold and both sides' books agree.

`AUTOBOOK_RACE_ROUNDS=200 pytest tests/payments/test_races.py` plays longer; a round's seed decides who does what and
how Stripe and the database misbehave meanwhile, and is named by the assertion that fails.
"""

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.support.aftermath import Reconcile, column
from tests.support.http import Caller, ok
from tests.support.invariants import breaches
from tests.support.stripe_side import StripeSide
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import MASTERCARD, VISA, Json, MakeTraveller, Traveller

ROUNDS = int(os.environ.get("AUTOBOOK_RACE_ROUNDS", "15"))
AT_REST = {"confirmed", "refunded", "failed", "cancelled", "authorized", "retry_scheduled", "requires_action"}

STRIPE_FAULTS: list[Json] = [
    {"kind": "drop_after", "match": "/v1/payment_intents$"},
    {"kind": "drop_before", "match": "/v1/payment_intents$"},
    {"kind": "error_after", "match": "/v1/refunds$"},
    {"kind": "drop_after", "match": "/v1/refunds$"},
    {"kind": "rate_limit", "match": "/v1/payment_intents"},
    {"kind": "latency", "match": "/v1/payment_intents", "seconds": 0.05, "times": 3},
    {"kind": "webhook_duplicate", "copies": 2, "seconds": 0.02, "times": 6},
    {"kind": "webhook_reorder", "seconds": 0.1, "times": None},
    {"kind": "webhook_lose", "times": 2},
]
DATABASE_FAULTS: list[Json] = [
    {"path": "/rest/v1/rpc/settle_payment", "action": "drop_connection", "when": "before_commit"},
    {"path": "/rest/v1/rpc/settle_payment", "action": "drop_connection", "when": "after_commit"},
    {"path": "/rest/v1/rpc/receive_event", "action": "drop_connection", "when": "after_commit"},
    {"path": "/rest/v1/rpc/begin_charge", "action": "http_503", "when": "before"},
]

Act = Callable[[], Any]


class Round:
    """One traveller, one campaign with a booking that is made and one that is held; and what then happens at once."""

    def __init__(self, traveller: Traveller, machine: Caller, draw: random.Random) -> None:
        self.traveller, self.machine, self.draw = traveller, machine, draw
        self.card, self.backup = traveller.save_card(VISA), traveller.save_card(MASTERCARD)
        self.campaign = traveller.open_campaign(
            budget_minor=48_000, max_bookings=4, capture=draw.choice(["automatic", "manual"]), use_backups=True
        )
        self.made = traveller.book(self.campaign)
        if self.campaign["capture"] == "manual":
            ok(machine.post(f"/bookings/{self.made['id']}/capture", {}))
        self.other = traveller.book(self.campaign)
        self.offers = [traveller.offer() for _ in range(3)]
        traveller.stripe.flush()

    def acts(self) -> list[Act]:
        """Two offers and one of them twice, a cancellation, refunds, a capture, a dispute, a pause."""
        api, machine, draw = self.traveller.api, self.machine, self.draw
        made, other = f"/bookings/{self.made['id']}", f"/bookings/{self.other['id']}"
        (intent,) = column(
            self.traveller, "select stripe_payment_intent_id from public.bookings where id = %s", self.made["id"]
        )
        charges: list[Act] = [lambda offer=offer: self.traveller.charge(self.campaign, offer) for offer in self.offers]  # type: ignore[misc]  # a lambda's default has no type
        sometimes: list[Act] = [
            charges[0],
            lambda: machine.post(f"{made}/refund", {}),
            lambda: machine.post(f"{made}/refund", {"amount_minor": 5_000}, idempotency_key="again"),
            lambda: machine.post(f"{other}/capture", {"amount_minor": 9_000}),
            lambda: machine.post(f"{other}/void"),
            lambda: api.post(f"/campaigns/{self.campaign['id']}/pause"),
            lambda: api.post("/campaigns/stop-all"),
            lambda: self.traveller.stripe.sdk.v1.refunds.create({"payment_intent": intent, "amount": 1_000}),
            lambda: self.traveller.stripe.change_card(self.traveller.stripe_id(self.card), "generic_decline", times=1),
            lambda: self.traveller.stripe.change_card(self.traveller.stripe_id(self.card), "processing", seconds=0.05),
        ]
        always: list[Act] = [
            *charges,
            lambda: api.post(f"{other}/cancel"),
            lambda: machine.post(f"{made}/refund", {"amount_minor": 5_000}),
        ]
        chosen = [*always, *draw.sample(sometimes, 4)]
        draw.shuffle(chosen)
        return chosen


def at_once(acts: list[Act]) -> None:
    """Do all of it from as many threads, starting together; refusals and lost answers are among what may happen."""
    start = Barrier(len(acts))

    def run(act: Act) -> Any:
        start.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as threads:
        for future in [threads.submit(run, act) for act in acts]:
            failure = future.exception()
            assert failure is None or type(failure).__module__.startswith(("stripe", "httpx")), failure


def come_to_rest(traveller: Traveller, reconcile: Reconcile, *, webhooks_were_lost: bool) -> None:
    """Let every webhook arrive and reconcile do what is left, until nothing is."""
    jobs = ["failed events", "due bookings"]
    if webhooks_were_lost:  # these look through all that the worker's stack has seen
        jobs = ["missed events", *jobs, "payments"]
    traveller.stripe.flush()
    for _ in range(6):
        traveller.db.execute(
            "update public.bookings set leased_until = null where user_id = %s and leased_until is not null",
            [traveller.id],
        )
        for job in jobs:
            reconcile.job(job)
        traveller.stripe.flush()
        statuses = {booking["status"] for booking in traveller.bookings()}
        asked = column(
            traveller,
            "select status::text from public.refunds where user_id = %s and status = 'requested'",
            traveller.id,
        )
        closing = column(
            traveller,
            "select id from public.bookings where user_id = %s and closing_as is not null "
            "and status not in ('failed', 'cancelled')",
            traveller.id,
        )
        if statuses <= AT_REST and not asked and not closing:
            return
    raise AssertionError(f"never at rest: {statuses}, {asked}, {closing}")


def assert_books_agree(traveller: Traveller) -> None:
    """What the campaign says it spent is what Stripe took less what it gave back."""
    kept = sum(
        charge["amount_captured"] - (charge["amount_refunded"] - (charge["amount"] - charge["amount_captured"]))
        for charge in traveller.stripe.taken(traveller.customer_id)
        if charge["captured"]
    )
    (spent,) = column(
        traveller, "select sum(spent_minor)::bigint from public.campaigns where user_id = %s", traveller.id
    )
    assert kept == spent


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_everything_at_once(
    make_traveller: MakeTraveller,
    machine: Caller,
    stripe_side: StripeSide,
    supabase_side: SupabaseSide,
    reconcile: Reconcile,
    seed: int,
) -> None:
    draw = random.Random(seed)
    traveller = make_traveller()
    played = Round(traveller, machine, draw)
    trouble: Json = {"kind": "none"}
    if seed % 3:  # every third round is undisturbed
        trouble = draw.choice(STRIPE_FAULTS)
        stripe_side.fault(**trouble)
        fault = draw.choice(DATABASE_FAULTS)
        supabase_side.fault(fault["path"], fault["action"], when=fault["when"])

    at_once(played.acts())
    stripe_side.control("DELETE", "/faults")
    supabase_side.calm()
    come_to_rest(traveller, reconcile, webhooks_were_lost=trouble["kind"] == "webhook_lose")

    assert breaches(traveller) == []
    mine = {
        traveller.id,
        *column(traveller, "select id::text from public.campaigns where user_id = %s", traveller.id),
        *column(traveller, "select id::text from public.bookings where user_id = %s", traveller.id),
    }
    (found,) = column(traveller, "select public.invariant_breaches()")
    assert [breach for breach in found if breach["subject"] in mine] == []
    assert column(traveller, "select id from public.stripe_events where status = 'failed'") == ()
    assert_books_agree(traveller)
    intents = [intent["metadata"]["booking_id"] for intent in stripe_side.intents(traveller.customer_id)]
    assert len(intents) == len(set(intents)), "one booking is one PaymentIntent"
