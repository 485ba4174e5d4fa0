"""What was left open is done: each kind of loss, healed by one run."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from functions.shared.charge_queue import _sqs
from local.stack import LocalStack
from tests.functions.reconcile.conftest import Tamper
from tests.support.aftermath import RELEASED, RESERVED, SPENT, Page, Reconcile, Wire, books, column, move_into_the_past
from tests.support.fixtures import OpenGateway
from tests.support.http import ok, refused
from tests.support.lambdas import cold_functions
from tests.support.stripe_side import StripeSide
from tests.support.travellers import ASKS_ALWAYS, MASTERCARD, SAVES_THEN_DECLINES, Json, Traveller, in_time
from tests.support.waiting import until

PAYMENTS = "/v1/payment_intents$"
AFTER_THE_EFFECT = {"kind": "drop_after", "match": PAYMENTS}
BEFORE_THE_EFFECT = {"kind": "drop_before", "match": PAYMENTS}

pytestmark = pytest.mark.usefixtures("quiet")


def mine(lines: list[Json], booking: Json) -> list[Json]:
    """What a job said of a booking."""
    return [line for line in lines if line.get("booking_id") == booking["id"]]


def lose_the_answer(traveller: Traveller, wire: Wire, fault: Json, **campaign: Any) -> Json:
    """Charge while Stripe's answer and its webhooks get lost: a booking of which nobody knows what became."""
    opened = traveller.open_campaign(**campaign)
    offer = traveller.offer(expires_at=in_time(days=20))
    with wire.cut():
        traveller.stripe.fault(**fault)
        booking: Json = ok(traveller.charge(opened, offer), 202)
    assert booking["status"] == "charging"
    return booking


def age(tamper: Tamper, booking: Json, interval: str) -> None:
    """Let time have passed since the booking was begun."""
    for table, column_name in (("bookings", "id"), ("attempts", "booking_id")):
        changed = tamper(
            f"update public.{table} set created_at = created_at - %s::interval, updated_at = updated_at - %s::interval "  # noqa: S608 - names from the line above
            f"where {column_name} = %s",
            interval,
            interval,
            booking["id"],
        )
        assert changed


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


# --- unknown outcomes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [AFTER_THE_EFFECT, BEFORE_THE_EFFECT], ids=["after", "before"])
def test_an_unknown_outcome_is_asked_for_under_its_own_key(
    carded: Traveller, wire: Wire, reconcile: Reconcile, fault: Json
) -> None:
    booking = lose_the_answer(carded, wire, fault)

    (line,) = reconcile.due(booking)

    assert line == {
        "what": "outcome_unknown",
        "booking_id": booking["id"],
        "step": "charge",
        "status": "confirmed",
    }
    assert books(carded, booking).charges == ("succeeded",)
    assert carded.booking(booking)["status"] == "confirmed"


def test_a_whole_run_heals_a_lost_answer_once(carded: Traveller, wire: Wire, reconcile: Reconcile) -> None:
    booking = lose_the_answer(carded, wire, AFTER_THE_EFFECT)

    reconcile()
    reconcile()

    carded.stripe.flush()
    assert carded.booking(booking)["status"] == "confirmed"
    assert len(carded.stripe.taken(carded.customer_id)) == 1
    assert carded.notified() == ["booking_confirmed"]


@pytest.mark.parametrize("interval", ["23 hours", "25 hours", "8 days"])
def test_an_attempt_older_than_its_key_is_looked_up_and_never_sent_again(
    carded: Traveller, wire: Wire, tamper: Tamper, reconcile: Reconcile, interval: str
) -> None:
    """Stripe keeps keys for at least 24 hours: after that the same request could charge a second time."""
    booking = lose_the_answer(carded, wire, AFTER_THE_EFFECT)
    carded.stripe.control("POST", "/expire-idempotency-keys")
    age(tamper, booking, interval)

    with carded.stripe.watched() as requests:
        (line,) = reconcile.due(booking)

    assert (line["step"], line["status"]) == ("look_up", "confirmed")
    assert {request["method"] for request in requests} == {"GET"}
    assert books(carded, booking).charges == ("succeeded",)
    assert books(carded, booking).told == ("booking_confirmed",)


def test_an_old_attempt_that_never_reached_stripe_is_voided(
    carded: Traveller, wire: Wire, tamper: Tamper, reconcile: Reconcile
) -> None:
    booking = lose_the_answer(carded, wire, BEFORE_THE_EFFECT)
    age(tamper, booking, "25 hours")

    with carded.stripe.watched() as requests:
        (line,) = reconcile.due(booking)

    assert (line["step"], line["status"]) == ("look_up", "failed")
    assert {request["method"] for request in requests} == {"GET"}
    ended = books(carded, booking)
    assert (ended.booking, ended.attempts, ended.ledger) == ("failed", ("voided",), (RESERVED, RELEASED))
    assert (ended.reserved_and_spent, ended.told) == ((0, 0), ("booking_failed",))
    assert (ended.intent, ended.charges) == (None, ())
    assert column(carded, "select failure_code from public.bookings where id = %s", booking["id"]) == (
        "never_reached_stripe",
    )
    assert "nothing was charged" in str(carded.booking(booking)["user_message"]).lower()


def test_an_old_attempt_that_was_declined_is_declined(
    traveller: Traveller, wire: Wire, tamper: Tamper, reconcile: Reconcile
) -> None:
    traveller.save_card(SAVES_THEN_DECLINES)
    booking = lose_the_answer(traveller, wire, AFTER_THE_EFFECT)
    age(tamper, booking, "25 hours")

    reconcile.due(booking)

    ended = books(traveller, booking)
    assert (ended.booking, ended.attempts, ended.charges) == ("failed", ("declined",), ("failed",))
    assert (ended.intent, ended.ledger) == ("canceled", (RESERVED, RELEASED))


def test_a_later_attempt_that_never_reached_stripe_is_voided_too(
    traveller: Traveller, wire: Wire, tamper: Tamper, reconcile: Reconcile
) -> None:
    """The PaymentIntent is there, with the first card's refusal on it: that is not the second attempt's."""
    traveller.save_card(SAVES_THEN_DECLINES)
    traveller.save_card(MASTERCARD)
    with wire.cut():
        traveller.stripe.fault("drop_before", match="/confirm$")
        campaign = traveller.open_campaign(use_backups=True)
        booking = ok(traveller.charge(campaign, traveller.offer()), 202)
    assert [attempt["status"] for attempt in booking["attempts"]] == ["declined", "started"]
    age(tamper, booking, "25 hours")

    reconcile.due(booking)

    ended = books(traveller, booking)
    assert (ended.booking, ended.attempts) == ("failed", ("declined", "voided"))
    assert (ended.intent, ended.charges, ended.reserved_and_spent) == ("canceled", ("failed",), (0, 0))


def test_a_payment_whose_bank_was_slow_and_whose_event_was_lost_is_asked_for(
    carded: Traveller, wire: Wire, tamper: Tamper, reconcile: Reconcile
) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    carded.stripe.change_card(carded.stripe_id(card), "processing", seconds=0.1)
    with wire.cut():
        booking = ok(carded.charge(carded.open_campaign(), carded.offer()), 202)
        until(lambda: carded.stripe.taken(carded.customer_id))
    assert mine(reconcile.job("due bookings"), booking) == [], "the bank is given an hour"
    assert carded.booking(booking)["status"] == "charging"
    age(tamper, booking, "61 minutes")

    (line,) = reconcile.due(booking)

    assert (line["step"], line["status"]) == ("look_up", "confirmed")


def test_money_that_reached_a_dead_booking_is_given_back(
    carded: Traveller, wire: Wire, tamper: Tamper, reconcile: Reconcile
) -> None:
    """The request was held up for more than a day, long after we had looked for it in vain; its webhook is lost too."""
    booking = lose_the_answer(carded, wire, BEFORE_THE_EFFECT)
    age(tamper, booking, "25 hours")
    reconcile.due(booking)
    assert carded.booking(booking)["status"] == "failed"
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    with wire.cut():
        carded.stripe.sdk.v1.payment_intents.create(
            {
                "amount": 12_000,
                "currency": "eur",
                "customer": carded.customer_id,
                "payment_method": carded.stripe_id(card),
                "allowed_payment_method_types": ["card"],
                "confirm": True,
                "off_session": True,
                "metadata": {"booking_id": booking["id"], "user_id": carded.id},
            }
        )

    assert mine(reconcile.job("payments"), booking) == [
        {"what": "payment_unsettled", "booking_id": booking["id"], "result": "late_success"}
    ]
    assert mine(reconcile.job("payments"), booking) == []
    (line,) = reconcile.due(booking)

    assert (line["what"], line["step"]) == ("to_be_refunded", "refund")
    carded.stripe.flush()
    ended = books(carded, booking)
    assert (ended.booking, ended.reserved_and_spent, ended.incidents) == ("failed", (0, 0), ("late_success",))
    (charge,) = carded.stripe.taken(carded.customer_id)
    assert charge["refunded"]

    reconcile()  # brings the payment's own events, which were lost so far
    assert books(carded, booking) == ended
    assert ended.attempts == ("voided", "succeeded")


# --- what time decides -----------------------------------------------------------------------------------------------


def test_an_overdue_authentication_ends_at_stripe_too(traveller: Traveller, reconcile: Reconcile) -> None:
    traveller.save_card(ASKS_ALWAYS)
    booking = ok(traveller.charge(traveller.open_campaign(), traveller.offer()), 202)
    traveller.stripe.flush()
    assert mine(reconcile()["due bookings"], booking) == []
    move_into_the_past(traveller, booking, "action_expires_at")

    report = reconcile()

    (line,) = mine(report["due bookings"], booking)
    assert (line["what"], line["step"], line["status"]) == ("authentication_overdue", "cancel", "failed")
    assert (books(traveller, booking).intent, books(traveller, booking).reserved_and_spent) == ("canceled", (0, 0))


def test_a_retry_is_taken_when_its_hour_has_come(carded: Traveller, reconcile: Reconcile) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    carded.stripe.change_card(carded.stripe_id(card), "insufficient_funds", times=1)
    booking = ok(carded.charge(carded.open_campaign(), carded.offer(expires_at=in_time(days=20))), 202)
    carded.stripe.flush()
    assert mine(reconcile()["due bookings"], booking) == []
    move_into_the_past(carded, booking, "retry_at")

    report = reconcile()

    (line,) = mine(report["due bookings"], booking)
    assert (line["what"], line["step"], line["status"]) == ("retry_due", "charge", "confirmed")
    assert books(carded, booking).attempts == ("declined", "succeeded")


def test_a_retry_backs_off_and_is_not_repeated_for_ever(carded: Traveller, reconcile: Reconcile) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    carded.stripe.change_card(carded.stripe_id(card), "insufficient_funds")
    booking = ok(carded.charge(carded.open_campaign(), carded.offer(expires_at=in_time(days=20))), 202)
    waits = []
    while carded.booking(booking)["status"] == "retry_scheduled":
        carded.stripe.flush()
        (wait,) = column(
            carded,
            "select extract(epoch from retry_at - now())::float from public.bookings where id = %s",
            booking["id"],
        )
        waits.append(wait)
        assert len(waits) <= 15, "no network allows more"
        move_into_the_past(carded, booking, "retry_at")
        reconcile.due(booking)

    # An hour, doubled each time, and up to a quarter more; a minute for the test itself.
    assert len(waits) >= 2
    assert all(3_600 * 2**n - 60 <= wait <= 3_600 * 2**n * 1.25 for n, wait in enumerate(waits))
    ended = books(carded, booking)
    assert (ended.booking, ended.intent) == ("failed", "canceled")
    assert ended.attempts == ("declined",) * (len(waits) + 1)
    assert len(ended.charges) == len(ended.attempts)


def test_a_retry_is_not_taken_for_an_offer_that_is_gone(carded: Traveller, reconcile: Reconcile) -> None:
    """Reconcile may have been away while the hour came and the offer went."""
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    carded.stripe.change_card(carded.stripe_id(card), "insufficient_funds", times=1)
    offer = carded.offer(expires_at=in_time(days=20))
    booking = ok(carded.charge(carded.open_campaign(), offer), 202)
    carded.stripe.flush()
    move_into_the_past(carded, booking, "retry_at")
    carded.db.execute("update public.offers set expires_at = now() - interval '1 minute' where id = %s", [offer["id"]])

    reconcile.due(booking)

    ended = books(carded, booking)
    assert ended.booking in ("failed", "cancelled")
    assert (ended.intent, ended.charges, ended.reserved_and_spent) == ("canceled", ("failed",), (0, 0))


@pytest.mark.parametrize("end", ["offer", "pause", "stop-all"])
def test_an_unknown_outcome_is_not_charged_anew_for_what_is_over(
    carded: Traveller, wire: Wire, reconcile: Reconcile, end: str
) -> None:
    """Stripe never heard of it: sending it again now would be a new charge, which nobody wants any more."""
    booking = lose_the_answer(carded, wire, BEFORE_THE_EFFECT)
    if end == "offer":
        carded.db.execute(
            "update public.offers set expires_at = now() - interval '1 minute' where id = %s", [booking["offer_id"]]
        )
    elif end == "pause":
        ok(carded.api.post(f"/campaigns/{booking['campaign_id']}/pause"))
    else:
        ok(carded.api.post("/campaigns/stop-all"))

    reconcile.due(booking)

    ended = books(carded, booking)
    assert ended.booking in ("failed", "cancelled")
    assert (ended.intent, ended.charges, ended.reserved_and_spent) == (None, (), (0, 0))


def test_a_retry_does_not_use_a_card_that_was_barred_meanwhile(carded: Traveller, reconcile: Reconcile) -> None:
    """Another booking's decline said "do not try again" of the same card."""
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    carded.stripe.change_card(carded.stripe_id(card), "insufficient_funds", times=1)
    waiting = ok(carded.charge(carded.open_campaign(), carded.offer(expires_at=in_time(days=20))), 202)
    carded.stripe.change_card(carded.stripe_id(card), "stolen_card", times=1)
    assert carded.charge(carded.open_campaign(), carded.offer()).status_code == 402
    carded.stripe.flush()
    move_into_the_past(carded, waiting, "retry_at")

    reconcile.due(waiting)

    ended = books(carded, waiting)
    assert ended.booking in ("failed", "cancelled")
    assert (ended.intent, ended.charges) == ("canceled", ("failed",))


def test_a_campaign_whose_time_is_over_expires_and_is_told_of_once(carded: Traveller, reconcile: Reconcile) -> None:
    campaign, other = carded.open_campaign(), carded.open_campaign()
    carded.db.execute("update public.campaigns set expires_at = now() where id = %s", [campaign["id"]])

    assert len(reconcile()["campaigns"]) == 1
    assert reconcile()["campaigns"] == []

    assert carded.campaign(campaign)["status"] == "expired"
    assert carded.campaign(other)["status"] == "active"
    assert carded.notified() == ["campaign_expired"]


def test_a_card_that_expires_before_its_campaign_is_warned_of_once(
    carded: Traveller, tamper: Tamper, reconcile: Reconcile
) -> None:
    carded.open_campaign(expires_at=in_time(days=60))
    assert reconcile()["cards"] == []
    tamper(
        "update public.payment_methods set exp_month = extract(month from now()), exp_year = extract(year from now()) "
        "where user_id = %s",
        carded.id,
    )

    assert len(reconcile()["cards"]) == 1
    assert reconcile()["cards"] == []

    assert carded.notified() == ["card_expiring"]


def test_a_card_that_outlives_its_campaigns_is_not_warned_of(
    carded: Traveller, tamper: Tamper, reconcile: Reconcile
) -> None:
    campaign = carded.open_campaign(expires_at=in_time(hours=1))
    paused = carded.open_campaign(expires_at=in_time(days=60))
    ok(carded.api.post(f"/campaigns/{paused['id']}/pause"))
    tamper(
        "update public.payment_methods set exp_month = extract(month from now() + interval '1 month'), "
        "exp_year = extract(year from now() + interval '1 month') where user_id = %s",
        carded.id,
    )

    assert reconcile()["cards"] == []
    assert carded.campaign(campaign)["status"] == "active"


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
