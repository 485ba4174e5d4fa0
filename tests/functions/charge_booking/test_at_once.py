"""Many callers at the same moment: one booking for one pair, and never more than the budget."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.http import Caller, ok, refused
from tests.support.stripe_side import StripeSide
from tests.support.travellers import Json, Traveller, an_offer
from tests.support.waiting import until

CALLERS = 20


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """The answers of calls that are all under way together."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(lambda call: call(), calls))


def test_twenty_calls_for_one_offer_are_one_booking(
    carded: Traveller, machine: Caller, stripe_side: StripeSide
) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()
    body = {"campaign_id": campaign["id"], "offer_id": offer["id"]}

    answers = at_once(
        [
            lambda caller=caller: caller.post("/charge-booking", body)  # type: ignore[misc]  # bound at once
            for caller in (carded.api, machine) * (CALLERS // 2)
        ]
    )

    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[201] == 1
    assert set(statuses) <= {200, 201, 202}
    assert {answer.json()["status"] for answer in answers if answer.status_code == 202} <= {"charging"}
    (booking,) = {answer.json()["id"] for answer in answers}
    assert [shown["id"] for shown in carded.bookings()] == [booking]
    assert ok(carded.charge(campaign, offer))["status"] == "confirmed"
    (intent,) = stripe_side.intents(carded.customer_id)
    (charge,) = stripe_side.charges(carded.customer_id)
    assert (charge["payment_intent"], charge["amount"]) == (intent["id"], 12_000)


def test_twenty_calls_that_are_declined_are_one_decline(carded: Traveller, stripe_side: StripeSide) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    stripe_side.change_card(carded.stripe_id(card), "do_not_honor")
    campaign, offer = carded.open_campaign(), carded.offer()

    answers = at_once([lambda: carded.charge(campaign, offer)] * CALLERS)

    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[402] == 1
    assert set(statuses) <= {200, 202, 402}
    assert len(stripe_side.charges(carded.customer_id)) == 1
    assert carded.notified() == ["booking_failed"]


@pytest.mark.parametrize("limit", [{"budget_minor": 36_049}, {"max_bookings": 3}], ids=["budget", "max_bookings"])
def test_twenty_offers_against_a_limit_of_three_are_three_bookings(
    carded: Traveller, stripe_side: StripeSide, limit: Json
) -> None:
    campaign = carded.open_campaign(**{"budget_minor": 1_000_000, "max_bookings": 100} | limit)
    offers = [an_offer({"trip": carded.trip}) for _ in range(CALLERS)]
    ok(carded.feed.post("/offers", {"offers": offers}), 202)

    answers = at_once([lambda offer=offer: carded.charge(campaign, offer) for offer in offers])  # type: ignore[misc]  # bound at once

    assert Counter(answer.status_code for answer in answers) == {201: 3, 409: 17}
    for answer in answers:
        if answer.status_code == 409:
            code = answer.json()["code"]
            # Once the third is confirmed the campaign is completed, and the late ones meet that instead.
            assert code in {"over_budget", "max_bookings_reached", "campaign_not_active"}
            refused(answer, 409, code)
    exactly_three(carded, campaign, stripe_side)


def test_twenty_offers_through_the_queue_are_three_bookings_too(carded: Traveller, stripe_side: StripeSide) -> None:
    campaign = carded.open_campaign(auto_book=True, budget_minor=36_049, max_bookings=100)
    offers = [an_offer({"trip": carded.trip}) for _ in range(CALLERS)]
    ok(carded.feed.post("/offers", {"offers": offers}), 202)

    def settled() -> list[Json]:
        timeline: list[Json] = ok(carded.api.get(f"/campaigns/{campaign['id']}/timeline", limit=100))["data"]
        return timeline if not any(entry["state"] == "waiting" for entry in timeline) else []

    timeline = until(settled, seconds=10)

    verdicts = Counter(entry["verdict"] for entry in timeline)
    assert verdicts["matched"] == 3
    assert set(verdicts) <= {"matched", "over_budget", "campaign_not_active"}
    until(lambda: ok(carded.api.get(f"/campaigns/{campaign['id']}"))["bookings_in_flight"] == 0)
    exactly_three(carded, campaign, stripe_side)


def exactly_three(traveller: Traveller, campaign: Json, stripe_side: StripeSide) -> None:
    """Three bookings confirmed and paid, and the campaign's books say so."""
    shown = traveller.campaign(campaign)
    assert (shown["bookings_confirmed"], shown["bookings_in_flight"]) == (3, 0)
    assert (shown["reserved_minor"], shown["spent_minor"]) == (0, 36_000)
    assert shown["status"] == "completed"
    assert Counter(traveller.ledger(campaign)) == {("reserve", 12_000): 3, ("spend", 12_000): 3}
    assert [booking["status"] for booking in traveller.bookings()] == ["confirmed"] * 3
    assert len(stripe_side.taken(traveller.customer_id)) == 3
    assert len(stripe_side.intents(traveller.customer_id)) == 3


def test_campaigns_of_one_user_do_not_lock_each_other_out(carded: Traveller) -> None:
    campaigns = [carded.open_campaign() for _ in range(6)]
    offer = carded.offer()

    answers = at_once([lambda campaign=campaign: carded.charge(campaign, offer) for campaign in campaigns])  # type: ignore[misc]  # bound at once

    assert [answer.status_code for answer in answers] == [201] * 6


def test_charging_while_the_card_is_being_detached_ends_well_either_way(
    carded: Traveller, stripe_side: StripeSide
) -> None:
    card = ok(carded.api.get("/payment-methods"))["data"][0]
    campaign, offer = carded.open_campaign(), carded.offer()

    charged, detached = at_once(
        [lambda: carded.charge(campaign, offer), lambda: carded.api.delete(f"/payment-methods/{card['id']}")]
    )

    outcome: tuple[Any, ...] = (charged.status_code, detached.status_code)
    assert outcome in {(201, 204), (201, 409), (409, 204)}
    if charged.status_code == 409:
        assert charged.json()["code"] in {"no_usable_card", "campaign_not_active"}
    if detached.status_code == 409:
        refused(detached, 409, "card_in_use")
    assert len(stripe_side.taken(carded.customer_id)) == (charged.status_code == 201)
