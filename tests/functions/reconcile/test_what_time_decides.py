"""What is due because its time has come: retries, authentications, campaigns and cards that end."""

import pytest

from tests.functions.reconcile.conftest import Tamper
from tests.functions.reconcile.open_ends import BEFORE_THE_EFFECT, lose_the_answer, mine
from tests.support.aftermath import Reconcile, Wire, books, column, move_into_the_past
from tests.support.http import ok
from tests.support.travellers import ASKS_ALWAYS, Traveller, in_time

pytestmark = pytest.mark.usefixtures("quiet")


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
