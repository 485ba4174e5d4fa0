"""The feed's offers: stored, matched, and charged through the queue."""

from typing import Any

import pytest

from tests.support.http import Caller, machine_signature, ok, refused
from tests.support.stripe_side import StripeSide
from tests.support.supabase_side import SupabaseSide
from tests.support.travellers import (
    ASKS_ALWAYS,
    Json,
    MakeTraveller,
    Traveller,
    an_offer,
    in_time,
    unique,
)
from tests.support.waiting import until


def post(machine: Caller, *offers: Json) -> list[Json]:
    """Post offers: what became of each."""
    answer = ok(machine.post("/offers", {"offers": list(offers)}), 202)
    assert set(answer) == {"offers"}
    told: list[Json] = answer["offers"]
    assert [each["id"] for each in told] == [offer["id"] for offer in offers]
    assert all(set(each) == {"id", "status", "campaigns"} for each in told)
    return told


def booked(traveller: Traveller, count: int = 1) -> list[Json]:
    """The traveller's bookings once so many are confirmed."""

    def look() -> list[Json] | None:
        confirmed = [booking for booking in traveller.bookings() if booking["status"] == "confirmed"]
        return confirmed if len(confirmed) >= count else None

    return until(look, seconds=5)


# --- the queue -------------------------------------------------------------------------------------------------------


def test_a_matching_offer_is_booked_within_five_seconds(carded: Traveller, stripe_side: StripeSide) -> None:
    campaign = carded.open_campaign(auto_book=True)
    offer = an_offer({"trip": carded.trip, "to": "LIS", "stops": 0})

    (told,) = post(carded.feed, offer)

    assert (told["status"], told["campaigns"]) == ("stored", [campaign["id"]])
    (booking,) = booked(carded)
    assert (booking["offer_id"], booking["campaign_id"], booking["amount_minor"]) == (
        offer["id"],
        campaign["id"],
        12_000,
    )
    assert len(stripe_side.taken(carded.customer_id)) == 1


def test_the_timeline_says_of_every_offer_why_it_was_or_was_not_booked(carded: Traveller) -> None:
    campaign = carded.open_campaign(auto_book=True)
    right = an_offer({"trip": carded.trip})
    dear = an_offer({"trip": carded.trip}, amount_minor=15_001)
    foreign = an_offer({"trip": carded.trip}, currency="chf")
    elsewhere = an_offer({"trip": unique("trip")})

    told = post(carded.feed, dear, foreign, right, elsewhere)

    assert [each["campaigns"] for each in told] == [[], [], [campaign["id"]], []]
    booked(carded)
    entries = {entry["offer_id"]: entry for entry in carded.timeline(campaign)}
    assert {offer: (entry["verdict"], entry["state"]) for offer, entry in entries.items()} == {
        right["id"]: ("matched", "charged"),
        dear["id"]: ("over_max_price", "noted"),
        foreign["id"]: ("currency_mismatch", "noted"),
    }
    assert entries[right["id"]]["booking"]["status"] == "confirmed"


def test_an_offer_is_booked_for_everybody_whom_it_fits(make_traveller: MakeTraveller) -> None:
    one, two = make_traveller(), make_traveller()
    for each in (one, two):
        each.save_card()
        each.trip = one.trip
    campaigns = {each.open_campaign(auto_book=True)["id"] for each in (one, two)}

    (told,) = post(one.feed, an_offer({"trip": one.trip}))

    assert set(told["campaigns"]) == campaigns
    for each in (one, two):
        assert len(booked(each)) == 1


def test_a_campaign_that_is_not_automatic_is_matched_but_not_charged(carded: Traveller) -> None:
    by_hand = carded.open_campaign(auto_book=False)
    automatic = carded.open_campaign(auto_book=True)
    offer = an_offer({"trip": carded.trip})

    (told,) = post(carded.feed, offer)

    assert set(told["campaigns"]) == {by_hand["id"], automatic["id"]}
    (booking,) = booked(carded)
    assert booking["campaign_id"] == automatic["id"]
    assert [(entry["verdict"], entry["state"]) for entry in carded.timeline(by_hand)] == [("matched", "noted")]


def test_a_paused_campaign_is_told_what_it_misses(carded: Traveller) -> None:
    campaign = carded.open_campaign(auto_book=True)
    ok(carded.api.post(f"/campaigns/{campaign['id']}/pause"))

    (told,) = post(carded.feed, an_offer({"trip": carded.trip}))

    assert told["campaigns"] == []
    (entry,) = carded.timeline(campaign)
    assert (entry["verdict"], entry["state"]) == ("campaign_not_active", "noted")


def test_the_same_batch_twice_books_once(carded: Traveller, stripe_side: StripeSide) -> None:
    carded.open_campaign(auto_book=True)
    offer = an_offer({"trip": carded.trip})
    post(carded.feed, offer)
    booked(carded)

    (told,) = post(carded.feed, offer)

    assert told["status"] == "stored"  # nothing in it differs, so nothing was locked out
    marker = an_offer({"trip": carded.trip})
    post(carded.feed, marker)  # consumed after anything that the second batch might have queued
    booked(carded, 2)
    assert len(stripe_side.taken(carded.customer_id)) == 2


def test_a_bank_that_wants_its_cardholder_does_not_hold_up_the_queue(make_traveller: MakeTraveller) -> None:
    asking, paying = make_traveller(), make_traveller()
    asking.save_card(ASKS_ALWAYS)
    paying.save_card()
    for each in (asking, paying):
        each.open_campaign(auto_book=True)

    post(paying.feed, an_offer({"trip": asking.trip}), an_offer({"trip": paying.trip}))

    assert len(booked(paying)) == 1
    (waiting,) = until(lambda: [each for each in asking.bookings() if each["status"] != "charging"])
    assert waiting["status"] == "requires_action"
    assert asking.notified() == ["authentication_required"]


def test_stripe_breaking_in_the_queue_is_made_good_by_the_webhook(carded: Traveller, stripe_side: StripeSide) -> None:
    carded.open_campaign(auto_book=True)
    stripe_side.fault("drop_after", match="/v1/payment_intents$")

    post(carded.feed, an_offer({"trip": carded.trip}))

    assert len(booked(carded)) == 1
    assert len(stripe_side.taken(carded.customer_id)) == 1


def test_a_batch_costs_one_database_round_trip(
    traveller: Traveller, stripe_side: StripeSide, supabase_side: SupabaseSide
) -> None:
    traveller.open_campaign()
    stripe_side.hold()
    with supabase_side.watched() as trips:
        post(traveller.feed, *[an_offer({"trip": traveller.trip}) for _ in range(100)])

    assert trips == ["POST rpc/ingest_offers"]


# --- matching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criteria", "attributes", "fits"),
    [
        ({}, {}, True),
        ({"to": "LIS"}, {"to": "LIS", "stops": 0}, True),
        ({"to": "LIS"}, {"to": "OPO"}, False),
        ({"to": "LIS"}, {"to": "lis"}, False),
        ({"stops": 0}, {"stops": 0.0}, True),
        ({"stops": 0}, {"stops": "0"}, False),
        ({"cabin": {"class": "economy"}}, {"cabin": {"class": "economy", "bags": 1}}, True),
        ({"cabin": {"class": "economy"}}, {"cabin": {"class": "first"}}, False),
        ({"tags": ["direct"]}, {"tags": ["cheap", "direct"]}, True),
        ({"tags": ["direct", "green"]}, {"tags": ["direct"]}, False),
        ({"refundable": None}, {"refundable": None}, True),
        ({"refundable": None}, {}, False),
        ({"to": "'; drop table offers; --"}, {"to": "'; drop table offers; --"}, True),
    ],
)
def test_an_offer_fits_when_its_attributes_contain_the_criteria(
    traveller: Traveller, criteria: Json, attributes: Json, fits: bool
) -> None:
    campaign = traveller.open_campaign(criteria=criteria | {"trip": traveller.trip})

    (told,) = post(traveller.feed, an_offer(attributes | {"trip": traveller.trip}))

    assert told["campaigns"] == ([campaign["id"]] if fits else [])


def test_a_changed_offer_is_considered_again_until_it_is_booked(carded: Traveller) -> None:
    campaign = carded.open_campaign()
    dear = an_offer({"trip": carded.trip}, amount_minor=20_000)
    (told,) = post(carded.feed, dear)
    assert told["campaigns"] == []

    cheaper = dear | {"amount_minor": 14_000}
    (told,) = post(carded.feed, cheaper)
    assert told["campaigns"] == [campaign["id"]]
    carded.book(campaign, cheaper)

    (told,) = post(carded.feed, dear | {"amount_minor": 1_000})
    assert told["status"] == "locked"
    (entry,) = carded.timeline(campaign)
    assert entry["offer"]["amount_minor"] == 14_000


def test_an_offer_may_be_withdrawn_by_letting_it_expire(carded: Traveller) -> None:
    campaign, offer = carded.open_campaign(), carded.offer()

    post(carded.feed, offer | {"expires_at": in_time(seconds=-1)})

    refused(carded.charge(campaign, offer), 409, "offer_expired")


# --- who, and what ---------------------------------------------------------------------------------------------------


def test_only_the_feed_posts_offers(carded: Traveller, anonymous: Caller, machine: Caller) -> None:
    offer = an_offer({"trip": carded.trip})
    body = {"offers": [offer]}

    for caller in (anonymous, carded.api, Caller(machine.http, signing_secret="absec_not_the_secret")):
        refused(caller.post("/offers", body), 401, "machine_signature_invalid")

    assert carded.rows("select 1 from public.offers where id = %s", offer["id"]) == []


def test_a_signature_is_of_these_bytes(machine: Caller, carded: Traveller) -> None:
    offer = an_offer({"trip": carded.trip})
    other = machine_signature(b'{"offers": []}', machine.signing_secret or "")

    refused(machine.post("/offers", {"offers": [offer]}, autobook_signature=other), 401, "machine_signature_invalid")


def _offers(**changes: Any) -> Json:
    return {"offers": [an_offer({"trip": "none"}) | changes]}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"offers": []}, 422, "invalid_request"),
        ({"offers": {}}, 422, "invalid_request"),
        ({"offers": [an_offer({}, id=f"o{number}") for number in range(101)]}, 422, "invalid_request"),
        ({"offers": [an_offer({}, id="twice"), an_offer({}, id="twice")]}, 422, "invalid_request"),
        (_offers(amount_minor=0), 422, "invalid_request"),
        (_offers(amount_minor=-1), 422, "invalid_request"),
        (_offers(amount_minor=119.99), 422, "invalid_request"),
        (_offers(amount_minor="12000"), 422, "invalid_request"),
        (_offers(amount_minor=100_000_000), 422, "invalid_request"),
        (_offers(currency="EUR"), 422, "invalid_request"),
        (_offers(currency="zzz"), 422, "unknown_currency"),
        (_offers(id="a/b"), 422, "invalid_request"),
        (_offers(id="a b"), 422, "invalid_request"),
        (_offers(id=""), 422, "invalid_request"),
        (_offers(id="x" * 129), 422, "invalid_request"),
        (_offers(attributes="any"), 422, "invalid_request"),
        (_offers(attributes={"a": "\u0000"}), 422, "invalid_request"),
        (_offers(expires_at="2099-01-01"), 422, "invalid_request"),
        (_offers(price=1), 422, "invalid_request"),
        (_offers(attributes={"a": float("nan")}), 422, "invalid_request"),
        (b"[" * 100_000, 400, "malformed_json"),
    ],
)
def test_what_is_no_batch_of_offers_is_refused(machine: Caller, body: Any, status: int, code: str) -> None:
    refused(machine.post("/offers", body), status, code)


def test_a_bad_offer_stores_none_of_its_batch(machine: Caller, traveller: Traveller) -> None:
    good, bad = an_offer({}, id=unique("offer")), an_offer({}, currency="zzz")

    problem = refused(machine.post("/offers", {"offers": [good, bad]}), 422, "unknown_currency")

    assert "zzz" in problem["detail"]
    assert traveller.rows("select 1 from public.offers where id = %s", good["id"]) == []


def test_a_body_beyond_the_limit_is_refused(machine: Caller) -> None:
    refused(machine.post("/offers", b'{"offers": "' + b"x" * 300_000 + b'"}'), 413, "body_too_large")
