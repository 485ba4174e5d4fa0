"""What each actor gets from Supabase's REST API itself, past our functions, told by actor, with supabase-py.

tests/security/ holds every object's rights against a list; here a lived-in account meets everybody who might try.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from postgrest import SyncPostgrestClient
from postgrest.exceptions import APIError

from tests.support.http import Caller, ok, refused
from tests.support.stripe_side import StripeSide
from tests.support.supabase_side import SupabaseSide, rows
from tests.support.travellers import MASTERCARD, Json, MakeTraveller, Traveller, in_time

FORBIDDEN = "42501"

READABLE = {
    "customers": "user_id,stripe_customer_id,email",
    "payment_methods": "id,user_id,status,brand,last4",
    "setup_intents": "id,user_id,status,terms_version,payment_method_id",
    "campaigns": "*",
    "offers": "*",
    "matches": "*",
    "bookings": "id,campaign_id,offer_id,user_id,status,amount_minor,stripe_payment_intent_id",
    "attempts": "id,booking_id,user_id,payment_method_id,status",
    "refunds": "id,booking_id,user_id,status,amount_minor",
    "disputes": "id,booking_id,user_id,status,amount_minor",
    "ledger_entries": "*",
    "notifications": "id,user_id,kind,campaign_id,booking_id,data",
    "booking_view": "*",
}
"""What a user may read of their own, table by table."""
UNREADABLE = ("stripe_events", "incidents", "audit_log")


@dataclass
class Account:
    """An owner with something in every table."""

    owner: Traveller
    campaign: Json
    booking: Json
    card: Json
    secrets: set[str]
    """What nobody else may come to see: ids, and the e-mail address."""


@pytest.fixture
def account(make_traveller: MakeTraveller, machine: Caller, stripe_side: StripeSide) -> Account:
    """Somebody who has saved cards, booked, been declined, refunded, and disputed."""
    owner = make_traveller()
    card, second = owner.save_card(), owner.save_card(MASTERCARD)
    campaign = owner.open_campaign()
    booking = owner.book(campaign)
    ok(machine.post(f"/bookings/{booking['id']}/refund", {"amount_minor": 100}))
    declining = owner.open_campaign(payment_method_id=second["id"])
    stripe_side.change_card(owner.stripe_id(second), "do_not_honor")
    failed = refused(owner.charge(declining, owner.offer(expires_at=in_time(minutes=20))), 402, "payment_failed")
    intents = [intent["id"] for intent in stripe_side.intents(owner.customer_id)]
    stripe_side.control("POST", "/disputes", {"payment_intent": intents[-1]})
    stripe_side.flush()
    ids = {str(entry["id"]) for entry in (campaign, booking, card, second, declining, failed["booking"])}
    return Account(
        owner, campaign, booking, card, {owner.id, owner.customer_id, owner.user.email, owner.trip, *ids, *intents}
    )


def seen(client: SyncPostgrestClient, table: str, columns: str = "*") -> list[Json]:
    """The rows that a client gets of a table; none where it is refused."""
    try:
        return rows(client.table(table).select(columns).execute())
    except APIError as refusal:
        if refusal.code != FORBIDDEN:
            raise
        return []


# --- the owner -------------------------------------------------------------------------------------------------------


def test_the_owner_reads_their_own_in_every_table(account: Account, supabase_side: SupabaseSide) -> None:
    client = supabase_side.client(account.owner.user.access_token).postgrest

    read = {table: seen(client, table, columns) for table, columns in READABLE.items()}

    assert [table for table, found in read.items() if not found] == []
    for table, found in read.items():
        assert {row.get("user_id", account.owner.id) for row in found} == {account.owner.id}, table


def test_the_owner_reads_nothing_that_is_the_operators(account: Account, supabase_side: SupabaseSide) -> None:
    client = supabase_side.client(account.owner.user.access_token).postgrest

    for table in UNREADABLE:
        assert seen(client, table) == []
    # A bank's reason can reveal that a card is known to be stolen.
    for table, column in (
        ("attempts", "decline_code"),
        ("attempts", "category"),
        ("attempts", "is_fraud"),
        ("attempts", "risk_score"),
        ("bookings", "failure_code"),
        ("bookings", "radar_metadata"),
        ("payment_methods", "unusable_reason"),
        ("payment_methods", "stripe_payment_method_id"),
        ("setup_intents", "error_code"),
        ("refunds", "failure_reason"),
        ("disputes", "reason"),
    ):
        with pytest.raises(APIError) as refusal:
            client.table(table).select(column).execute()
        assert refusal.value.code == FORBIDDEN, (table, column)


def test_the_owner_edits_what_a_campaign_wants_and_no_more(account: Account, supabase_side: SupabaseSide) -> None:
    client = supabase_side.client(account.owner.user.access_token).postgrest
    mine = account.campaign["id"]
    before = account.owner.campaign(account.campaign)

    changed = rows(client.table("campaigns").update({"title": "By hand"}).eq("id", mine).execute())
    assert [row["title"] for row in changed] == ["By hand"]

    for column, value in (
        ("status", "completed"),
        ("pause_reason", "user"),
        ("spent_minor", 0),
        ("reserved_minor", 0),
        ("refund_reversed_minor", 10**6),
        ("bookings_in_flight", 0),
        ("bookings_confirmed", 0),
        ("currency", "usd"),
        ("user_id", account.owner.id),
        ("id", mine),
        ("idempotency_key", "x"),
        ("created_at", "2020-01-01T00:00:00Z"),
    ):
        with pytest.raises(APIError) as refusal:
            client.table("campaigns").update({column: value}).eq("id", mine).execute()
        assert refusal.value.code == FORBIDDEN, column
    assert account.owner.campaign(account.campaign) == before | {"title": "By hand"}


def test_the_owner_cannot_write_the_books(account: Account, supabase_side: SupabaseSide) -> None:
    client = supabase_side.client(account.owner.user.access_token).postgrest
    booking, card = account.booking["id"], account.card["id"]
    attempts: list[Any] = [
        client.table("bookings").update({"status": "refunded"}).eq("id", booking),
        client.table("bookings").update({"amount_minor": 1}).eq("id", booking),
        client.table("bookings").insert(
            {"campaign_id": account.campaign["id"], "offer_id": "x", "status": "confirmed"}
        ),
        client.table("attempts").update({"status": "succeeded"}).eq("booking_id", booking),
        client.table("offers").update({"amount_minor": 1}).eq("id", account.booking["offer_id"]),
        client.table("offers").insert({"id": "cheap", "amount_minor": 1, "currency": "eur"}),
        client.table("matches").update({"state": "waiting"}).eq("campaign_id", account.campaign["id"]),
        client.table("ledger_entries").insert(
            {"campaign_id": account.campaign["id"], "booking_id": booking, "kind": "refund", "amount_minor": 100}
        ),
        client.table("refunds").insert({"booking_id": booking, "amount_minor": 100, "reason": "mine"}),
        client.table("payment_methods").update({"is_default": True}).eq("id", card),
        client.table("payment_methods").update({"status": "usable"}).eq("id", card),
        client.table("customers").update({"stripe_customer_id": "cus_another"}).eq("user_id", account.owner.id),
        client.table("setup_intents").update({"terms_version": "none"}).eq("user_id", account.owner.id),
        client.table("notifications").update({"status": "sent"}).eq("user_id", account.owner.id),
        client.table("currencies").update({"minimum_charge_minor": 1}).eq("code", "eur"),
    ]
    attempts += [
        client.table(table).delete().eq("user_id", account.owner.id) for table in ("campaigns", "bookings", "customers")
    ]

    for attempt in attempts:
        with pytest.raises(APIError) as refusal:
            attempt.execute()
        assert refusal.value.code == FORBIDDEN, attempt.request.path

    assert account.owner.booking(account.booking)["status"] == "confirmed"


# --- a stranger, and nobody ------------------------------------------------------------------------------------------


def test_a_stranger_sees_nothing_of_it(
    account: Account, make_traveller: MakeTraveller, supabase_side: SupabaseSide
) -> None:
    stranger = make_traveller()
    stranger.save_card()
    stranger.book(stranger.open_campaign())
    client = supabase_side.client(stranger.user.access_token).postgrest

    everything = {table: seen(client, table, columns) for table, columns in READABLE.items()}
    everything |= {table: seen(client, table) for table in UNREADABLE}

    assert everything["campaigns"], "a stranger has rows of their own, so these answers mean something"
    assert [secret for secret in account.secrets if secret in json.dumps(everything)] == []


def test_a_stranger_who_asks_by_id_gets_nothing_and_changes_nothing(
    account: Account, make_traveller: MakeTraveller, supabase_side: SupabaseSide
) -> None:
    client = supabase_side.client(make_traveller().user.access_token).postgrest
    before = account.owner.campaign(account.campaign)

    for table, columns in READABLE.items():
        own_id = {"customers": "user_id", "matches": "campaign_id"}.get(table, "id")
        wanted = account.owner.id if table == "customers" else account.campaign["id"]
        query = client.table(table).select(columns)
        if table in ("ledger_entries", "offers"):
            continue  # their ids are no secrets; the test above reads them all
        if table in ("setup_intents", "disputes"):
            wanted = "seti_1"
        assert rows(query.eq(own_id, wanted).execute()) == []
    changed = client.table("campaigns").update({"title": "Mine now"}).eq("id", account.campaign["id"]).execute()
    assert rows(changed) == []
    for stolen in ({"payment_method_id": account.card["id"]}, {"user_id": account.owner.id}):
        insert = client.table("campaigns").insert(account.owner.campaign_body() | stolen)
        with pytest.raises(APIError) as refusal:
            insert.execute()
        assert refusal.value.code in (FORBIDDEN, "23503")

    assert account.owner.campaign(account.campaign) == before


def test_a_strangers_joins_and_counts_reveal_nothing(
    account: Account, make_traveller: MakeTraveller, supabase_side: SupabaseSide
) -> None:
    """An embedded table, a filter on it, a count: each is under row-level security of its own."""
    client = supabase_side.client(make_traveller().user.access_token).postgrest

    counted = client.table("bookings").select("id", count="exact").execute()  # type: ignore[arg-type]  # a string of an enum
    embedded = rows(client.table("campaigns").select("id,bookings(id,amount_minor)").execute())
    filtered = rows(client.table("currencies").select("code,bookings!inner(id)").execute())

    assert (counted.count, embedded, filtered) == (0, [], [])
    assert account.owner.bookings() != []


def test_nobody_gets_anything_with_the_publishable_key_alone(account: Account, supabase_side: SupabaseSide) -> None:
    client = supabase_side.client().postgrest
    tables = {**READABLE, **dict.fromkeys(UNREADABLE, "*"), "currencies": "code"}

    for table, columns in tables.items():
        with pytest.raises(APIError) as refusal:
            client.table(table).select(columns).execute()
        assert refusal.value.code == FORBIDDEN, table
    with pytest.raises(APIError) as refusal:
        client.table("campaigns").insert(account.owner.campaign_body()).execute()
    assert refusal.value.code == FORBIDDEN


@pytest.mark.parametrize("schema", ["internal", "auth", "supabase_migrations"])
def test_no_schema_but_public_is_served(account: Account, supabase_side: SupabaseSide, schema: str) -> None:
    client = supabase_side.client(account.owner.user.access_token)

    with pytest.raises(APIError) as refusal:
        client.schema(schema).table("settings").select("*").execute()

    assert refusal.value.code == "PGRST106"


# --- functions -------------------------------------------------------------------------------------------------------

OF_USERS: dict[str, Json] = {
    "arrange_payment_method": {"p_is_default": True},
    "begin_detach": {},
    "move_campaign": {"p_action": "cancel"},
    "campaign_preflight": {},
    "campaign_timeline": {},
}


def arguments_of(traveller: Traveller, function: str) -> Any:
    """A null for every argument of a function of `public`."""
    names = traveller.rows(
        "select coalesce(proargnames[1:pronargs], '{}') from pg_proc "
        "where pronamespace = 'public'::regnamespace and proname = %s",
        function,
    )[0][0]
    return dict.fromkeys(names)


def test_every_function_is_refused_to_those_whom_it_is_not_for(account: Account, supabase_side: SupabaseSide) -> None:
    functions = [
        name
        for (name,) in account.owner.rows(
            "select distinct proname from pg_proc where pronamespace = 'public'::regnamespace"
        )
    ]
    assert {"begin_charge", "settle_payment", "receive_event", *OF_USERS} <= set(functions)
    user = supabase_side.client(account.owner.user.access_token).postgrest
    nobody = supabase_side.client().postgrest

    for function in functions:
        arguments = arguments_of(account.owner, function)
        for client in (nobody,) if function in OF_USERS else (nobody, user):
            with pytest.raises(APIError) as refusal:
                client.rpc(function, arguments).execute()
            assert refusal.value.code == FORBIDDEN, (function, refusal.value)


def test_a_stolen_id_is_of_no_use_to_the_functions_of_users(
    account: Account, make_traveller: MakeTraveller, supabase_side: SupabaseSide
) -> None:
    client = supabase_side.client(make_traveller().user.access_token).postgrest
    card, campaign = {"p_id": account.card["id"]}, {"p_id": account.campaign["id"]}

    for function, stolen, code in (
        ("arrange_payment_method", card, "payment_method_not_found"),
        ("begin_detach", card, "payment_method_not_found"),
        ("move_campaign", campaign, "campaign_not_found"),
        ("campaign_preflight", {"p_campaign_id": account.campaign["id"]}, "campaign_not_found"),
    ):
        with pytest.raises(APIError) as refusal:
            client.rpc(function, stolen | OF_USERS[function]).execute()
        assert (refusal.value.code, refusal.value.message) == ("PT404", code)
    timeline = client.rpc("campaign_timeline", {"p_campaign_id": account.campaign["id"]}).execute()
    assert timeline.data is None

    assert account.owner.campaign(account.campaign)["status"] != "cancelled"


def test_the_operators_key_opens_not_one_table_and_nothing_about_money(
    account: Account, supabase_side: SupabaseSide
) -> None:
    client = supabase_side.service().postgrest

    for table in (*READABLE, *UNREADABLE, "currencies"):
        with pytest.raises(APIError) as refusal:
            client.table(table).select("*").execute()
        assert refusal.value.code == FORBIDDEN, table
    pair = {"p_campaign_id": account.campaign["id"], "p_offer_id": account.booking["offer_id"]}
    booking = {"p_booking_id": account.booking["id"]}
    for function, arguments in (("begin_charge", pair), ("take_step", booking), ("begin_void", booking)):
        with pytest.raises(APIError) as refusal:
            client.rpc(function, arguments).execute()
        assert refusal.value.code == FORBIDDEN, function
    exported = client.rpc("export_user", {"p_user_id": account.owner.id}).execute()
    assert isinstance(exported.data, dict)
    assert exported.data["user_id"] == account.owner.id
