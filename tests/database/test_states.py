"""The state machines: Python's mirror (functions/shared/states.py) equals the database, and the database holds them."""

import inspect
from enum import StrEnum
from itertools import product

import psycopg
import pytest
from psycopg import sql

from functions.shared import states
from functions.shared.states import (
    MOVES,
    AttemptStatus,
    BookingStatus,
    CampaignStatus,
    CaptureMode,
    HoldEnd,
    MatchState,
    PauseReason,
    PaymentMethodStatus,
    Verdict,
)

ENUMS: dict[type[StrEnum], str] = {
    AttemptStatus: "attempt_status",
    BookingStatus: "booking_status",
    CampaignStatus: "campaign_status",
    CaptureMode: "capture_mode",
    HoldEnd: "hold_end",
    MatchState: "match_state",
    PauseReason: "pause_reason",
    PaymentMethodStatus: "payment_method_status",
    Verdict: "match_verdict",
}
OF_THE_DATABASE_ONLY = ("refunds", "notifications")
"""State machines that Python has no need to know."""
MACHINES = (*MOVES, *OF_THE_DATABASE_ONLY)

Moves = set[tuple[str, str]]


def moves_in_the_database(db: psycopg.Connection, machine: str) -> Moves:
    return set(
        db.execute("select from_status, to_status from internal.transitions where machine = %s", [machine]).fetchall()
    )


def labels(db: psycopg.Connection, enum: str) -> list[str]:
    rows = db.execute(
        "select enumlabel from pg_enum where enumtypid = %s::regtype order by enumsortorder", [f"public.{enum}"]
    )
    return [label for (label,) in rows]


def status_type(db: psycopg.Connection, table: str) -> str:
    row = db.execute(
        "select udt_name from information_schema.columns"
        " where table_schema = 'public' and table_name = %s and column_name = 'status'",
        [table],
    ).fetchone()
    assert row is not None, f"{table} has no status"
    return str(row[0])


def test_every_enum_of_the_module_is_compared() -> None:
    defined = {member for _, member in inspect.getmembers(states, inspect.isclass) if issubclass(member, StrEnum)}
    assert defined - {StrEnum} == set(ENUMS)


@pytest.mark.parametrize("mirror", ENUMS, ids=lambda mirror: mirror.__name__)
def test_an_enum_has_the_database_s_labels_in_its_order(db: psycopg.Connection, mirror: type[StrEnum]) -> None:
    assert [member.value for member in mirror] == labels(db, ENUMS[mirror])


@pytest.mark.parametrize("machine", MOVES)
def test_the_moves_are_the_database_s(db: psycopg.Connection, machine: str) -> None:
    mirrored = {(before.value, after.value) for before, afters in MOVES[machine].items() for after in afters}
    assert mirrored == moves_in_the_database(db, machine)
    mirror = next(mirror for mirror, name in ENUMS.items() if name == status_type(db, machine))
    assert {type(status) for before, afters in MOVES[machine].items() for status in (before, *afters)} == {mirror}


def test_no_machine_is_forgotten(db: psycopg.Connection) -> None:
    names = {name for (name,) in db.execute("select distinct machine from internal.transitions")}
    assert names == set(MACHINES)
    # A table whose status an enum names moves by the table of transitions, or says here why not.
    tables = {
        name
        for (name,) in db.execute(
            "select table_name from information_schema.columns where table_schema = 'public'"
            " and column_name = 'status' and data_type = 'USER-DEFINED'"
            " and table_name in (select tablename from pg_tables where schemaname = 'public')"
        )
    }
    exempt = {
        "setup_intents",  # a copy of Stripe's status, which moves as Stripe says
        "stripe_events",  # what became of an event the last time it was tried, no state that others wait for
    }
    assert tables == names | exempt


@pytest.mark.parametrize("machine", MACHINES)
def test_the_table_is_guarded_by_an_enabled_trigger(db: psycopg.Connection, machine: str) -> None:
    definitions = [
        definition
        for (definition,) in db.execute(
            "select pg_get_triggerdef(oid) from pg_trigger"
            " where tgrelid = %s::regclass and tgfoid = 'internal.check_transition'::regproc and tgenabled <> 'D'",
            [f"public.{machine}"],
        )
    ]
    assert len(definitions) == 1
    assert " BEFORE UPDATE ON " in definitions[0]
    assert " FOR EACH ROW EXECUTE " in definitions[0]


@pytest.mark.parametrize("machine", MACHINES)
def test_allowed_moves_pass_and_all_others_raise(db: psycopg.Connection, machine: str) -> None:
    """On a scratch table of the same name, which is what the trigger function goes by."""
    enum = status_type(db, machine)
    allowed = moves_in_the_database(db, machine)
    passed: Moves = set()
    refusals: list[str | None] = []
    with db.transaction(force_rollback=True):
        table = sql.Identifier("pg_temp", machine)
        db.execute(
            sql.SQL("create temporary table {} (status {})").format(sql.Identifier(machine), sql.Identifier(enum))
        )
        db.execute(
            sql.SQL(
                "create trigger guard before update on {} for each row execute function internal.check_transition()"
            ).format(table)
        )
        for before, after in product(labels(db, enum), repeat=2):
            db.execute(sql.SQL("delete from {}").format(table))
            db.execute(sql.SQL("insert into {} values (%s)").format(table), [before])
            try:
                with db.transaction():
                    db.execute(sql.SQL("update {} set status = %s").format(table), [after])
                passed.add((before, after))
            except psycopg.errors.CheckViolation as error:
                refusals.append(error.diag.message_primary)
    staying = {(status, status) for status in labels(db, enum)}
    assert passed == allowed | staying
    refused = set(product(labels(db, enum), repeat=2)) - passed
    assert set(refusals) == {f"{machine} may not move from {before} to {after}" for before, after in refused}


def test_not_even_the_owner_moves_an_ended_row(db: psycopg.Connection) -> None:
    """On the real table, so that the trigger is seen at work where it counts."""
    with db.transaction(force_rollback=True):
        row = db.execute(
            "with u as (insert into auth.users (id, email) values (gen_random_uuid(), 'states@example.com')"
            " returning id)"
            " insert into public.customers (user_id, stripe_customer_id, email)"
            " select id, 'cus_states', 'states@example.com' from u returning user_id"
        ).fetchone()
        assert row is not None
        card = db.execute(
            "insert into public.payment_methods (user_id, stripe_payment_method_id, brand, last4,"
            " exp_month, exp_year, funding) values (%s, 'pm_states', 'visa', '4242', 12, 2040, 'credit')"
            " returning id",
            row,
        ).fetchone()
        db.execute("update public.payment_methods set status = 'detached' where id = %s", card)
        with pytest.raises(psycopg.errors.CheckViolation, match="may not move from detached to usable"):
            db.execute("update public.payment_methods set status = 'usable' where id = %s", card)
