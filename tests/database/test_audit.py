"""The audit log: who changed what, from what to what, and nobody can rewrite it, the owner included."""

import psycopg
import pytest
from psycopg import errors, sql

from tests.support.books import Books, Json
from tests.support.http import ok
from tests.support.stripe_side import StripeSide
from tests.support.travellers import Traveller

AUDITED = ("customers", "payment_methods", "setup_intents", "campaigns", "bookings", "attempts", "refunds", "disputes")


@pytest.fixture
def books(db: psycopg.Connection) -> Books:
    """A user of the database."""
    return Books(db)


def log(books: Books, row_id: str) -> list[Json]:
    """The entries about a row, oldest first."""
    return books.values("select to_jsonb(l) from public.audit_log as l where l.row_id = %s order by l.id", row_id)


def test_an_insert_is_written_whole_and_an_update_by_what_it_changed(books: Books) -> None:
    campaign = books.campaign()
    books.db.execute("update public.campaigns set budget_minor = 90000 where id = %s", [campaign["id"]])

    made, changed = log(books, campaign["id"])

    assert (made["action"], made["table_name"], made["old"]) == ("INSERT", "campaigns", None)
    assert made["new"].items() >= {"max_price_minor": 15_000, "budget_minor": 100_000}.items()
    assert (changed["action"], changed["old"], changed["new"]) == (
        "UPDATE",
        {"budget_minor": 100_000},
        {"budget_minor": 90_000},
    )


def test_what_changes_nothing_is_not_written(books: Books) -> None:
    campaign = books.campaign()

    books.db.execute("update public.campaigns set title = title where id = %s", [campaign["id"]])
    step = books.started(campaign)
    books.forget_lease(step)

    assert [entry["action"] for entry in log(books, step["booking_id"])] == ["INSERT"]
    assert all(entry["old"] != {} for entry in log(books, campaign["id"]))


@pytest.mark.parametrize("table", AUDITED)
def test_whatever_has_to_do_with_money_is_audited(db: psycopg.Connection, table: str) -> None:
    row = db.execute(
        "select tgtype & 4 = 4 and tgtype & 16 = 16 from pg_trigger "
        "where tgrelid = %s::regclass and tgfoid = 'internal.audit'::regproc and tgenabled = 'O'",
        [f"public.{table}"],
    ).fetchone()

    assert row == (True,)


def test_every_step_of_a_charge_is_there(books: Books) -> None:
    step = books.started()
    facts = books.facts(step, "succeeded")
    books.settle(facts, step["attempt_id"])

    booking = [entry["new"].get("status") for entry in log(books, step["booking_id"])]
    attempt = [entry["new"].get("status") for entry in log(books, step["attempt_id"])]

    assert [status for status in booking if status] == ["charging", "confirmed"]
    assert [status for status in attempt if status] == ["started", "succeeded"]


# --- who -------------------------------------------------------------------------------------------------------------


def test_the_log_names_the_user_the_role_and_the_request(carded: Traveller, stripe_side: StripeSide) -> None:
    campaign = carded.open_campaign()
    booked = carded.charge(campaign, carded.offer())
    booking = ok(booked, 201)
    stripe_side.flush()

    by_user = carded.rows(
        "select distinct actor, role from public.audit_log where row_id = %s and action = 'INSERT'", campaign["id"]
    )
    ((actor, role, request_id),) = carded.rows(
        "select actor, role, request_id from public.audit_log where row_id = %s and action = 'INSERT'", booking["id"]
    )

    assert by_user == [(carded.id, "authenticated")]
    assert actor == role  # a function acted with its own key
    assert role not in ("authenticated", "anon", "postgres")
    assert request_id == booked.headers["x-request-id"]


def test_a_change_past_the_api_names_the_login(books: Books) -> None:
    campaign = books.campaign()

    (made,) = log(books, campaign["id"])

    (login,) = books.values("select session_user::text")
    assert (made["actor"], made["role"], made["request_id"]) == (login, login, None)


# --- append-only -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "update public.audit_log set actor = 'nobody' where row_id = %s",
        "delete from public.audit_log where row_id = %s",
        "truncate public.audit_log",
    ],
)
def test_not_even_the_owner_rewrites_it(books: Books, statement: str) -> None:
    campaign = books.campaign()
    before = log(books, campaign["id"])

    with pytest.raises(errors.InsufficientPrivilege, match="audit_log rows are never changed or deleted"):
        books.db.execute(statement.encode(), [campaign["id"]] if "%s" in statement else None)

    assert log(books, campaign["id"]) == before


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
@pytest.mark.parametrize(
    "statement",
    [
        "select * from public.audit_log",
        "insert into public.audit_log (actor, role, table_name, row_id, action) values ('a', 'b', 'c', 'd', 'INSERT')",
        "update public.audit_log set actor = 'nobody'",
        "delete from public.audit_log",
        "truncate public.audit_log",
        "alter table public.audit_log disable trigger all",
        "set session_replication_role = replica",
    ],
)
def test_no_key_of_the_api_reads_or_writes_it(db: psycopg.Connection, role: str, statement: str) -> None:
    with db.transaction(force_rollback=True):
        db.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        with pytest.raises(errors.InsufficientPrivilege):
            db.execute(statement.encode())


def test_a_rollback_takes_its_entries_with_it(books: Books) -> None:
    """The log tells what happened, not what was tried: it is written in the transaction of its cause."""
    campaign = books.campaign()
    with books.db.transaction(force_rollback=True):
        books.db.execute("update public.campaigns set budget_minor = 90000 where id = %s", [campaign["id"]])
        assert log(books, campaign["id"])[-1]["new"] == {"budget_minor": 90_000}

    assert [entry["action"] for entry in log(books, campaign["id"])] == ["INSERT"]


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("update public.audit_log set actor = 'nobody' where row_id = %s", "entry_was_changed"),
        ("update public.audit_log set new = new || '{\"budget_minor\": 1}' where row_id = %s", "entry_was_changed"),
        (
            "delete from public.audit_log where id = (select min(id) from public.audit_log where row_id = %s)",
            "entry_was_changed",
        ),
        ("delete from public.audit_log where row_id = %s and action = 'UPDATE'", "row_is_not_what_its_log_says"),
        ("update public.campaigns set budget_minor = 70000 where id::text = %s", "row_is_not_what_its_log_says"),
        ("delete from public.campaigns where id::text = %s", "row_is_gone"),
    ],
)
def test_who_switches_the_triggers_off_is_found_out(books: Books, tampering: str, said: str) -> None:
    """A superuser can; then the chain of hashes, or the rows beside it, tell."""
    campaign = books.campaign()
    books.db.execute("update public.campaigns set budget_minor = 90000 where id = %s", [campaign["id"]])

    with books.db.transaction(force_rollback=True):
        books.db.execute("set local session_replication_role = replica")
        books.db.execute(tampering.encode(), [campaign["id"]])
        breaches = books.call("audit_breaches")

    assert said in str([breach for breach in breaches if breach["row_id"] == campaign["id"]])
    assert campaign["id"] not in str(books.call("audit_breaches"))
