"""Campaigns: opened, changed, paused, resumed, cancelled by their owner; preflight says what a charge would meet."""

from typing import Any

import pytest

from tests.support.http import Caller, ok, refused
from tests.support.lists import NO_UUID_CURSOR, assert_query_refused, assert_walked_once, bad_queries
from tests.support.travellers import ASKS_ALWAYS, MASTERCARD, Json, MakeTraveller, Traveller, in_time

PATH = "/campaigns"


def test_a_campaign_says_all_that_it_is(carded: Traveller) -> None:
    (card,) = ok(carded.api.get("/payment-methods"))["data"]
    body = carded.campaign_body()
    del body["auto_book"]

    campaign = ok(carded.api.post(PATH, body), 201)

    assert campaign.items() >= {**body, "expires_at": campaign["expires_at"]}.items()
    assert campaign["payment_method_id"] == card["id"]
    assert (campaign["use_backups"], campaign["capture"], campaign["auto_book"]) == (False, "automatic", True)
    assert (campaign["status"], campaign["pause_reason"]) == ("active", None)
    assert [campaign[name] for name in ("reserved_minor", "spent_minor")] == [0, 0]
    assert [campaign[name] for name in ("bookings_in_flight", "bookings_confirmed")] == [0, 0]
    assert carded.campaign(campaign) == campaign
    assert "user_id" not in campaign


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"max_price_minor": 0}, "invalid_request"),
        ({"max_price_minor": -1}, "invalid_request"),
        ({"max_price_minor": 10.5}, "invalid_request"),
        ({"max_price_minor": 15_000.0}, "invalid_request"),
        ({"max_price_minor": "15000"}, "invalid_request"),
        ({"max_price_minor": True}, "invalid_request"),
        ({"budget_minor": 100_000_000}, "invalid_request"),
        ({"budget_minor": 10**30}, "invalid_request"),
        ({"budget_minor": 14_999}, "invalid_request"),
        ({"max_bookings": 0}, "invalid_request"),
        ({"max_bookings": 1001}, "invalid_request"),
        ({"currency": "EUR"}, "invalid_request"),
        ({"currency": "euro"}, "invalid_request"),
        ({"currency": "xxx"}, "unknown_currency"),
        ({"criteria": []}, "invalid_request"),
        ({"criteria": "all"}, "invalid_request"),
        ({"criteria": {"a": "\u0000"}}, "invalid_request"),
        ({"criteria": {"a": "x" * 9000}}, "invalid_request"),
        ({"criteria": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}}, "invalid_request"),
        ({"title": ""}, "invalid_request"),
        ({"title": "   "}, "invalid_request"),
        ({"title": "x" * 201}, "invalid_request"),
        ({"title": "a\u0000b"}, "invalid_request"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "invalid_request"),
        ({"expires_at": "2099-01-01T00:00:00"}, "invalid_request"),
        ({"expires_at": "soon"}, "invalid_request"),
        ({"capture": "later"}, "invalid_request"),
        ({"auto_book": "yes"}, "invalid_request"),
        ({"payment_method_id": "mine"}, "invalid_request"),
        ({"payment_method_id": "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"}, "unknown_payment_method"),
        ({"status": "active"}, "invalid_request"),
        ({"spent_minor": 0}, "invalid_request"),
        ({"user_id": "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"}, "invalid_request"),
        ({"idempotency_key": "x"}, "invalid_request"),
    ],
    ids=str,
)
def test_what_is_no_campaign_is_refused(traveller: Traveller, changes: Json, code: str) -> None:
    refused(traveller.api.post(PATH, traveller.campaign_body() | changes), 422, code)

    assert ok(traveller.api.get(PATH))["data"] == []


@pytest.mark.parametrize(
    "missing", ["title", "criteria", "currency", "max_price_minor", "budget_minor", "max_bookings", "expires_at"]
)
def test_what_a_campaign_needs(traveller: Traveller, missing: str) -> None:
    body = traveller.campaign_body()
    del body[missing]

    problem = refused(traveller.api.post(PATH, body), 422, "invalid_request")

    assert [error["where"] for error in problem["errors"]] == [["body", missing]]


def test_another_users_card_is_not_linked(make_traveller: MakeTraveller) -> None:
    owner, thief = make_traveller(), make_traveller()
    card = owner.save_card()
    thief.save_card()
    mine = thief.open_campaign()

    refused(thief.api.post(PATH, thief.campaign_body(payment_method_id=card["id"])), 422, "unknown_payment_method")
    refused(thief.api.patch(f"{PATH}/{mine['id']}", {"payment_method_id": card["id"]}), 422, "unknown_payment_method")

    assert thief.campaign(mine) == mine


def test_the_same_key_opens_one_campaign(traveller: Traveller) -> None:
    body = traveller.campaign_body()
    first = ok(traveller.api.post(PATH, body, idempotency_key="weekend"), 201)

    assert ok(traveller.api.post(PATH, body, idempotency_key="weekend"), 201) == first
    changed = traveller.api.post(PATH, body | {"title": "Another"}, idempotency_key="weekend")
    refused(changed, 409, "idempotency_key_reused")
    assert len(ok(traveller.api.get(PATH))["data"]) == 1


def test_two_users_may_choose_the_same_key(make_traveller: MakeTraveller) -> None:
    one, two = make_traveller(), make_traveller()
    body = one.campaign_body()

    first = ok(one.api.post(PATH, body, idempotency_key="weekend"), 201)
    second = ok(two.api.post(PATH, body, idempotency_key="weekend"), 201)

    assert first["id"] != second["id"]


# --- changing --------------------------------------------------------------------------------------------------------


def test_what_an_owner_may_change(traveller: Traveller) -> None:
    campaign = traveller.open_campaign()
    card = traveller.save_card()
    changes: Json = {
        "title": "Two weekends",
        "criteria": {"trip": traveller.trip, "to": "LIS"},
        "max_price_minor": 16_000,
        "budget_minor": 80_000,
        "max_bookings": 5,
        "payment_method_id": card["id"],
        "use_backups": True,
        "capture": "manual",
        "auto_book": True,
    }

    changed = ok(traveller.api.patch(f"{PATH}/{campaign['id']}", changes))

    assert changed.items() >= changes.items()
    assert changed["created_at"] == campaign["created_at"]
    assert traveller.campaign(campaign) == changed


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"title": None},
        {"currency": "usd"},
        {"status": "completed"},
        {"pause_reason": None},
        {"spent_minor": 0},
        {"reserved_minor": 0},
        {"bookings_confirmed": 0},
        {"user_id": "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"},
        {"id": "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"},
        {"created_at": "2020-01-01T00:00:00Z"},
        {"max_price_minor": 50_001},
    ],
    ids=str,
)
def test_what_an_owner_may_not_change(traveller: Traveller, change: Json) -> None:
    campaign = traveller.open_campaign()

    refused(traveller.api.patch(f"{PATH}/{campaign['id']}", change), 422, "invalid_request")

    assert traveller.campaign(campaign) == campaign


def test_a_budget_does_not_fall_below_what_is_spent_and_promised(carded: Traveller) -> None:
    campaign = carded.open_campaign(capture="manual")
    carded.book(campaign)
    ok(carded.api.patch(f"{PATH}/{campaign['id']}", {"capture": "automatic"}))
    carded.book(campaign)
    path = f"{PATH}/{campaign['id']}"

    refused(carded.api.patch(path, {"max_price_minor": 100, "budget_minor": 23_999}), 409, "budget_below_committed")
    refused(carded.api.patch(path, {"max_bookings": 1}), 409, "budget_below_committed")
    ok(carded.api.patch(path, {"max_price_minor": 100, "budget_minor": 24_000, "max_bookings": 2}))


def test_an_ended_campaign_does_not_change_any_more(traveller: Traveller) -> None:
    campaign = traveller.open_campaign()
    path = f"{PATH}/{campaign['id']}"
    ended = ok(traveller.api.post(f"{path}/cancel"))
    assert ended["status"] == "cancelled"

    refused(traveller.api.patch(path, {"title": "Once more"}), 409, "campaign_not_active")
    refused(traveller.api.post(f"{path}/resume"), 409, "campaign_not_active")
    refused(traveller.api.post(f"{path}/pause"), 409, "campaign_not_active")
    assert traveller.campaign(campaign) == ended


def test_pausing_and_resuming_twice_is_doing_it_once(traveller: Traveller) -> None:
    campaign = traveller.open_campaign()
    path = f"{PATH}/{campaign['id']}"

    for _ in range(2):
        paused = ok(traveller.api.post(f"{path}/pause"))
        assert (paused["status"], paused["pause_reason"]) == ("paused", "user")
    for _ in range(2):
        resumed = ok(traveller.api.post(f"{path}/resume"))
        assert (resumed["status"], resumed["pause_reason"]) == ("active", None)
    for _ in range(2):
        assert ok(traveller.api.post(f"{path}/cancel"))["status"] == "cancelled"


def test_a_booking_in_flight_goes_on_when_its_campaign_is_cancelled(carded: Traveller) -> None:
    campaign = carded.open_campaign(capture="manual")
    booking = carded.book(campaign)

    ok(carded.api.post(f"{PATH}/{campaign['id']}/cancel"))

    assert carded.booking(booking)["status"] == "authorized"
    assert carded.campaign(campaign)["reserved_minor"] == 12_000


# --- others' campaigns, lists ----------------------------------------------------------------------------------------


def test_another_users_campaign_is_a_404_by_every_route(make_traveller: MakeTraveller) -> None:
    owner, stranger = make_traveller(), make_traveller()
    owner.save_card()
    campaign = owner.open_campaign()
    owner.book(campaign)
    before = owner.campaign(campaign)

    for stolen in (campaign["id"], "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d", "not-an-id"):
        path = f"{PATH}/{stolen}"
        answers = [
            stranger.api.get(path),
            stranger.api.patch(path, {"title": "Mine now"}),
            stranger.api.post(f"{path}/pause"),
            stranger.api.post(f"{path}/resume"),
            stranger.api.post(f"{path}/cancel"),
            stranger.api.get(f"{path}/preflight"),
            stranger.api.get(f"{path}/timeline"),
        ]
        problems = [refused(answer, 404, "campaign_not_found") for answer in answers]
        assert all(problem == problems[0] for problem in problems)

    assert ok(stranger.api.get(PATH))["data"] == []
    assert owner.campaign(campaign) == before


def test_campaigns_need_a_user(traveller: Traveller, anonymous: Caller, machine: Caller) -> None:
    for caller in (anonymous, machine):
        refused(caller.get(PATH), 401, "unauthenticated")
        refused(caller.post(PATH, traveller.campaign_body()), 401, "unauthenticated")
        refused(caller.post(PATH, b"{"), 401, "unauthenticated")  # nobody's body is read


def test_every_campaign_is_listed_once(traveller: Traveller) -> None:
    campaigns = [traveller.open_campaign() for _ in range(7)]
    newest = traveller.open_campaign()
    assert ok(traveller.api.get(PATH))["data"][0] == newest
    # Many rows of one moment: the id decides, so that no page repeats or skips one.
    traveller.db.execute("update public.campaigns set created_at = now() where user_id = %s", [traveller.id])

    assert_walked_once(traveller.api, PATH, {campaign["id"] for campaign in [*campaigns, newest]})


def test_a_page_has_twenty_unless_said(traveller: Traveller) -> None:
    for _ in range(21):
        traveller.open_campaign()

    page = ok(traveller.api.get(PATH))

    assert len(page["data"]) == 20
    assert len(ok(traveller.api.get(PATH, cursor=page["next_cursor"]))["data"]) == 1


@bad_queries
def test_what_is_no_page_of_campaigns_is_refused(traveller: Traveller, query: Json) -> None:
    assert_query_refused(traveller.api, PATH, query)


def test_a_cursor_cannot_carry_a_filter(traveller: Traveller) -> None:
    assert_query_refused(traveller.api, PATH, {"cursor": NO_UUID_CURSOR})


def test_a_cursor_of_another_user_shows_nothing_of_theirs(make_traveller: MakeTraveller) -> None:
    owner, stranger = make_traveller(), make_traveller()
    for _ in range(3):
        owner.open_campaign()
    cursor = ok(owner.api.get(PATH, limit=1))["next_cursor"]

    assert ok(stranger.api.get(PATH, cursor=cursor)) == {"data": [], "next_cursor": None}


# --- preflight -------------------------------------------------------------------------------------------------------


def findings(traveller: Traveller, campaign: Json) -> tuple[bool, dict[str, str]]:
    """Whether a charge would work, and the severity of each finding."""
    shown = ok(traveller.api.get(f"{PATH}/{campaign['id']}/preflight"))
    assert set(shown) == {"ready", "findings"}
    assert all(finding["message"] for finding in shown["findings"])
    return shown["ready"], {finding["code"]: finding["severity"] for finding in shown["findings"]}


def test_preflight_of_a_campaign_that_may_charge(carded: Traveller) -> None:
    assert findings(carded, carded.open_campaign()) == (True, {})


def test_preflight_without_a_card(traveller: Traveller) -> None:
    assert findings(traveller, traveller.open_campaign()) == (False, {"no_usable_card": "error"})


@pytest.mark.parametrize(
    ("campaign", "card", "expected"),
    [
        ({}, {"exp_month": 1, "exp_year": 2020}, (True, {"card_expired": "warning"})),
        ({"expires_at": in_time(days=365 * 9)}, {}, (True, {"card_expires_first": "warning"})),
        ({"max_price_minor": 49}, {}, (False, {"amount_below_minimum": "error"})),
    ],
    ids=["expired", "expires first", "below the minimum"],
)
def test_preflight_of_card_and_price(
    carded: Traveller, campaign: Json, card: Json, expected: tuple[bool, dict[str, str]]
) -> None:
    for name, value in card.items():
        carded.db.execute(
            f"update public.payment_methods set {name} = %s where user_id = %s",  # noqa: S608  # names of this file
            [value, carded.id],
        )

    assert findings(carded, carded.open_campaign(**campaign)) == expected


def test_preflight_of_what_is_left(carded: Traveller) -> None:
    campaign = carded.open_campaign(budget_minor=25_000, max_bookings=3, capture="manual")
    carded.book(campaign)
    assert findings(carded, campaign) == (True, {"budget_below_max_price": "warning"})
    carded.book(campaign, carded.offer(amount_minor=12_960))
    assert findings(carded, campaign) == (False, {"over_budget": "error"})
    ok(carded.api.patch(f"{PATH}/{campaign['id']}", {"max_bookings": 2, "budget_minor": 90_000}))
    assert findings(carded, campaign) == (False, {"max_bookings_reached": "error"})


def test_preflight_of_a_campaign_that_is_paused_or_over(carded: Traveller) -> None:
    campaign = carded.open_campaign()
    ok(carded.api.post(f"{PATH}/{campaign['id']}/pause"))
    assert findings(carded, campaign) == (False, {"campaign_not_active": "error"})
    carded.db.execute("update public.campaigns set expires_at = now() where id = %s", [campaign["id"]])
    assert findings(carded, campaign) == (False, {"campaign_not_active": "error", "campaign_expired": "error"})


def test_preflight_knows_what_a_charge_then_meets(traveller: Traveller) -> None:
    """Each error that preflight finds is the refusal of the charge."""
    campaign = traveller.open_campaign()
    offer: Any = traveller.offer()
    (code,) = findings(traveller, campaign)[1]
    refused(traveller.charge(campaign, offer), 409, code)

    traveller.save_card(ASKS_ALWAYS)
    traveller.save_card(MASTERCARD)
    assert findings(traveller, campaign)[0] is True
    assert traveller.charge(campaign, offer).status_code == 202
