"""An unknown outcome is not a failure: Stripe breaks, hangs or goes silent, before or after it has charged."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.fixtures import OpenGateway
from tests.support.http import Caller, ok, refused
from tests.support.stripe_side import StripeSide
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import MASTERCARD, Json, Traveller
from tests.support.waiting import until

PAYMENTS = "/v1/payment_intents$"
SHORT_SECONDS = "0.5"
"""How long the functions wait for Stripe in these tests; the stand-in hangs for longer."""

# What befalls the request, and how it is brought about. 500s are replayed under their key, as Stripe documents.
NOT_DONE: dict[str, Json] = {
    "500, not remembered": {"kind": "error_before", "remember": False},
    "time-out": {"kind": "timeout_before", "seconds": 2},
    "dropped": {"kind": "drop_before"},
    "rate limit": {"kind": "rate_limit"},
    "lock time-out": {"kind": "lock_timeout"},
}
DONE: dict[str, Json] = {
    "500, not remembered": {"kind": "error_after", "remember": False},
    "time-out": {"kind": "timeout_after", "seconds": 2},
    "dropped": {"kind": "drop_after"},
}
DONE_AND_500: Json = {"kind": "error_after"}


@pytest.fixture
def impatient(carded: Traveller, gateway_with: OpenGateway) -> Traveller:
    """A traveller whose calls go through functions that wait half a second for Stripe."""
    carded.api = carded.api.over(gateway_with(STRIPE_TIMEOUT_SECONDS=SHORT_SECONDS))
    return carded


def charge_into(fault: Json, traveller: Traveller, stripe_side: StripeSide) -> tuple[Json, Json, Json]:
    """Charge while Stripe is broken: the campaign, the offer and the booking, of which nothing may be decided."""
    campaign, offer = traveller.open_campaign(), traveller.offer()
    stripe_side.hold()
    stripe_side.fault(match=PAYMENTS, **fault)

    booking = ok(traveller.charge(campaign, offer), 202)

    assert booking["status"] == "charging"
    assert [attempt["status"] for attempt in booking["attempts"]] == ["started"]
    assert booking["user_message"] is None
    assert traveller.ledger(campaign) == [("reserve", 12_000)]
    assert traveller.campaign(campaign)["status"] == "active"
    assert traveller.notified() == []
    return campaign, offer, booking


def assert_booked_once(traveller: Traveller, booking: Json, stripe_side: StripeSide) -> None:
    """One PaymentIntent, one charge, one confirmed booking with one attempt."""
    shown = traveller.booking(booking)
    assert shown["status"] == "confirmed"
    assert [attempt["status"] for attempt in shown["attempts"]] == ["succeeded"]
    assert len(stripe_side.intents(traveller.customer_id)) == 1
    assert len(stripe_side.charges(traveller.customer_id)) == 1
    assert traveller.notified() == ["booking_confirmed"]


@pytest.mark.parametrize("fault", [*DONE.values(), DONE_AND_500], ids=[*DONE, "500"])
def test_after_the_effect_the_webhook_settles_it(impatient: Traveller, stripe_side: StripeSide, fault: Json) -> None:
    _, _, booking = charge_into(fault, impatient, stripe_side)
    assert len(stripe_side.taken(impatient.customer_id)) == 1

    stripe_side.flush()

    assert_booked_once(impatient, booking, stripe_side)


@pytest.mark.parametrize("fault", DONE.values(), ids=DONE)
def test_after_the_effect_a_repeat_of_the_call_settles_it(
    impatient: Traveller, stripe_side: StripeSide, fault: Json
) -> None:
    campaign, offer, booking = charge_into(fault, impatient, stripe_side)

    again = ok(impatient.charge(campaign, offer), 200)

    assert (again["id"], again["status"]) == (booking["id"], "confirmed")
    assert_booked_once(impatient, booking, stripe_side)
    stripe_side.flush()
    assert_booked_once(impatient, booking, stripe_side)


@pytest.mark.parametrize("fault", NOT_DONE.values(), ids=NOT_DONE)
def test_before_the_effect_a_repeat_of_the_call_charges(
    impatient: Traveller, stripe_side: StripeSide, fault: Json
) -> None:
    campaign, offer, booking = charge_into(fault, impatient, stripe_side)
    assert stripe_side.intents(impatient.customer_id) == []

    again = ok(impatient.charge(campaign, offer), 200)

    assert (again["id"], again["status"]) == (booking["id"], "confirmed")
    assert_booked_once(impatient, booking, stripe_side)


def test_a_500_that_stripe_replays_is_looked_behind(carded: Traveller, stripe_side: StripeSide) -> None:
    """The answer under the key never changes, so the payment itself is asked what became of it, in the same call."""
    campaign, offer, booking = charge_into(DONE_AND_500, carded, stripe_side)

    again = ok(carded.charge(campaign, offer), 200)

    assert (again["id"], again["status"]) == (booking["id"], "confirmed")
    assert_booked_once(carded, booking, stripe_side)


def test_a_payment_that_a_replayed_500_hides_is_waited_for_and_never_sent_anew(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    """Stripe may still make it good (https://docs.stripe.com/error-low-level#server-errors): another key could charge
    twice, and giving up at once would tell a cardholder what is not known yet."""
    campaign, offer, booking = charge_into({"kind": "error_before"}, carded, stripe_side)
    assert ok(carded.charge(campaign, offer), 202)["status"] == "charging"

    with stripe_side.watched() as requests:
        for _ in range(3):
            assert ok(carded.charge(campaign, offer), 202)["status"] == "charging"
    assert {request["method"] for request in requests} == {"GET"}
    assert carded.notified() == []

    patience_ends(carded, booking)
    again = ok(carded.charge(campaign, offer), 200)

    assert (again["id"], again["status"]) == (booking["id"], "failed")
    assert stripe_side.intents(carded.customer_id) == []
    assert carded.ledger(campaign) == [("reserve", 12_000), ("release", 12_000)]
    assert carded.notified() == ["booking_failed"]
    assert carded.campaign(campaign)["status"] == "active"


def test_a_second_card_whose_500_is_replayed_is_not_sent_again_and_its_payment_cancelled(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    carded.save_card(MASTERCARD)
    stripe_side.change_card(carded.stripe_id(card), "do_not_honor", times=1)
    campaign, offer = carded.open_campaign(use_backups=True), carded.offer()
    stripe_side.hold()
    stripe_side.fault("error_before", match="/confirm$")

    booking = ok(carded.charge(campaign, offer), 202)
    for _ in range(2):
        assert ok(carded.charge(campaign, offer), 202)["status"] == "charging"
    patience_ends(carded, booking)
    again = ok(carded.charge(campaign, offer), 200)

    assert [attempt["status"] for attempt in again["attempts"]] == ["declined", "voided"]
    assert again["status"] == "failed"
    (intent,) = stripe_side.intents(carded.customer_id)
    assert intent["status"] == "canceled"
    assert stripe_side.taken(carded.customer_id) == []


def test_a_second_card_whose_500_hides_a_success_has_booked(carded: Traveller, stripe_side: StripeSide) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    carded.save_card(MASTERCARD)
    stripe_side.change_card(carded.stripe_id(card), "do_not_honor", times=1)
    campaign, offer = carded.open_campaign(use_backups=True), carded.offer()
    stripe_side.hold()
    stripe_side.fault("error_after", match="/confirm$")
    assert ok(carded.charge(campaign, offer), 202)["status"] == "charging"

    again = ok(carded.charge(campaign, offer), 200)

    assert [attempt["status"] for attempt in again["attempts"]] == ["declined", "succeeded"]
    assert again["status"] == "confirmed"
    assert len(stripe_side.taken(carded.customer_id)) == 1


def test_a_hold_that_a_replayed_500_hid_is_captured_like_any_other(
    carded: Traveller, machine: Caller, stripe_side: StripeSide
) -> None:
    """It was looked up for ever instead, until the bank let the money go."""
    campaign, offer = carded.open_campaign(capture="manual"), carded.offer()
    stripe_side.hold()
    stripe_side.fault(**DONE_AND_500, match=PAYMENTS)
    booking = ok(carded.charge(campaign, offer), 202)
    assert ok(carded.charge(campaign, offer), 200)["status"] == "authorized"

    captured = ok(machine.post(f"/bookings/{booking['id']}/capture", {}))

    assert captured["status"] == "confirmed"
    assert len(stripe_side.taken(carded.customer_id)) == 1


def test_a_decline_that_a_replayed_500_hides_is_a_decline(carded: Traveller, stripe_side: StripeSide) -> None:
    """The next card is charged, on the same PaymentIntent."""
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    carded.save_card(MASTERCARD)
    stripe_side.change_card(carded.stripe_id(card), "do_not_honor", times=1)
    campaign, offer = carded.open_campaign(use_backups=True), carded.offer()
    stripe_side.hold()
    stripe_side.fault(**DONE_AND_500, match=PAYMENTS)
    assert ok(carded.charge(campaign, offer), 202)["status"] == "charging"

    again = ok(carded.charge(campaign, offer), 200)

    assert [attempt["status"] for attempt in again["attempts"]] == ["declined", "succeeded"]
    assert len(stripe_side.intents(carded.customer_id)) == 1
    assert len(stripe_side.taken(carded.customer_id)) == 1


def test_who_cancels_while_a_replayed_500_is_waited_for_is_not_kept_waiting(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    campaign, offer, booking = charge_into({"kind": "error_before"}, carded, stripe_side)
    assert ok(carded.charge(campaign, offer), 202)["status"] == "charging"

    cancelled = ok(carded.api.post(f"/bookings/{booking['id']}/cancel"))

    assert cancelled["status"] == "cancelled"
    assert carded.ledger(campaign) == [("reserve", 12_000), ("release", 12_000)]


def patience_ends(traveller: Traveller, booking: Json) -> None:
    """As if Stripe had replayed its 500 for the first time an hour ago."""
    marked = traveller.rows(
        "update public.attempts set replayed_error_at = replayed_error_at - interval '1 hour' "
        "where booking_id = %s and replayed_error_at is not null returning id",
        booking["id"],
    )
    assert len(marked) == 1


def test_a_decline_whose_answer_got_lost_is_replayed_not_tried_again(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    stripe_side.change_card(carded.stripe_id(card), "do_not_honor", times=1)
    campaign, offer, booking = charge_into({"kind": "drop_after"}, carded, stripe_side)

    again = ok(carded.charge(campaign, offer), 200)

    assert (again["id"], again["status"]) == (booking["id"], "failed")
    assert len(stripe_side.charges(carded.customer_id)) == 1


def test_a_lost_decline_is_settled_by_its_webhook(carded: Traveller, stripe_side: StripeSide) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    stripe_side.change_card(carded.stripe_id(card), "do_not_honor", times=1)
    campaign, _, booking = charge_into({"kind": "drop_after"}, carded, stripe_side)

    stripe_side.flush()

    shown = carded.booking(booking)
    assert (shown["status"], shown["attempts"][0]["status"]) == ("failed", "declined")
    (intent,) = stripe_side.intents(carded.customer_id)
    assert intent["status"] == "canceled"
    assert carded.campaign(campaign)["pause_reason"] == "payment_failed"


def test_a_call_while_the_first_is_still_under_way_waits_for_nothing(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    """The second caller is told 202 at once: the step is leased to the first, and Stripe is not asked twice."""
    campaign, offer = carded.open_campaign(), carded.offer()
    stripe_side.hold()
    begun = carded.rows("select public.begin_charge(%s, %s)", campaign["id"], offer["id"])[0][0]
    assert begun["next"]["do"] == "charge"

    with stripe_side.watched() as requests:
        waiting = ok(carded.charge(campaign, offer), 202)

    assert waiting["status"] == "charging"
    assert requests == []
    # The first caller never comes back: when its lease is over, anybody may go on.
    carded.db.execute("update public.bookings set leased_until = now() where campaign_id = %s", [campaign["id"]])
    assert ok(carded.charge(campaign, offer), 200)["status"] == "confirmed"


def test_a_replay_while_stripe_is_still_at_the_first_call_is_unknown_and_no_failure(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    """Stripe answers 409 to a key that is in use (https://docs.stripe.com/api/idempotent_requests)."""
    campaign, offer = carded.open_campaign(), carded.offer()
    stripe_side.hold()
    stripe_side.control("DELETE", "/requests")
    stripe_side.fault("latency", match=PAYMENTS, seconds=1.5)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(carded.charge, campaign, offer)
        until(lambda: stripe_side.control("GET", "/requests")["count"])
        carded.db.execute("update public.bookings set leased_until = null where campaign_id = %s", [campaign["id"]])
        second = ok(carded.charge(campaign, offer), 202)
        booking = ok(first.result(), 201)

    assert (second["id"], second["status"]) == (booking["id"], "charging")
    assert [request["status"] for request in stripe_side.control("GET", "/requests")["data"]] == [200, 409]
    assert_booked_once(carded, booking, stripe_side)


# --- our own database --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["drop_connection", "http_503", "error:57P03", "error:40P01"])
def test_without_a_database_nothing_is_begun(
    carded: Traveller, stripe_side: StripeSide, supabase_side: SupabaseSide, action: str
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    when = "before_commit" if action == "error:40P01" else "before"
    supabase_side.fault("/rest/v1/rpc/begin_charge", action, when=when)

    answer = carded.charge(campaign, offer)

    refused(answer, 503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert carded.bookings() == []
    assert stripe_side.intents(carded.customer_id) == []
    assert carded.book(campaign, offer)["status"] == "confirmed"


def test_a_begin_whose_answer_got_lost_is_gone_on_with(
    carded: Traveller, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    supabase_side.fault("/rest/v1/rpc/begin_charge", "drop_connection", when="after_commit")
    refused(carded.charge(campaign, offer), 503, "database_unavailable")
    (booking,) = carded.bookings()
    assert booking["status"] == "charging"
    assert stripe_side.intents(carded.customer_id) == []

    assert ok(carded.charge(campaign, offer), 202)["id"] == booking["id"]  # leased to the one who went away
    carded.db.execute("update public.bookings set leased_until = now() where id = %s", [booking["id"]])
    assert ok(carded.charge(campaign, offer), 200)["status"] == "confirmed"
    assert_booked_once(carded, booking, stripe_side)


@pytest.mark.parametrize("when", ["before", "before_commit", "after_commit"])
def test_a_moment_without_the_database_after_the_charge_is_bridged(
    carded: Traveller, stripe_side: StripeSide, supabase_side: SupabaseSide, when: str
) -> None:
    stripe_side.hold()
    supabase_side.fault("/rest/v1/rpc/settle_payment", "drop_connection", when=when)

    booking = carded.book(carded.open_campaign())

    assert_booked_once(carded, booking, stripe_side)


def test_a_charge_that_could_not_be_recorded_is_found_again(
    carded: Traveller, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    stripe_side.hold()
    supabase_side.fault("/rest/v1/rpc/settle_payment", "http_503", times=None)
    booking = ok(carded.charge(campaign, offer), 202)
    assert booking["status"] == "charging"
    assert len(stripe_side.taken(carded.customer_id)) == 1
    supabase_side.heal()

    stripe_side.flush()

    assert_booked_once(carded, booking, stripe_side)
