"""Bookings as their owner sees them, and the way to finish an authentication."""

import pytest

from tests.support.http import Caller, ok, refused
from tests.support.lists import NO_UUID_CURSOR, assert_query_refused, assert_walked_once, bad_queries
from tests.support.stripe_side import StripeSide
from tests.support.travellers import ASKS_ALWAYS, Json, MakeTraveller, Traveller

PATH = "/bookings"


@pytest.fixture
def asked(traveller: Traveller) -> tuple[Traveller, Json, Json]:
    """A traveller whose bank wants to see them, with the campaign and the booking that waits."""
    traveller.save_card(ASKS_ALWAYS)
    campaign = traveller.open_campaign()
    return traveller, campaign, ok(traveller.charge(campaign, traveller.offer()), 202)


def test_a_booking_has_its_attempts_and_nothing_of_stripe_or_the_bank(carded: Traveller) -> None:
    booking = carded.book(carded.open_campaign())

    shown = carded.booking(booking)

    assert set(shown["attempts"][0]) == {
        "id",
        "ordinal",
        "status",
        "payment_method_id",
        "user_message",
        "created_at",
        "settled_at",
    }
    assert ok(carded.api.get(PATH))["data"] == [shown]
    assert "pi_" not in str(shown)


def test_another_users_booking_is_a_404_by_every_route(
    make_traveller: MakeTraveller, asked: tuple[Traveller, Json, Json]
) -> None:
    owner, _, booking = asked
    stranger = make_traveller()

    for stolen in (booking["id"], "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d", "not-an-id"):
        answers = [
            stranger.api.get(f"{PATH}/{stolen}"),
            stranger.api.get(f"{PATH}/{stolen}/authentication"),
            stranger.api.post(f"{PATH}/{stolen}/cancel"),
        ]
        problems = [refused(answer, 404, "booking_not_found") for answer in answers]
        assert all(problem == problems[0] for problem in problems)

    assert ok(stranger.api.get(PATH))["data"] == []
    assert owner.booking(booking) == booking


def test_bookings_need_a_user(anonymous: Caller, machine: Caller, asked: tuple[Traveller, Json, Json]) -> None:
    _, _, booking = asked
    for caller in (anonymous, machine):
        for path in (PATH, f"{PATH}/{booking['id']}", f"{PATH}/{booking['id']}/authentication"):
            refused(caller.get(path), 401, "unauthenticated")


def test_fulfilments_routes_are_not_for_users(carded: Traveller) -> None:
    booking = carded.book(carded.open_campaign(capture="manual"))

    for action, body in (("capture", {}), ("void", None), ("refund", {})):
        refused(carded.api.post(f"{PATH}/{booking['id']}/{action}", body), 401, "machine_signature_invalid")

    assert carded.booking(booking) == booking


# --- authentication --------------------------------------------------------------------------------------------------


def test_the_cardholder_finishes_on_the_bookings_own_paymentintent(
    asked: tuple[Traveller, Json, Json], stripe_side: StripeSide
) -> None:
    traveller, campaign, booking = asked

    shown = ok(traveller.api.get(f"{PATH}/{booking['id']}/authentication"))

    assert set(shown) == {"client_secret", "publishable_key", "expires_at"}
    assert shown["publishable_key"].startswith("pk_test_")
    assert shown["expires_at"] == booking["expires_at"]
    (intent,) = stripe_side.intents(traveller.customer_id)
    assert shown["client_secret"].startswith(f"{intent['id']}_secret_")

    assert stripe_side.confirm_payment(
        shown["client_secret"], intent["last_payment_error"]["payment_method"]["id"]
    ) == ("requires_action")
    stripe_side.authenticate(intent["id"])
    stripe_side.flush()

    paid = traveller.booking(booking)
    assert (paid["status"], paid["user_message"], paid["expires_at"]) == ("confirmed", None, None)
    assert len(stripe_side.intents(traveller.customer_id)) == 1
    assert len(stripe_side.taken(traveller.customer_id)) == 1
    assert traveller.ledger(campaign) == [("reserve", 12_000), ("spend", 12_000)]
    assert sorted(traveller.notified()) == ["authentication_required", "booking_confirmed"]
    refused(traveller.api.get(f"{PATH}/{booking['id']}/authentication"), 409, "not_awaiting_authentication")


def test_a_failed_authentication_may_be_tried_again_until_the_deadline(
    asked: tuple[Traveller, Json, Json], stripe_side: StripeSide
) -> None:
    traveller, campaign, booking = asked
    shown = ok(traveller.api.get(f"{PATH}/{booking['id']}/authentication"))
    (intent,) = stripe_side.intents(traveller.customer_id)
    card = intent["last_payment_error"]["payment_method"]["id"]
    stripe_side.confirm_payment(shown["client_secret"], card)
    stripe_side.authenticate(intent["id"], "fail")
    stripe_side.flush()

    waiting = traveller.booking(booking)
    assert (waiting["status"], waiting["expires_at"]) == ("requires_action", booking["expires_at"])
    assert waiting["user_message"]
    assert stripe_side.taken(traveller.customer_id) == []
    assert traveller.campaign(campaign)["reserved_minor"] == 12_000

    stripe_side.confirm_payment(shown["client_secret"], card)
    stripe_side.authenticate(intent["id"])
    stripe_side.flush()
    assert traveller.booking(booking)["status"] == "confirmed"


def test_a_booking_that_waits_for_nobody_has_no_secret_to_give(carded: Traveller) -> None:
    booking = carded.book(carded.open_campaign())

    refused(carded.api.get(f"{PATH}/{booking['id']}/authentication"), 409, "not_awaiting_authentication")


def test_a_bank_that_asks_tells_the_cardholder_once_and_keeps_the_budget_reserved(
    asked: tuple[Traveller, Json, Json], stripe_side: StripeSide
) -> None:
    traveller, campaign, booking = asked
    stripe_side.flush()

    assert traveller.notified() == ["authentication_required"]
    assert traveller.ledger(campaign) == [("reserve", 12_000)]
    assert traveller.campaign(campaign)["status"] == "active"
    assert traveller.booking(booking) == booking


# --- lists -----------------------------------------------------------------------------------------------------------


def test_every_booking_is_listed_once(carded: Traveller) -> None:
    campaign = carded.open_campaign(max_bookings=20, budget_minor=1_000_000)
    bookings = [carded.book(campaign) for _ in range(5)]
    assert [booking["id"] for booking in carded.bookings()] == [booking["id"] for booking in reversed(bookings)]
    carded.db.execute("update public.bookings set created_at = now() where user_id = %s", [carded.id])

    assert_walked_once(carded.api, PATH, {booking["id"] for booking in bookings})


@bad_queries
def test_what_is_no_page_of_bookings_is_refused(traveller: Traveller, query: Json) -> None:
    assert_query_refused(traveller.api, PATH, query)


def test_a_cursor_cannot_carry_a_filter(traveller: Traveller) -> None:
    assert_query_refused(traveller.api, PATH, {"cursor": NO_UUID_CURSOR})
