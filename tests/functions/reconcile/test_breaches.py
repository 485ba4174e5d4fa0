"""Every breach of the invariants is seen, whoever made it, and a healthy database has none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.functions.reconcile.conftest import Tamper
from tests.support.aftermath import Reconcile
from tests.support.http import ok
from tests.support.stripe_side import WebhookSender, event_of
from tests.support.travellers import ASKS_ALWAYS, SAVES_THEN_DECLINES, Json, Traveller

_ATTEMPT = """
    insert into public.attempts (booking_id, user_id, payment_method_id, ordinal, status)
    select booking_id, user_id, payment_method_id, 99, 'succeeded'
    from public.attempts where booking_id = %(booking)s limit 1
"""
_DIE = """
    update public.bookings set status = 'failed', closing_as = 'failed' where id = %(booking)s
"""

BREACHES = {
    "two_open_or_succeeded_attempts": ("booking", [_ATTEMPT]),
    "totals_differ_from_ledger": (
        "campaign",
        ["update public.campaigns set spent_minor = spent_minor - 1 where id = %(campaign)s"],
    ),
    "counts_differ_from_bookings": (
        "campaign",
        ["update public.campaigns set bookings_confirmed = bookings_confirmed - 1 where id = %(campaign)s"],
    ),
    "reserve_on_ended_booking": (
        "booking",
        ["delete from public.ledger_entries where booking_id = %(booking)s and kind = 'spend'"],
    ),
    "confirmed_without_payment": (
        "booking",
        ["update public.attempts set status = 'declined' where booking_id = %(booking)s"],
    ),
    "money_on_dead_booking": ("booking", [_DIE]),
    "price_differs_from_offer": (
        "booking",
        ["update public.offers set amount_minor = amount_minor + 1 where id = %(offer)s"],
    ),
    "end_without_notification": ("booking", ["delete from public.notifications where booking_id = %(booking)s"]),
    "event_not_applied_for_an_hour": (
        "event",
        [
            """update public.stripe_events set status = 'failed', received_at = received_at - interval '61 minutes'
            where id = %(event)s"""
        ],
    ),
}
MORE = {
    "confirmed_without_payment": (
        "booking",
        ["update public.bookings set stripe_payment_intent_id = null where id = %(booking)s"],
    ),
    "totals_differ_from_ledger": (
        "campaign",
        ["update public.campaigns set reserved_minor = reserved_minor + 1 where id = %(campaign)s"],
    ),
    "counts_differ_from_bookings": (
        "campaign",
        ["update public.campaigns set bookings_in_flight = bookings_in_flight + 1 where id = %(campaign)s"],
    ),
    "price_differs_from_offer": ("booking", ["update public.offers set currency = 'usd' where id = %(offer)s"]),
}


def found(db: psycopg.Connection) -> set[tuple[str, str]]:
    """The breaches that the database sees."""
    row = db.execute("select public.invariant_breaches()").fetchone()
    assert row is not None
    return {(each["breach"], each["subject"]) for each in row[0]}


@pytest.fixture
def booked(carded: Traveller) -> dict[str, str]:
    """What a confirmed booking consists of."""
    campaign = carded.open_campaign()
    booking = carded.book(campaign)
    carded.stripe.flush()
    (intent,) = carded.stripe.intents(carded.customer_id)
    ((event,),) = carded.rows(
        "select id from public.stripe_events where object_id = %s and type = 'payment_intent.succeeded'", intent["id"]
    )
    return {"booking": booking["id"], "campaign": campaign["id"], "offer": booking["offer_id"], "event": event}


@contextmanager
def planted(db: psycopg.Connection, statements: list[str], subjects: dict[str, str]) -> Iterator[None]:
    """Within the block the database is as no function would leave it; afterwards it is as before."""
    with db.transaction(force_rollback=True):
        db.execute("set local session_replication_role = replica")
        for statement in statements:
            assert db.execute(statement, subjects).rowcount >= 1
        yield


CASES = [*BREACHES.items(), *MORE.items()]


@pytest.mark.parametrize(("breach", "case"), CASES, ids=[f"{number}-{name}" for number, (name, _) in enumerate(CASES)])
def test_each_breach_is_seen(
    stack_db: psycopg.Connection, booked: dict[str, str], breach: str, case: tuple[str, list[str]]
) -> None:
    subject, statements = case
    assert not found(stack_db) & {(breach, booked[subject])}

    with planted(stack_db, statements, booked):
        assert (breach, booked[subject]) in found(stack_db)

    assert not found(stack_db) & {(breach, booked[subject])}


def test_no_kind_of_breach_is_untested(stack_db: psycopg.Connection) -> None:
    row = stack_db.execute("select prosrc from pg_proc where oid = 'public.invariant_breaches'::regproc").fetchone()
    assert row is not None
    named = {line.split("'")[1] for line in row[0].splitlines() if line.strip().startswith("select '")}
    assert named == set(BREACHES)


def test_a_breach_is_an_incident_once(
    stack_db: psycopg.Connection, booked: dict[str, str], tamper: Tamper, reconcile: Reconcile
) -> None:
    tamper("update public.campaigns set spent_minor = spent_minor + 1 where id = %s", booked["campaign"])
    kind = "invariant_totals_differ_from_ledger"

    reports = [reconcile(apply=False), reconcile(), reconcile()]

    line = {"what": "BREACH totals_differ_from_ledger", "subject": booked["campaign"]}
    assert all(line in report["invariants"] for report in reports)
    rows = stack_db.execute(
        "select count(*) from public.incidents where dedupe_key = %s", [f"{kind}:{booked['campaign']}"]
    ).fetchone()
    assert rows == (1,)
    tamper("update public.campaigns set spent_minor = spent_minor - 1 where id = %s", booked["campaign"])


def test_a_booking_that_only_a_forged_event_says_was_paid_is_a_breach(
    carded: Traveller, stack_db: psycopg.Connection, webhook: WebhookSender, reconcile: Reconcile
) -> None:
    """Whoever has the webhook's secret can have us believe in money that Stripe knows nothing of."""
    booking = ok(carded.charge(carded.open_campaign(capture="manual"), carded.offer()), 201)
    (intent,) = carded.stripe.intents(carded.customer_id)
    forged = event_of("payment_intent.succeeded", intent | {"status": "succeeded", "amount_received": intent["amount"]})
    assert ok(webhook.send(forged))["result"] == "confirmed"
    stack_db.execute(
        "update public.bookings set created_at = created_at - interval '10 minutes' where id = %s", [booking["id"]]
    )

    hurried = reconcile(seconds=10.0)["payments"]
    said = reconcile()["payments"]

    assert {"what": "no_time_left"} in hurried, "a comparison that was not made is not one that found nothing"
    breach = {"what": "BREACH booking_without_payment", "subject": booking["id"]}
    assert breach in said
    assert carded.rows(
        "select kind from public.incidents where dedupe_key = %s", f"invariant_booking_without_payment:{booking['id']}"
    ) == [("invariant_booking_without_payment",)]
    carded.stripe.sdk.v1.payment_intents.capture(intent["id"])
    assert breach not in reconcile()["payments"]


def test_a_healthy_database_has_none(traveller: Traveller, stack_db: psycopg.Connection, machine: Any) -> None:
    """Every state that a booking can be in, each come to in an ordinary way."""
    good, bad = traveller.save_card(), traveller.save_card(SAVES_THEN_DECLINES)
    asking = traveller.save_card(ASKS_ALWAYS)

    def begin(card: Json, **campaign: Any) -> Json:
        answer = traveller.charge(
            traveller.open_campaign(payment_method_id=card["id"], **campaign), traveller.offer()
        ).json()
        found: Json = answer.get("booking", answer)
        return found

    begin(good)
    begin(bad)
    begin(asking)
    begin(good, capture="manual")
    for action in ("void", "capture"):
        ok(
            machine.post(
                f"/bookings/{begin(good, capture='manual')['id']}/{action}", {} if action == "capture" else None
            )
        )
    ok(machine.post(f"/bookings/{begin(good)['id']}/refund", {}))
    ok(machine.post(f"/bookings/{begin(good)['id']}/refund", {"amount_minor": 1_000}))
    ok(traveller.api.post(f"/bookings/{begin(asking)['id']}/cancel"))
    traveller.stripe.change_card(traveller.stripe_id(good), "processing", seconds=3_600)
    begin(good)
    traveller.stripe.flush()

    assert {booking["status"] for booking in traveller.bookings()} == {
        "confirmed", "failed", "requires_action", "authorized", "cancelled", "refunded", "charging"
    }  # fmt: skip
    assert found(stack_db) == set()
