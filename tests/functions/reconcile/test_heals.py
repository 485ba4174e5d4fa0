"""What was left open is done: each kind of loss, healed by one run."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from functions.shared.charge_queue import _sqs
from local.stack import LocalStack
from tests.functions.reconcile.conftest import Tamper
from tests.functions.reconcile.open_ends import AFTER_THE_EFFECT
from tests.support.aftermath import RESERVED, SPENT, Page, Reconcile, Wire, books, column
from tests.support.fixtures import OpenGateway
from tests.support.http import ok, refused
from tests.support.lambdas import cold_functions
from tests.support.stripe_side import StripeSide
from tests.support.travellers import ASKS_ALWAYS, Traveller
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("quiet")


# --- events ----------------------------------------------------------------------------------------------------------


def test_a_webhook_that_never_came_is_fetched(carded: Traveller, wire: Wire, reconcile: Reconcile) -> None:
    booking = carded.book(carded.open_campaign())
    carded.stripe.flush()
    with wire.cut() as events:
        (intent,) = carded.stripe.intents(carded.customer_id)
        carded.stripe.sdk.v1.refunds.create({"payment_intent": intent["id"], "amount": 5_000})
    assert carded.booking(booking)["amount_refunded_minor"] == 0

    found = reconcile()["missed events"]

    assert {line["event_id"] for line in found} == {event["id"] for event in events}
    assert {line["status"] for line in found} <= {"applied", "ignored"}
    assert carded.booking(booking)["amount_refunded_minor"] == 5_000
    assert carded.notified() == ["booking_confirmed", "refund_issued"]
    assert reconcile()["missed events"] == []


def test_the_watermark_follows_and_never_goes_back(
    carded: Traveller, stripe_side: StripeSide, stack_db: psycopg.Connection, reconcile: Reconcile
) -> None:
    def watermark() -> Any:
        row = stack_db.execute("select events_seen_until from internal.reconcile_state").fetchone()
        assert row is not None
        return row[0]

    stack_db.execute("update internal.reconcile_state set events_seen_until = now() - interval '3 hours'")
    before = watermark()
    stripe_side.fault("error_before", match="/v1/events$", remember=False)

    report = reconcile()
    assert report["missed events"] == [{"what": "stopped", "code": "payment_provider_unavailable"}]
    assert report["invariants"] == [], "one job that is stopped does not stop the others"
    assert watermark() == before, "what could not be read is read next time"

    reconcile(apply=False)
    assert watermark() == before
    reconcile()
    after = watermark()
    assert (after - before).total_seconds() > 3 * 3_600 - 60
    stack_db.execute("select public.events_seen_until(%s)", [before])
    assert watermark() == after


def test_an_event_that_failed_is_applied_once_it_can_be(
    carded: Traveller, wire: Wire, tamper: Tamper, reconcile: Reconcile
) -> None:
    """The campaign's totals are made wrong, so that a constraint refuses what the event would write."""
    campaign = carded.open_campaign()
    offer = carded.offer()
    with wire.cut() as events:
        carded.stripe.fault(**AFTER_THE_EFFECT)
        booking = ok(carded.charge(campaign, offer), 202)
    (success,) = [event for event in events if event["type"] == "payment_intent.succeeded"]
    tamper("update public.campaigns set reserved_minor = 0 where id = %s", campaign["id"])
    assert wire.post(success).status_code == 500
    assert carded.booking(booking)["status"] == "charging"
    assert carded.notified() == []
    tamper("update public.campaigns set reserved_minor = 12000 where id = %s", campaign["id"])

    found = reconcile.job("failed events")

    assert [(line["event_id"], line["status"], line["result"]) for line in found] == [
        (success["id"], "applied", "confirmed")
    ]
    assert carded.booking(booking)["status"] == "confirmed"
    assert carded.ledger(campaign) == [RESERVED, SPENT]
    assert carded.rows("select status::text, tries from public.stripe_events where id = %s", success["id"]) == [
        ("applied", 2)
    ]


# --- the queue -------------------------------------------------------------------------------------------------------


def test_a_match_whose_message_was_lost_is_sent_again(
    carded: Traveller, gateway_with: OpenGateway, tamper: Tamper, reconcile: Reconcile
) -> None:
    campaign = carded.open_campaign(auto_book=True)
    carded.feed = carded.feed.over(gateway_with(AWS_ENDPOINT_URL_SQS="http://127.0.0.1:9"))
    offer = carded.offer()
    assert [(entry["state"], entry["booking"]) for entry in carded.timeline(campaign)] == [("waiting", None)]
    assert reconcile.job("waiting matches") == [], "it may still be on its way"
    tamper("update public.matches set updated_at = updated_at - interval '1 hour' where offer_id = %s", offer["id"])

    found = reconcile.job("waiting matches")

    assert found == [{"what": "match_waiting", "campaign_id": campaign["id"], "offer_id": offer["id"]}]
    (booking,) = until(carded.bookings)
    until(lambda: carded.booking(booking)["status"] == "confirmed")
    assert len(carded.stripe.taken(carded.customer_id)) == 1


@pytest.fixture
def _fresh_queue_client() -> Iterator[None]:
    """The queue's address is read anew."""
    _sqs.cache_clear()
    yield
    _sqs.cache_clear()


@pytest.mark.usefixtures("_fresh_queue_client")
def test_a_queue_that_is_away_loses_nothing(
    stack: LocalStack, carded: Traveller, gateway_with: OpenGateway, tamper: Tamper
) -> None:
    campaign = carded.open_campaign(auto_book=True)
    carded.feed = carded.feed.over(gateway_with(AWS_ENDPOINT_URL_SQS="http://127.0.0.1:9"))
    offer = carded.offer()
    tamper("update public.matches set updated_at = updated_at - interval '1 hour' where offer_id = %s", offer["id"])

    with cold_functions(stack, AWS_ENDPOINT_URL_SQS="http://127.0.0.1:9"):
        found = Reconcile().job("waiting matches")

    assert {line["what"] for line in found} == {"match_waiting", "failed to send"}
    assert [entry["state"] for entry in carded.timeline(campaign)] == ["waiting"]
    assert carded.bookings() == []


# --- cards -----------------------------------------------------------------------------------------------------------


def test_a_card_given_up_while_stripe_was_away_is_let_go(
    carded: Traveller, tamper: Tamper, reconcile: Reconcile
) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    stripe_id = carded.stripe_id(card)
    carded.stripe.fault("error_before", match="/detach$", remember=False)
    refused(carded.api.delete(f"/payment-methods/{card['id']}"), 503, "payment_provider_unavailable")
    assert carded.stripe.sdk.v1.payment_methods.retrieve(stripe_id).customer == carded.customer_id
    assert reconcile.job("detaching") == [], "the user may be trying again"
    tamper("update public.payment_methods set updated_at = updated_at - interval '1 hour' where id = %s", card["id"])

    assert reconcile.job("detaching") == [{"what": "card_detaching"}]

    assert carded.stripe.sdk.v1.payment_methods.retrieve(stripe_id).customer is None
    assert column(carded, "select status::text from public.payment_methods where id = %s", card["id"]) == ("detached",)
    assert reconcile.job("detaching") == []


def test_an_authentication_in_progress_is_left_alone(traveller: Traveller, page: Page, reconcile: Reconcile) -> None:
    card = traveller.save_card(ASKS_ALWAYS)
    booking = ok(traveller.charge(traveller.open_campaign(), traveller.offer()), 202)
    assert page.confirm(traveller, booking, card) == "requires_action"

    reconcile()

    assert traveller.booking(booking)["status"] == "requires_action"
    assert books(traveller, booking).intent == "requires_action"
