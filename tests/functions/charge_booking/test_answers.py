"""What POST /charge-booking answers, and why: every status and every refusal code."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.http import Caller, ok, refused
from tests.support.stripe_side import StripeSide
from tests.support.travellers import (
    ASKS_ALWAYS,
    MASTERCARD,
    MakeTraveller,
    Traveller,
    in_time,
    unique,
)

BOOKING = {
    "id",
    "campaign_id",
    "offer_id",
    "status",
    "amount_minor",
    "currency",
    "amount_refunded_minor",
    "capture",
    "attempts",
    "user_message",
    "expires_at",
    "retry_at",
    "confirmed_at",
    "created_at",
}


def nothing_was_begun(traveller: Traveller) -> bool:
    """No booking, and nothing of it at Stripe."""
    return traveller.bookings() == [] and traveller.stripe.intents(traveller.customer_id) == []


def test_a_card_that_pays_is_a_201_with_the_confirmed_booking(carded: Traveller) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()

    booking = ok(carded.charge(campaign, offer), 201)

    assert set(booking) == BOOKING
    assert (booking["campaign_id"], booking["offer_id"]) == (campaign["id"], offer["id"])
    assert (booking["status"], booking["amount_minor"], booking["currency"]) == ("confirmed", 12_000, "eur")
    assert [attempt["status"] for attempt in booking["attempts"]] == ["succeeded"]
    assert booking["user_message"] is None
    assert carded.booking(booking) == booking


def test_a_hold_is_a_201_with_the_authorized_booking(carded: Traveller, stripe_side: StripeSide) -> None:
    campaign = carded.open_campaign(capture="manual")

    booking = ok(carded.charge(campaign, carded.offer()), 201)

    assert booking["status"] == "authorized"
    assert booking["expires_at"] is not None
    (intent,) = stripe_side.intents(carded.customer_id)
    assert (intent["status"], intent["amount_received"]) == ("requires_capture", 0)
    assert carded.campaign(campaign)["reserved_minor"] == 12_000


def test_a_repeat_is_a_200_with_the_same_booking(carded: Traveller) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    first = ok(carded.charge(campaign, offer), 201)

    assert ok(carded.charge(campaign, offer), 200) == first


def test_a_repeat_after_a_decline_is_a_200_with_the_failed_booking(carded: Traveller, stripe_side: StripeSide) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    stripe_side.change_card(carded.stripe_id(card), "generic_decline")
    campaign, offer = carded.open_campaign(), carded.offer()
    problem = refused(carded.charge(campaign, offer), 402, "payment_failed")

    again = ok(carded.charge(campaign, offer), 200)

    assert again["status"] == "failed"
    assert again["user_message"] == problem["user_message"]
    assert len(stripe_side.intents(carded.customer_id)) == 1


def test_a_bank_that_wants_its_cardholder_is_a_202(traveller: Traveller) -> None:
    traveller.save_card(ASKS_ALWAYS)
    campaign = traveller.open_campaign()

    booking = ok(traveller.charge(campaign, traveller.offer()), 202)

    assert booking["status"] == "requires_action"
    assert booking["expires_at"] is not None
    assert booking["user_message"]
    assert [attempt["status"] for attempt in booking["attempts"]] == ["requires_action"]


def test_a_bank_that_takes_its_time_is_a_202_and_the_webhook_confirms(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    stripe_side.change_card(carded.stripe_id(card), "processing", seconds=60)
    campaign = carded.open_campaign()

    booking = ok(carded.charge(campaign, carded.offer()), 202)
    assert booking["status"] == "charging"
    assert [attempt["status"] for attempt in booking["attempts"]] == ["processing"]

    stripe_side.control("POST", "/clock", {"advance_seconds": 61})
    stripe_side.flush()
    assert carded.booking(booking)["status"] == "confirmed"


def test_a_decline_that_may_pass_is_a_202_with_a_time_for_the_next_try(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    stripe_side.change_card(carded.stripe_id(card), "insufficient_funds")
    campaign = carded.open_campaign()

    booking = ok(carded.charge(campaign, carded.offer(expires_at=in_time(days=20))), 202)

    assert booking["status"] == "retry_scheduled"
    assert booking["retry_at"] > booking["created_at"]
    assert booking["user_message"]
    assert carded.campaign(campaign)["status"] == "active"
    assert carded.campaign(campaign)["reserved_minor"] == 12_000


def test_a_machine_may_charge_any_campaign(carded: Traveller, machine: Caller) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()

    booking = ok(machine.post("/charge-booking", {"campaign_id": campaign["id"], "offer_id": offer["id"]}), 201)

    assert carded.booking(booking)["status"] == "confirmed"


# --- 409 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("campaign", "offer", "code"),
    [
        ({"criteria": {"trip": "another"}}, {}, "criteria_mismatch"),
        ({}, {"amount_minor": 15_001}, "over_max_price"),
        ({}, {"currency": "usd"}, "currency_mismatch"),
        ({}, {"expires_at": in_time(seconds=-1)}, "offer_expired"),
        ({}, {"amount_minor": 49}, "amount_below_minimum"),
    ],
)
def test_what_does_not_fit_is_refused_before_stripe_hears_of_it(
    carded: Traveller, campaign: dict[str, Any], offer: dict[str, Any], code: str
) -> None:
    opened = carded.open_campaign(**campaign)

    refused(carded.charge(opened, carded.offer(**offer)), 409, code)

    assert nothing_was_begun(carded)
    assert carded.ledger(opened) == []


def test_a_price_at_the_limit_and_a_budget_to_the_cent_are_taken(carded: Traveller) -> None:
    campaign = carded.open_campaign(max_price_minor=12_000, budget_minor=12_000)

    assert carded.book(campaign)["status"] == "confirmed"
    assert carded.campaign(campaign)["status"] == "completed"


def test_a_budget_that_does_not_cover_it_is_refused(carded: Traveller) -> None:
    campaign = carded.open_campaign(budget_minor=23_999)
    carded.book(campaign)

    refused(carded.charge(campaign, carded.offer()), 409, "over_budget")

    assert len(carded.bookings()) == 1


def test_no_more_bookings_than_wanted(carded: Traveller) -> None:
    # The second booking is still in flight, so the campaign is not completed yet.
    campaign = carded.open_campaign(max_bookings=2, capture="manual")
    carded.book(campaign)
    carded.book(campaign)

    refused(carded.charge(campaign, carded.offer()), 409, "max_bookings_reached")


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_a_campaign_that_was_stopped_charges_nothing(carded: Traveller, action: str) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    ok(carded.api.post(f"/campaigns/{campaign['id']}/{action}"))

    refused(carded.charge(campaign, offer), 409, "campaign_not_active")

    assert nothing_was_begun(carded)


def test_a_campaign_whose_time_is_over_charges_nothing(carded: Traveller) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    carded.db.execute("update public.campaigns set expires_at = now() where id = %s", [campaign["id"]])

    refused(carded.charge(campaign, offer), 409, "campaign_not_active")


def test_without_a_card_nothing_is_charged(traveller: Traveller) -> None:
    campaign = traveller.open_campaign()

    refused(traveller.charge(campaign, traveller.offer()), 409, "no_usable_card")

    assert traveller.bookings() == []


def test_a_campaigns_own_card_is_not_replaced_by_another_without_consent(traveller: Traveller) -> None:
    chosen = traveller.save_card()
    traveller.save_card(MASTERCARD)
    campaign = traveller.open_campaign(payment_method_id=chosen["id"])
    traveller.db.execute(
        "update public.payment_methods set status = 'unusable', unusable_reason = 'expired_card' where id = %s",
        [chosen["id"]],
    )

    refused(traveller.charge(campaign, traveller.offer()), 409, "no_usable_card")


@pytest.fixture
def strict_limits(stack_db: psycopg.Connection) -> Iterator[None]:
    """Two bookings an hour and one card a day; the other tests of this worker are not at work meanwhile."""
    before = stack_db.execute(
        "select velocity_bookings_per_hour, velocity_cards_per_day from internal.settings"
    ).fetchone()
    update = "update internal.settings set velocity_bookings_per_hour = %s, velocity_cards_per_day = %s"
    stack_db.execute(update, [2, 1])
    yield
    stack_db.execute(update, before)


@pytest.mark.usefixtures("strict_limits")
def test_too_many_bookings_in_an_hour_are_refused(carded: Traveller) -> None:
    campaign, other = carded.open_campaign(), carded.open_campaign()
    carded.book(campaign)
    carded.book(other)

    refused(carded.charge(campaign, carded.offer()), 409, "velocity_limit")

    carded.db.execute(
        "update public.bookings set created_at = created_at - interval '1 hour' where user_id = %s", [carded.id]
    )
    carded.book(campaign)


@pytest.mark.usefixtures("strict_limits")
def test_too_many_cards_in_a_day_are_refused(carded: Traveller) -> None:
    carded.book(carded.open_campaign())
    second = carded.save_card(MASTERCARD)
    campaign = carded.open_campaign(payment_method_id=second["id"])

    refused(carded.charge(campaign, carded.offer()), 409, "velocity_limit")


# --- 404, 401, 422 ---------------------------------------------------------------------------------------------------


def test_what_does_not_exist_or_is_anothers_is_a_404(make_traveller: MakeTraveller) -> None:
    owner, stranger = make_traveller(), make_traveller()
    owner.save_card()
    stranger.save_card()
    campaign, offer = owner.open_campaign(), owner.offer()

    stolen = refused(stranger.charge(campaign, offer), 404, "campaign_not_found")
    absent = refused(stranger.charge({"id": "00000000-0000-4000-8000-000000000000"}, offer), 404, "campaign_not_found")
    assert stolen == absent
    refused(owner.charge(campaign, {"id": unique("offer")}), 404, "offer_not_found")

    assert nothing_was_begun(owner)
    assert nothing_was_begun(stranger)


def test_a_token_counts_before_a_signature(make_traveller: MakeTraveller, machine: Caller) -> None:
    """Who signs in as a user is one, even when the request carries a machine's signature beside it."""
    owner, stranger = make_traveller(), make_traveller()
    owner.save_card()
    campaign, offer = owner.open_campaign(), owner.offer()
    body = {"campaign_id": campaign["id"], "offer_id": offer["id"]}

    answer = machine.post("/charge-booking", body, authorization=f"Bearer {stranger.user.access_token}")

    refused(answer, 404, "campaign_not_found")


def test_nobody_charges_without_saying_who(carded: Traveller, anonymous: Caller, machine: Caller) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    body = {"campaign_id": campaign["id"], "offer_id": offer["id"]}
    refused(anonymous.post("/charge-booking", body), 401, "unauthenticated")
    forger = Caller(machine.http, signing_secret="absec_not_the_secret")
    refused(forger.post("/charge-booking", body), 401, "machine_signature_invalid")

    assert nothing_was_begun(carded)


_ID = "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (None, 400, "missing_body"),
        (b"campaign", 400, "malformed_json"),
        ({}, 422, "invalid_request"),
        ({"campaign_id": _ID}, 422, "invalid_request"),
        ({"campaign_id": "mine", "offer_id": "o1"}, 422, "invalid_request"),
        ({"campaign_id": _ID, "offer_id": ""}, 422, "invalid_request"),
        ({"campaign_id": _ID, "offer_id": "o1; drop table"}, 422, "invalid_request"),
        ({"campaign_id": _ID, "offer_id": 7}, 422, "invalid_request"),
        ({"campaign_id": _ID, "offer_id": "o1", "amount_minor": 1}, 422, "invalid_request"),
        ({"campaign_id": _ID, "offer_id": "o1", "currency": "usd"}, 422, "invalid_request"),
        ({"campaign_id": _ID, "offer_id": "o1", "payment_method_id": _ID}, 422, "invalid_request"),
    ],
)
def test_what_is_no_charge_request_is_refused(traveller: Traveller, body: Any, status: int, code: str) -> None:
    refused(traveller.api.post("/charge-booking", body), status, code)
