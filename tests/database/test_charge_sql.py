"""Beginning a charge at its own layer: what it writes, what it waits for, and what no caller can make of it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tests.support.books import PRICE_MINOR, Books, Json
from tests.support.waiting import until


@pytest.fixture
def books(db: psycopg.Connection) -> Books:
    """A user of the database."""
    return Books(db)


RESERVED = ("reserve", PRICE_MINOR)


# --- beginning -------------------------------------------------------------------------------------------------------


def test_what_is_begun_says_all_that_its_stripe_call_needs(books: Books) -> None:
    card, campaign, offer = books.card(), books.campaign(), books.offer()

    begun = books.begin(campaign, offer)

    step = begun["next"]
    assert begun["result"] == "begun"
    assert step["do"] == "charge"
    assert step["payment_intent_id"] is None
    assert step["stripe_customer_id"] == books.customer_id
    assert step["stripe_payment_method_id"] == card["stripe_payment_method_id"]
    assert (step["amount_minor"], step["currency"], step["capture"]) == (PRICE_MINOR, "eur", "automatic")
    assert (
        step["metadata"].items()
        >= {
            "booking_id": step["booking_id"],
            "campaign_id": campaign["id"],
            "attempt_id": step["attempt_id"],
            "user_id": books.user_id,
        }.items()
    )
    assert all(isinstance(value, str) for value in step["metadata"].values())  # as Stripe's metadata are
    assert books.statuses(step) == ("charging", ["started"])
    assert books.ledger(step) == [RESERVED]


def test_beginning_twice_is_beginning_once_and_the_second_has_to_wait(books: Books) -> None:
    books.card()
    campaign, offer = books.campaign(), books.offer()
    first, second = books.begin(campaign, offer), books.begin(campaign, offer)

    assert second["result"] == "exists"
    assert second["next"] == {"do": "wait", "booking_id": first["next"]["booking_id"]}
    assert second["booking"] == first["booking"]


def test_a_replay_sends_the_same_parameters_whatever_has_changed_meanwhile(books: Books) -> None:
    """Stripe refuses an idempotency key with other parameters, and then nobody would ever know what became of it."""
    books.card()
    campaign, offer = books.campaign(), books.offer()
    first = books.begin(campaign, offer)["next"]
    books.forget_lease(first)
    other = books.card()
    books.db.execute(
        "update public.campaigns set title = 'Changed', max_price_minor = 13000, capture = 'manual', "
        "payment_method_id = %s where id = %s",
        [other["id"], campaign["id"]],
    )
    books.started(campaign)  # one more booking in the last hour, for the metadata of later ones

    assert books.begin(campaign, offer)["next"] == first


def test_a_lease_ends_by_itself(books: Books) -> None:
    books.card()
    campaign, offer = books.campaign(), books.offer()
    first = books.begin(campaign, offer)["next"]
    books.db.execute(
        "update public.bookings set leased_until = clock_timestamp() - interval '1 ms' where id = %s",
        [first["booking_id"]],
    )

    assert books.begin(campaign, offer)["next"] == first


def test_once_stripe_may_have_forgotten_the_key_an_attempt_is_looked_up_and_not_replayed(books: Books) -> None:
    step = books.started()
    books.db.execute(
        "update public.attempts set created_at = now() - interval '24 hours' where id = %s", [step["attempt_id"]]
    )
    books.forget_lease(step)
    booking = books.booking(step)

    again = books.begin({"id": booking["campaign_id"]}, {"id": booking["offer_id"]})

    assert again["next"]["do"] == "look_up"


# --- at the same moment ----------------------------------------------------------------------------------------------


def beginning_while(books: Books, database_url: str, campaign: Json, offer: Json, change: str, *arguments: Any) -> Json:
    """What begins while somebody else's change is not committed yet: it has to wait for that."""
    with (
        psycopg.connect(database_url) as changing,
        psycopg.connect(database_url, autocommit=True) as charging,
        ThreadPoolExecutor(1) as thread,
    ):
        changing.execute(change.encode(), arguments)
        begun = thread.submit(Books.over(charging, books).begin, campaign, offer)
        try:
            waits = "select 1 from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
            until(lambda: books.values(waits, charging.info.backend_pid))
        finally:
            changing.commit()
        return begun.result(timeout=10)


def test_a_charge_waits_for_a_change_of_its_campaign(books: Books, database_url: str) -> None:
    """A user who cancels, and is told so, is not charged a moment later."""
    books.card()
    campaign, offer = books.campaign(), books.offer()

    begun = beginning_while(
        books,
        database_url,
        campaign,
        offer,
        "update public.campaigns set status = 'cancelled' where id = %s",
        campaign["id"],
    )

    assert begun == {"result": "refused", "refusal": "campaign_not_active"}


def test_a_charge_waits_for_a_change_of_its_offer(books: Books, database_url: str) -> None:
    books.card()
    campaign, offer = books.campaign(), books.offer()

    begun = beginning_while(
        books,
        database_url,
        campaign,
        offer,
        "update public.offers set amount_minor = 14000 where id = %s",
        offer["id"],
    )

    assert begun["next"]["amount_minor"] == begun["booking"]["amount_minor"] == 14_000


def test_a_charge_waits_for_the_detaching_of_its_card(books: Books, database_url: str) -> None:
    card = books.card()
    campaign, offer = books.campaign(), books.offer()

    begun = beginning_while(
        books,
        database_url,
        campaign,
        offer,
        "update public.payment_methods set status = 'detaching', is_default = false where id = %s",
        card["id"],
    )

    assert begun == {"result": "refused", "refusal": "no_usable_card"}


def test_two_campaigns_of_a_user_cannot_outrun_the_limits_together(books: Books, database_url: str) -> None:
    """One user's charges begin one after the other: the second sees what the first has done."""
    books.card()
    first, second = books.campaign(), books.campaign()
    (limit,) = books.values("select velocity_bookings_per_hour from internal.settings")
    for _ in range(limit - 1):
        books.started(books.campaign())
    one, two = books.offer(), books.offer()

    refused = beginning_while(
        books,
        database_url,
        second,
        two,
        "select public.begin_charge(%s, %s)",
        first["id"],
        one["id"],
    )

    assert refused == {"result": "refused", "refusal": "velocity_limit"}


# --- the price and the owner -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"amount_minor": PRICE_MINOR - 1}, {"currency": "usd"}], ids=str)
def test_no_booking_costs_other_than_its_offer(books: Books, wrong: Json) -> None:
    campaign, offer = books.campaign(), books.offer()
    columns = {
        "campaign_id": campaign["id"],
        "offer_id": offer["id"],
        "user_id": books.user_id,
        "amount_minor": PRICE_MINOR,
        "currency": "eur",
        "capture": "automatic",
    }

    with pytest.raises(errors.CheckViolation, match="costs what its offer says"):
        books.insert("bookings", **columns | wrong)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount_minor", PRICE_MINOR + 1),
        ("currency", "usd"),
        ("capture", "manual"),
        ("offer_id", "another"),
        ("campaign_id", "another"),
        ("user_id", "another"),
        ("stripe_payment_intent_id", "pi_another"),
        ("stripe_payment_intent_id", None),
    ],
)
def test_what_identifies_a_bookings_money_never_changes(books: Books, column: str, value: Any) -> None:
    step = books.started()
    books.settle(books.facts(step, "succeeded"), step["attempt_id"])
    others = {
        "offer_id": books.offer,
        "campaign_id": books.campaign,
        "user_id": lambda: {"id": Books(books.db).user_id},
    }
    if value == "another":
        value = others[column]()["id"]

    with pytest.raises(errors.CheckViolation, match="keeps its price, its owner and its PaymentIntent"):
        books.db.execute(
            sql.SQL("update public.bookings set {} = %s where id = %s").format(sql.Identifier(column)),
            [value, step["booking_id"]],
        )


def test_nobody_can_link_or_charge_anothers_card(books: Books) -> None:
    stolen = Books(books.db).card()
    step = books.started()

    with pytest.raises(errors.ForeignKeyViolation):
        books.campaign(payment_method_id=stolen["id"])
    with pytest.raises(errors.ForeignKeyViolation):
        books.insert(
            "attempts",
            booking_id=step["booking_id"],
            user_id=books.user_id,
            payment_method_id=stolen["id"],
            ordinal=2,
            status="voided",
        )


def test_a_booking_has_one_open_attempt_at_most(books: Books) -> None:
    step = books.started()

    with pytest.raises(errors.UniqueViolation, match="attempts_one_open_idx"):
        books.insert(
            "attempts",
            booking_id=step["booking_id"],
            user_id=books.user_id,
            payment_method_id=books.card()["id"],
            ordinal=2,
        )


def test_a_campaign_and_an_offer_have_one_booking_at_most(books: Books) -> None:
    booking = books.booking(books.started())
    names = ("campaign_id", "offer_id", "user_id", "amount_minor", "currency", "capture")

    with pytest.raises(errors.UniqueViolation):
        books.insert("bookings", **{name: booking[name] for name in names})


@pytest.mark.parametrize(
    "table",
    [
        "customers",
        "payment_methods",
        "setup_intents",
        "campaigns",
        "offers",
        "bookings",
        "attempts",
        "refunds",
        "disputes",
        "ledger_entries",
        "stripe_events",
        "notifications",
        "incidents",
    ],
)
def test_nothing_that_has_seen_money_is_deleted_by_anybody(db: psycopg.Connection, table: str) -> None:
    row = db.execute(
        "select exists (select from pg_trigger as t where t.tgrelid = %s::regclass and t.tgenabled in ('O', 'A') "
        "and t.tgfoid = 'internal.refuse_change'::regproc and t.tgtype & 8 = 8)",
        [f"public.{table}"],
    ).fetchone()

    assert row == (True,)


def test_a_delete_is_refused_to_the_owner_too(books: Books) -> None:
    step = books.started()

    for table, row_id in (
        ("bookings", step["booking_id"]),
        ("attempts", step["attempt_id"]),
        ("campaigns", books.booking(step)["campaign_id"]),
        ("offers", books.booking(step)["offer_id"]),
    ):
        with pytest.raises(errors.InsufficientPrivilege, match="never changed or deleted"):
            books.db.execute(sql.SQL("delete from public.{} where id = %s").format(sql.Identifier(table)), [row_id])
