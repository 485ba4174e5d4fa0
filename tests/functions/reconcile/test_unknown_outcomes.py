"""What became of a charge of which nobody knows: asked for once, and never charged anew."""

import pytest

from tests.functions.reconcile.conftest import Tamper
from tests.functions.reconcile.open_ends import AFTER_THE_EFFECT, BEFORE_THE_EFFECT, age, lose_the_answer, mine
from tests.support.aftermath import RELEASED, RESERVED, Reconcile, Wire, books, column
from tests.support.http import ok
from tests.support.travellers import MASTERCARD, SAVES_THEN_DECLINES, Json, Traveller
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("quiet")


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
