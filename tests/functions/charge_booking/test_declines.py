"""A card that is declined: the books, the sentence, the campaign, and what is left at Stripe."""

from typing import Any

import pytest

from tests.support.http import ok, refused
from tests.support.stripe_side import StripeSide
from tests.support.travellers import MASTERCARD, SAVES_THEN_DECLINES, VISA, Json, Traveller, in_time

SOON: dict[str, Any] = {"expires_at": in_time(minutes=30)}
"""An offer that will be gone before any bank should be asked again."""


def declined(traveller: Traveller, campaign: Json, **offer: Any) -> Json:
    """Charge a card that is declined for good: the booking, whose every book must be closed."""
    posted = traveller.offer(**SOON | offer)
    problem = refused(traveller.charge(campaign, posted), 402, "payment_failed")

    booking = traveller.booking(problem["booking"])
    assert booking["status"] == "failed"
    assert problem["user_message"] == booking["user_message"]
    assert problem["booking"] == booking
    (intent,) = traveller.stripe.intents(traveller.customer_id)
    assert intent["status"] == "canceled"
    assert traveller.ledger(campaign) == [("reserve", 12_000), ("release", 12_000)]
    shown = traveller.campaign(campaign)
    assert (shown["status"], shown["reserved_minor"], shown["spent_minor"]) == ("paused", 0, 0)
    assert (shown["bookings_in_flight"], shown["bookings_confirmed"]) == (0, 0)
    assert [entry["booking"]["status"] for entry in traveller.timeline(campaign)] == ["failed"]
    return booking


def test_a_card_that_saves_and_declines_later(traveller: Traveller) -> None:
    """…0341: attaching it succeeds, charging it fails (https://docs.stripe.com/testing#declined-payments)."""
    card = traveller.save_card(SAVES_THEN_DECLINES)
    campaign = traveller.open_campaign()

    booking = declined(traveller, campaign)

    (attempt,) = booking["attempts"]
    assert (attempt["status"], attempt["payment_method_id"]) == ("declined", card["id"])
    assert attempt["user_message"] == booking["user_message"]
    assert traveller.campaign(campaign)["pause_reason"] == "payment_failed"
    assert traveller.notified() == ["booking_failed"]
    assert ok(traveller.api.get("/payment-methods"))["data"][0]["status"] == "usable"


@pytest.mark.parametrize(
    ("behaviour", "words", "card_status", "pause_reason", "told"),
    [
        ("insufficient_funds", "not enough money", "usable", "payment_failed", ["booking_failed"]),
        ("lost_card", "contact your bank", "unusable", "card_unusable", ["booking_failed", "card_unusable"]),
        ("stolen_card", "contact your bank", "unusable", "card_unusable", ["booking_failed", "card_unusable"]),
        ("fraudulent", "contact your bank", "unusable", "card_unusable", ["booking_failed", "card_unusable"]),
        ("expire", "expired", "unusable", "card_unusable", ["booking_failed", "card_unusable"]),
    ],
)
def test_every_reason_has_its_sentence_and_its_consequence(
    traveller: Traveller,
    stripe_side: StripeSide,
    behaviour: str,
    words: str,
    card_status: str,
    pause_reason: str,
    told: list[str],
) -> None:
    card = traveller.save_card(VISA)
    campaign = traveller.open_campaign()
    stripe_side.change_card(traveller.stripe_id(card), behaviour)

    booking = declined(traveller, campaign)

    assert words in booking["user_message"]
    assert ok(traveller.api.get("/payment-methods"))["data"][0]["status"] == card_status
    assert traveller.campaign(campaign)["pause_reason"] == pause_reason
    stripe_side.flush()
    assert sorted(traveller.notified()) == told


@pytest.mark.parametrize("behaviour", ["lost_card", "stolen_card", "fraudulent", "pickup_card"])
def test_a_suspicion_is_never_spelt_out(traveller: Traveller, stripe_side: StripeSide, behaviour: str) -> None:
    """Whoever holds a stolen card must not learn that it is known to be stolen (docs.stripe.com/declines/codes)."""
    card = traveller.save_card(VISA)
    campaign = traveller.open_campaign()
    stripe_side.change_card(traveller.stripe_id(card), behaviour)
    booking = declined(traveller, campaign)
    generic = traveller.save_card(MASTERCARD)
    stripe_side.change_card(traveller.stripe_id(generic), "generic_decline")

    everything = "".join(
        traveller.api.get(path).text
        for path in (
            f"/bookings/{booking['id']}",
            "/bookings",
            f"/campaigns/{campaign['id']}",
            f"/campaigns/{campaign['id']}/timeline",
            f"/campaigns/{campaign['id']}/preflight",
            "/payment-methods",
        )
    ).lower()

    assert not any(word in everything for word in ("lost", "stolen", "fraud", "pickup", "theft", "suspicio"))
    # The same words as for a decline that means nothing in particular.
    second = traveller.open_campaign(payment_method_id=generic["id"])
    problem = refused(traveller.charge(second, traveller.offer(**SOON)), 402, "payment_failed")
    assert problem["user_message"] == booking["user_message"]


def test_an_unusable_card_is_not_charged_again(traveller: Traveller, stripe_side: StripeSide) -> None:
    card = traveller.save_card()
    campaign = traveller.open_campaign()
    stripe_side.change_card(traveller.stripe_id(card), "lost_card")
    declined(traveller, campaign)
    ok(traveller.api.post(f"/campaigns/{campaign['id']}/resume"))

    refused(traveller.charge(campaign, traveller.offer()), 409, "no_usable_card")

    assert len(stripe_side.charges(traveller.customer_id)) == 1


def test_a_backup_pays_on_the_same_paymentintent_where_the_user_agreed(
    traveller: Traveller, stripe_side: StripeSide
) -> None:
    first, backup = traveller.save_card(SAVES_THEN_DECLINES), traveller.save_card(MASTERCARD)
    campaign = traveller.open_campaign(use_backups=True)

    booking = ok(traveller.charge(campaign, traveller.offer(**SOON)), 201)

    assert [(each["status"], each["payment_method_id"]) for each in booking["attempts"]] == [
        ("declined", first["id"]),
        ("succeeded", backup["id"]),
    ]
    assert booking["user_message"] is None
    (intent,) = stripe_side.intents(traveller.customer_id)
    assert intent["payment_method"] == traveller.stripe_id(backup)
    assert [charge["status"] for charge in stripe_side.charges(traveller.customer_id)] == ["succeeded", "failed"]
    assert traveller.campaign(campaign)["status"] == "active"


def test_a_backup_is_not_charged_without_agreement(traveller: Traveller, stripe_side: StripeSide) -> None:
    traveller.save_card(SAVES_THEN_DECLINES)
    traveller.save_card(MASTERCARD)

    declined(traveller, traveller.open_campaign(use_backups=False))

    assert len(stripe_side.charges(traveller.customer_id)) == 1


def test_a_suspicion_of_fraud_charges_no_backup(traveller: Traveller, stripe_side: StripeSide) -> None:
    card = traveller.save_card()
    traveller.save_card(MASTERCARD)
    campaign = traveller.open_campaign(use_backups=True)
    stripe_side.change_card(traveller.stripe_id(card), "stolen_card")

    declined(traveller, campaign)

    assert len(stripe_side.charges(traveller.customer_id)) == 1


def test_the_webhooks_of_a_decline_change_nothing_more(traveller: Traveller, stripe_side: StripeSide) -> None:
    traveller.save_card(SAVES_THEN_DECLINES)
    campaign = traveller.open_campaign()
    stripe_side.hold()
    booking = declined(traveller, campaign)

    stripe_side.flush()

    assert traveller.booking(booking) == booking
    assert traveller.notified() == ["booking_failed"]
    results = traveller.rows(
        "select distinct result from public.stripe_events "
        "where object_id = (select stripe_payment_intent_id from public.bookings where id = %s) "
        "and type in ('payment_intent.payment_failed', 'payment_intent.canceled')",
        booking["id"],
    )
    assert {result for (result,) in results} <= {"old_news", "already_failed"}


def test_a_request_that_stripe_refuses_is_our_fault_and_an_incident(carded: Traveller, stripe_side: StripeSide) -> None:
    """The card vanished at Stripe behind our back: no decline of a bank's, and no money moved."""
    campaign, offer = carded.open_campaign(), carded.offer()
    stripe_side.hold()
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    stripe_side.sdk.v1.payment_methods.detach(carded.stripe_id(card))

    problem = refused(carded.charge(campaign, offer), 402, "payment_failed")

    assert problem["booking"]["status"] == "failed"
    assert problem["user_message"]
    assert carded.ledger(campaign) == [("reserve", 12_000), ("release", 12_000)]
    assert stripe_side.taken(carded.customer_id) == []
    incidents = carded.rows("select kind from public.incidents where booking_id = %s", problem["booking"]["id"])
    assert incidents == [("request_refused",)]
