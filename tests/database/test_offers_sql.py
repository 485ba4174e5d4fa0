"""Offers in SQL: matched in one transaction, fixed once booked, and two feeds at once get along."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from tests.support.books import Books, Json


@pytest.fixture
def books(db: psycopg.Connection) -> Books:
    """A user of the database, with a card."""
    books = Books(db)
    books.card()
    return books


def as_sent(offer: Json, **changes: object) -> Json:
    """An offer as the feed sends it."""
    names = ("id", "attributes", "amount_minor", "currency", "expires_at")
    return {name: offer[name] for name in names} | changes


def new_offer(books: Books, **changes: object) -> Json:
    """An offer that the database does not know yet."""
    return {
        "id": f"offer-{uuid4().hex[:12]}",
        "attributes": {"of": books.user_id},
        "amount_minor": 12_000,
        "currency": "eur",
        "expires_at": (datetime.now(UTC) + timedelta(days=2)).isoformat(),
    } | changes


def matches(books: Books) -> list[tuple[str, str, str]]:
    """Offer, verdict and state of every match of the user, sorted."""
    return books.values(
        "select offer_id, verdict::text, state::text from public.matches where user_id = %s order by 1", books.user_id
    )


# --- fixed once booked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    ["amount_minor = amount_minor - 1", "currency = 'usd'", "attributes = '{}'", "id = id || '-2'"],
)
def test_a_booked_offer_changes_for_nobody(books: Books, change: str) -> None:
    step = books.started()
    offer_id = books.booking(step)["offer_id"]
    before = books.row("offers", offer_id)

    with pytest.raises((errors.CheckViolation, errors.ForeignKeyViolation)):
        books.db.execute(f"update public.offers set {change} where id = %s".encode(), [offer_id])  # noqa: S608  # the changes stand above

    assert books.row("offers", offer_id) == before


@pytest.mark.parametrize("changed", ["offer", "campaign"])
def test_a_match_that_fits_no_more_does_not_wait_for_ever(books: Books, changed: str) -> None:
    campaign = books.campaign(auto_book=True)
    offer = new_offer(books)
    books.call("ingest_offers", p_offers=[offer])
    assert matches(books) == [(offer["id"], "matched", "waiting")]
    if changed == "offer":
        books.db.execute("update public.offers set attributes = '{}' where id = %s", [offer["id"]])
    else:
        books.db.execute('update public.campaigns set criteria = \'{"of": "nobody"}\' where id = %s', [campaign["id"]])

    begun = books.call("begin_charge", p_campaign_id=campaign["id"], p_offer_id=offer["id"])

    assert begun == {"result": "refused", "refusal": "criteria_mismatch"}
    assert matches(books) == [(offer["id"], "criteria_mismatch", "refused")]


def test_an_offer_without_a_booking_may_change(books: Books) -> None:
    offer = books.offer()

    books.db.execute("update public.offers set amount_minor = 1, attributes = '{}' where id = %s", [offer["id"]])

    assert books.row("offers", offer["id"])["amount_minor"] == 1


def test_a_booked_offer_in_a_batch_is_left_as_it_is_and_the_others_are_stored(books: Books) -> None:
    campaign = books.campaign()
    step = books.started(campaign)
    booked = books.row("offers", books.booking(step)["offer_id"])
    fresh = new_offer(books)

    told = books.call("ingest_offers", p_offers=[as_sent(booked, amount_minor=1), fresh])

    assert [(each["id"], each["status"]) for each in told] == [(booked["id"], "locked"), (fresh["id"], "stored")]
    assert books.row("offers", booked["id"]) == booked
    assert books.row("offers", fresh["id"])["amount_minor"] == 12_000


def test_a_booked_offers_expiry_may_move(books: Books) -> None:
    """When it ends is no part of what was booked; a retry should know that it is gone."""
    offer = books.row("offers", books.booking(books.started())["offer_id"])
    sooner = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()

    (told,) = books.call("ingest_offers", p_offers=[as_sent(offer, expires_at=sooner)])

    assert told["status"] == "stored"
    assert datetime.fromisoformat(books.row("offers", offer["id"])["expires_at"]) == datetime.fromisoformat(sooner)


# --- matching --------------------------------------------------------------------------------------------------------


def test_a_match_waits_for_its_charge_where_the_campaign_is_automatic(books: Books) -> None:
    automatic, by_hand = books.campaign(auto_book=True), books.campaign()
    offer = new_offer(books)

    (told,) = books.call("ingest_offers", p_offers=[offer])

    assert told["waiting"] == [automatic["id"]]
    assert sorted(told["campaigns"]) == sorted([automatic["id"], by_hand["id"]])
    assert sorted(matches(books)) == [(offer["id"], "matched", "noted"), (offer["id"], "matched", "waiting")]


KRONUR: Json = {"currency": "isk", "max_price_minor": 900_000, "budget_minor": 900_000}
"""Iceland's krona has two decimals at Stripe, of which no charge may make use (docs.stripe.com/currencies)."""


@pytest.mark.parametrize(
    ("campaign", "offer", "verdict"),
    [
        ({}, {"currency": "usd"}, "currency_mismatch"),
        ({}, {"amount_minor": 15_001}, "over_max_price"),
        ({}, {"amount_minor": 15_001, "currency": "usd"}, "currency_mismatch"),
        ({}, {"amount_minor": 1}, "amount_below_minimum"),
        ({"budget_minor": 15_000, "max_price_minor": 15_000}, {"amount_minor": 15_000}, "matched"),
        (KRONUR, {"currency": "isk", "amount_minor": 500_050}, "amount_below_minimum"),
        (KRONUR, {"currency": "isk", "amount_minor": 500_000}, "matched"),
        ({"status": "paused", "pause_reason": "user"}, {}, "campaign_not_active"),
    ],
)
def test_the_verdict_on_an_offer_that_fits_the_criteria(
    books: Books, campaign: Json, offer: Json, verdict: str
) -> None:
    books.campaign(**campaign)

    books.call("ingest_offers", p_offers=[new_offer(books, **offer)])

    assert [each[1] for each in matches(books)] == [verdict]


@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
def test_an_ended_campaign_considers_nothing_any_more(books: Books, status: str) -> None:
    books.campaign(status=status)

    books.call("ingest_offers", p_offers=[new_offer(books)])

    assert matches(books) == []


def test_what_the_budget_holds_counts_what_is_promised_already(books: Books) -> None:
    campaign = books.campaign(budget_minor=23_000, auto_book=True)
    books.started(campaign)

    (told,) = books.call("ingest_offers", p_offers=[new_offer(books)])

    assert told["waiting"] == []
    assert "over_budget" in {verdict for _, verdict, _ in matches(books)}


def test_a_match_that_was_charged_is_not_considered_again(books: Books) -> None:
    campaign = books.campaign(auto_book=True)
    offer = new_offer(books)
    books.call("ingest_offers", p_offers=[offer])
    assert books.begin(campaign, offer)["result"] == "begun"

    (told,) = books.call("ingest_offers", p_offers=[offer])

    assert told["waiting"] == []
    assert matches(books) == [(offer["id"], "matched", "charged")]


def test_a_price_that_falls_makes_a_match_and_one_that_rises_ends_it(books: Books) -> None:
    books.campaign(auto_book=True)
    offer = new_offer(books, amount_minor=16_000)
    books.call("ingest_offers", p_offers=[offer])
    assert matches(books) == [(offer["id"], "over_max_price", "noted")]

    books.call("ingest_offers", p_offers=[offer | {"amount_minor": 14_000}])
    assert matches(books) == [(offer["id"], "matched", "waiting")]


def test_a_waiting_match_is_refused_when_its_price_has_risen_meanwhile(books: Books) -> None:
    """The queue's message is older than the feed's word: what counts is the offer at the moment of the charge."""
    campaign = books.campaign(auto_book=True)
    offer = new_offer(books)
    books.call("ingest_offers", p_offers=[offer])
    books.call("ingest_offers", p_offers=[offer | {"amount_minor": 15_001}])

    assert books.begin(campaign, offer)["refusal"] == "over_max_price"
    assert matches(books) == [(offer["id"], "over_max_price", "refused")]


def test_an_unknown_currency_stores_none_of_the_batch(books: Books) -> None:
    good, bad = new_offer(books), new_offer(books, currency="zzz")

    with pytest.raises(psycopg.Error, match="unknown_currency") as refused:
        books.call("ingest_offers", p_offers=[good, bad])

    assert refused.value.sqlstate == "PT422"
    assert books.values("select id from public.offers where id = %s", good["id"]) == []


def test_two_feeds_with_the_same_offers_in_another_order_do_not_deadlock(books: Books, database_url: str) -> None:
    books.campaign(auto_book=True)
    offers = [new_offer(books) for _ in range(30)]

    def feed(batch: list[Json]) -> int:
        with psycopg.connect(database_url, autocommit=True) as connection:
            other = Books.over(connection, books)
            for number in range(5):
                changed = [offer | {"amount_minor": 10_000 + number} for offer in batch]
                assert len(other.call("ingest_offers", p_offers=changed)) == len(batch)
        return len(batch)

    with ThreadPoolExecutor(4) as threads:
        orders = [offers, offers[::-1], offers[10:] + offers[:10], offers[::-1]]
        assert list(threads.map(feed, orders)) == [30] * 4

    assert {state for _, _, state in matches(books)} == {"waiting"}
    assert len(matches(books)) == 30
