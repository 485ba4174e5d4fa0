"""Saved cards: listed, put in order, detached; never somebody else's."""

import pytest

from tests.support.http import Caller, ok, refused
from tests.support.lists import NO_UUID_CURSOR, assert_query_refused, assert_walked_once, bad_queries
from tests.support.stripe_side import StripeSide
from tests.support.travellers import ASKS_ALWAYS, MASTERCARD, VISA, Json, MakeTraveller, Traveller

CARDS = "/payment-methods"


def order(traveller: Traveller) -> dict[str, tuple[bool, int | None]]:
    """Of each card whether it is the default, and its place in the chain."""
    return {card["id"]: (card["is_default"], card["backup_position"]) for card in ok(traveller.api.get(CARDS))["data"]}


def test_a_card_shows_what_a_page_may_show_and_no_more(carded: Traveller) -> None:
    (card,) = ok(carded.api.get(CARDS))["data"]

    assert set(card) == {
        "id",
        "status",
        "brand",
        "last4",
        "exp_month",
        "exp_year",
        "funding",
        "country",
        "wallet",
        "is_default",
        "backup_position",
        "created_at",
    }
    assert (card["brand"], card["last4"], card["funding"], card["country"]) == ("visa", "4242", "credit", "US")


# --- arranging -------------------------------------------------------------------------------------------------------


def test_another_card_becomes_the_default(traveller: Traveller) -> None:
    first, second = traveller.save_card(VISA), traveller.save_card(MASTERCARD)

    changed = ok(traveller.api.patch(f"{CARDS}/{second['id']}", {"is_default": True}))

    assert (changed["id"], changed["is_default"]) == (second["id"], True)
    assert order(traveller) == {first["id"]: (False, None), second["id"]: (True, None)}


def test_the_default_is_charged_where_a_campaign_names_no_card(traveller: Traveller, stripe_side: StripeSide) -> None:
    campaign = traveller.open_campaign()
    traveller.save_card(VISA)
    second = traveller.save_card(MASTERCARD)
    ok(traveller.api.patch(f"/campaigns/{campaign['id']}", {"payment_method_id": None}))
    ok(traveller.api.patch(f"{CARDS}/{second['id']}", {"is_default": True}))

    traveller.book(campaign)

    assert stripe_side.charges(traveller.customer_id)[0]["payment_method"] == traveller.stripe_id(second)


def test_the_backup_chain_is_numbered_without_gaps(traveller: Traveller) -> None:
    default, one, two, three = (traveller.save_card() for _ in range(4))
    for card, wanted in ((one, 1), (two, 1), (three, 50)):
        ok(traveller.api.patch(f"{CARDS}/{card['id']}", {"backup_position": wanted}))
    placed = order(traveller)
    assert (placed[two["id"]], placed[one["id"]], placed[three["id"]]) == ((False, 1), (False, 2), (False, 3))
    assert placed[default["id"]] == (True, None)

    ok(traveller.api.patch(f"{CARDS}/{three['id']}", {"backup_position": 2}))

    placed = order(traveller)
    assert [placed[card["id"]][1] for card in (two, three, one)] == [1, 2, 3]


def test_backups_are_charged_in_their_order(traveller: Traveller, stripe_side: StripeSide) -> None:
    default, one, two = (traveller.save_card() for _ in range(3))
    for place, card in enumerate((two, one), start=1):
        ok(traveller.api.patch(f"{CARDS}/{card['id']}", {"backup_position": place}))
    for card in (default, two):
        stripe_side.change_card(traveller.stripe_id(card), "do_not_honor")

    booking = traveller.book(traveller.open_campaign(use_backups=True))

    assert [attempt["payment_method_id"] for attempt in booking["attempts"]] == [default["id"], two["id"], one["id"]]


def test_the_default_is_no_backup(carded: Traveller) -> None:
    (card,) = ok(carded.api.get(CARDS))["data"]

    refused(carded.api.patch(f"{CARDS}/{card['id']}", {"backup_position": 1}), 409, "default_is_no_backup")


def test_a_card_that_cannot_be_charged_does_not_become_the_default(traveller: Traveller) -> None:
    traveller.save_card()
    second = traveller.save_card()
    traveller.db.execute(
        "update public.payment_methods set status = 'unusable', unusable_reason = 'lost_card' where id = %s",
        [second["id"]],
    )

    refused(traveller.api.patch(f"{CARDS}/{second['id']}", {"is_default": True}), 409, "card_unusable")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"is_default": False},
        {"is_default": None},
        {"is_default": "true"},
        {"is_default": True, "backup_position": 1},
        {"backup_position": 0},
        {"backup_position": 101},
        {"backup_position": "1"},
        {"backup_position": True},
        {"status": "usable"},
        {"is_default": True, "user_id": "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"},
    ],
    ids=str,
)
def test_nothing_else_of_a_card_can_be_changed(carded: Traveller, body: Json) -> None:
    before = order(carded)

    refused(carded.api.patch(f"{CARDS}/{next(iter(before))}", body), 422, "invalid_request")

    assert order(carded) == before


# --- detaching -------------------------------------------------------------------------------------------------------


def test_a_detached_card_is_gone_here_and_at_stripe(carded: Traveller, stripe_side: StripeSide) -> None:
    (card,) = ok(carded.api.get(CARDS))["data"]
    stripe_id = carded.stripe_id(card)

    answer = carded.api.delete(f"{CARDS}/{card['id']}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert ok(carded.api.get(CARDS))["data"] == []
    assert stripe_side.sdk.v1.payment_methods.retrieve(stripe_id).customer is None
    assert carded.rows("select status::text from public.payment_methods where id = %s", card["id"]) == [("detached",)]
    refused(carded.api.delete(f"{CARDS}/{card['id']}"), 404, "payment_method_not_found")


def test_campaigns_move_to_the_next_card(traveller: Traveller) -> None:
    first, second, third = (traveller.save_card() for _ in range(3))
    ok(traveller.api.patch(f"{CARDS}/{third['id']}", {"backup_position": 1}))
    campaign = traveller.open_campaign()
    assert campaign["payment_method_id"] == first["id"]

    assert traveller.api.delete(f"{CARDS}/{first['id']}").status_code == 204

    shown = traveller.campaign(campaign)
    assert (shown["status"], shown["payment_method_id"]) == ("active", third["id"])
    assert {card: is_default for card, (is_default, _) in order(traveller).items()} == {
        third["id"]: True,
        second["id"]: False,
    }


def test_without_a_next_card_campaigns_pause_and_their_owner_is_told(carded: Traveller) -> None:
    (card,) = ok(carded.api.get(CARDS))["data"]
    campaign = carded.open_campaign()

    assert carded.api.delete(f"{CARDS}/{card['id']}").status_code == 204

    shown = carded.campaign(campaign)
    assert (shown["status"], shown["pause_reason"], shown["payment_method_id"]) == ("paused", "card_unusable", None)
    assert carded.notified() == ["campaign_paused"]


def test_a_card_with_a_charge_in_flight_stays(traveller: Traveller, stripe_side: StripeSide) -> None:
    card = traveller.save_card(ASKS_ALWAYS)
    booking = ok(traveller.charge(traveller.open_campaign(), traveller.offer()), 202)
    assert booking["status"] == "requires_action"

    refused(traveller.api.delete(f"{CARDS}/{card['id']}"), 409, "card_in_use")

    (intent,) = stripe_side.intents(traveller.customer_id)
    assert stripe_side.sdk.v1.payment_methods.retrieve(traveller.stripe_id(card)).customer == traveller.customer_id
    assert intent["status"] in {"requires_payment_method", "requires_action"}


def test_a_detach_that_never_reached_stripe_is_finished_by_a_repeat(carded: Traveller, stripe_side: StripeSide) -> None:
    (card,) = ok(carded.api.get(CARDS))["data"]
    campaign = carded.open_campaign()
    stripe_side.fault("drop_before", match="/detach$")
    refused(carded.api.delete(f"{CARDS}/{card['id']}"), 503, "payment_provider_unavailable")
    # Half done: nothing is charged to it any more.
    ok(carded.api.post(f"/campaigns/{campaign['id']}/resume"))
    refused(carded.charge(campaign, carded.offer()), 409, "no_usable_card")

    assert carded.api.delete(f"{CARDS}/{card['id']}").status_code == 204

    assert carded.rows("select status::text from public.payment_methods where id = %s", card["id"]) == [("detached",)]


def test_a_detach_whose_answer_got_lost_is_done_all_the_same(carded: Traveller, stripe_side: StripeSide) -> None:
    (card,) = ok(carded.api.get(CARDS))["data"]
    stripe_side.hold()
    stripe_side.fault("drop_after", match="/detach$")

    assert carded.api.delete(f"{CARDS}/{card['id']}").status_code == 204

    assert carded.rows("select status::text from public.payment_methods where id = %s", card["id"]) == [("detached",)]
    assert stripe_side.sdk.v1.payment_methods.retrieve(carded.stripe_id(card)).customer is None


# --- others' cards, lists --------------------------------------------------------------------------------------------


def test_another_users_card_is_a_404(make_traveller: MakeTraveller, stripe_side: StripeSide) -> None:
    owner, stranger = make_traveller(), make_traveller()
    card = owner.save_card()
    stranger.save_card()
    path = f"{CARDS}/{card['id']}"

    for answer in (
        stranger.api.patch(path, {"is_default": True}),
        stranger.api.patch(path, {"backup_position": 1}),
        stranger.api.delete(path),
        stranger.api.delete(f"{CARDS}/not-an-id"),
        stranger.api.delete(f"{CARDS}/0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"),
    ):
        refused(answer, 404, "payment_method_not_found")

    assert card["id"] not in {each["id"] for each in ok(stranger.api.get(CARDS))["data"]}
    assert order(owner) == {card["id"]: (True, None)}
    assert stripe_side.sdk.v1.payment_methods.retrieve(owner.stripe_id(card)).customer == owner.customer_id


def test_cards_need_a_user(anonymous: Caller, machine: Caller) -> None:
    for caller in (anonymous, machine):
        refused(caller.get(CARDS), 401, "unauthenticated")
        refused(caller.delete(f"{CARDS}/x"), 401, "unauthenticated")


def test_every_card_is_listed_once(traveller: Traveller) -> None:
    cards = [traveller.save_card() for _ in range(5)]
    traveller.db.execute("update public.payment_methods set created_at = now() where user_id = %s", [traveller.id])

    assert_walked_once(traveller.api, CARDS, {card["id"] for card in cards})


@bad_queries
def test_what_is_no_page_of_cards_is_refused(carded: Traveller, query: Json) -> None:
    assert_query_refused(carded.api, CARDS, query)


def test_a_cursor_cannot_carry_a_filter(carded: Traveller) -> None:
    assert_query_refused(carded.api, CARDS, {"cursor": NO_UUID_CURSOR})
