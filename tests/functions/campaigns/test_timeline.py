"""Why was I (not) charged: every offer that fitted the criteria, with its verdict, newest first."""

from tests.support.http import ok, refused
from tests.support.lists import assert_query_refused, assert_walked_once, bad_queries
from tests.support.travellers import SAVES_THEN_DECLINES, Json, Traveller, an_offer, in_time, unique


def test_every_offer_considered_says_why_it_was_or_was_not_booked(carded: Traveller) -> None:
    campaign = carded.open_campaign()
    dear, foreign, expired, tiny, right = (
        carded.offer(**changes)
        for changes in (
            {"amount_minor": 15_001},
            {"currency": "usd"},
            {"expires_at": in_time(seconds=-5)},
            {"amount_minor": 10},
            {},
        )
    )
    booking = carded.book(campaign, right)

    timeline = carded.timeline(campaign)

    assert [(entry["offer_id"], entry["verdict"], entry["state"]) for entry in timeline] == [
        (right["id"], "matched", "charged"),
        (tiny["id"], "amount_below_minimum", "noted"),
        (expired["id"], "offer_expired", "noted"),
        (foreign["id"], "currency_mismatch", "noted"),
        (dear["id"], "over_max_price", "noted"),
    ]
    assert timeline[0]["booking"] == carded.booking(booking)
    assert [entry["booking"] for entry in timeline[1:]] == [None] * 4
    assert timeline[0]["offer"].items() >= {"amount_minor": 12_000, "currency": "eur"}.items()
    assert set(timeline[0]) == {"offer_id", "considered_at", "verdict", "state", "offer", "booking"}


def test_an_offer_that_does_not_fit_the_criteria_is_nobodys_story(carded: Traveller) -> None:
    campaign = carded.open_campaign()
    other = an_offer({"trip": unique("trip")})
    ok(carded.feed.post("/offers", {"offers": [other]}), 202)
    refused(carded.charge(campaign, other), 409, "criteria_mismatch")

    assert carded.timeline(campaign) == []


def test_a_decline_is_told_with_its_attempt_and_sentence(traveller: Traveller) -> None:
    traveller.save_card(SAVES_THEN_DECLINES)
    campaign = traveller.open_campaign()
    refused(traveller.charge(campaign, traveller.offer(expires_at=in_time(minutes=30))), 402, "payment_failed")

    (entry,) = traveller.timeline(campaign)

    assert (entry["verdict"], entry["booking"]["status"]) == ("matched", "failed")
    assert entry["booking"]["attempts"][0]["user_message"] == entry["booking"]["user_message"]


def test_a_refused_charge_is_told_with_the_reason_it_met(traveller: Traveller) -> None:
    campaign, offer = traveller.open_campaign(), traveller.offer()
    assert [(entry["verdict"], entry["state"]) for entry in traveller.timeline(campaign)] == [("matched", "noted")]
    refused(traveller.charge(campaign, offer), 409, "no_usable_card")

    (entry,) = traveller.timeline(campaign)

    assert (entry["verdict"], entry["state"], entry["booking"]) == ("no_usable_card", "refused", None)


def test_every_entry_is_listed_once(traveller: Traveller) -> None:
    campaign = traveller.open_campaign()
    offers = [an_offer({"trip": traveller.trip}) for _ in range(6)]
    # One batch is considered at one moment: the offer's id decides the order.
    ok(traveller.feed.post("/offers", {"offers": offers}), 202)

    path = f"/campaigns/{campaign['id']}/timeline"

    assert_walked_once(traveller.api, path, {offer["id"] for offer in offers}, "offer_id")


@bad_queries
def test_what_is_no_page_of_a_timeline_is_refused(traveller: Traveller, query: Json) -> None:
    campaign = traveller.open_campaign()

    assert_query_refused(traveller.api, f"/campaigns/{campaign['id']}/timeline", query)
