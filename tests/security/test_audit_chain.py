"""The audit log: nobody changes it, whoever does all the same is found, and it says who did what on whose behalf."""

import random
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from functions.shared import database
from local.stack import LocalStack
from tests.security.catalogue import Actor, become
from tests.support.books import Books, Json
from tests.support.lambdas import cold_functions
from tests.support.travellers import Traveller

STATEMENTS = {
    "insert": """insert into public.audit_log (actor, role, table_name, row_id, action, new, hash)
        values ('me', 'me', 'bookings', 'x', 'INSERT', '{}', repeat('0', 64))""",
    "update": "update public.audit_log set actor = 'somebody else'",
    "delete": "delete from public.audit_log",
    "truncate": "truncate public.audit_log",
}


def owner_of_log(db: psycopg.Connection) -> str:
    row = db.execute("select relowner::regrole::text from pg_class where oid = 'public.audit_log'::regclass").fetchone()
    assert row is not None
    return str(row[0])


def roles(db: psycopg.Connection) -> list[str]:
    """Every role that a token can name, authenticator itself, the owner, and a superuser."""
    found = db.execute(
        "select rolname from pg_roles where pg_has_role('authenticator', oid, 'member') and not rolsuper"
    ).fetchall()
    return [role for (role,) in found] + [owner_of_log(db), "postgres"]


def breaches(books: Books) -> list[tuple[str, str]]:
    """What the verification finds: (breach, table)."""
    return [(found["breach"], found["table_name"]) for found in books.call("audit_breaches")]


def paid(books: Books) -> Json:
    """A confirmed booking: its step."""
    step = books.started()
    books.settle(books.facts(step, "succeeded"), step["attempt_id"])
    return step


def behind_the_back(books: Books, statement: str, step: Json) -> None:
    """What only a superuser can do: work with the triggers off. It must strike one row."""
    for name, condition in WHICH.items():
        statement = statement.replace(name, condition)
    books.db.execute("set local session_replication_role = replica")
    struck = books.db.execute(statement.encode(), {"booking": step["booking_id"]}).rowcount
    books.db.execute("set local session_replication_role = origin")
    assert struck == 1


# --- append-only -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", STATEMENTS)
def test_no_role_changes_the_log(project: psycopg.Connection, books: Books, what: str) -> None:
    paid(books)
    owners = {owner_of_log(project), "postgres"}
    tried = roles(project)
    assert len(tried) > 12
    for role in tried:
        if what == "insert" and role in owners:
            continue  # they can add a line, and the chain shows it: the next test but one
        with project.transaction(force_rollback=True):
            become(project, Actor(role))
            with pytest.raises(errors.InsufficientPrivilege):
                project.execute(STATEMENTS[what].encode())
    assert breaches(books) == []


@pytest.mark.parametrize("table", ["audit_log", "ledger_entries"])
@pytest.mark.parametrize("how", ["update public.{} set id = default", "delete from public.{}", "truncate public.{}"])
def test_the_owner_is_refused_by_the_table_itself(
    project: psycopg.Connection, books: Books, table: str, how: str
) -> None:
    paid(books)
    project.execute(f"set local role {owner_of_log(project)}".encode())
    with pytest.raises(errors.InsufficientPrivilege, match="never changed or deleted"):
        project.execute(how.format(table).encode())


def guarded(db: psycopg.Connection) -> list[str]:
    """The tables whose rows may not be deleted one by one."""
    found = db.execute(
        """select distinct tgrelid::regclass::text from pg_trigger
        where tgfoid = 'internal.refuse_change'::regproc and tgtype & 8 = 8 order by 1"""
    ).fetchall()
    return [table for (table,) in found]


def test_what_is_kept_row_by_row_is_kept_from_truncate(project: psycopg.Connection, books: Books) -> None:
    paid(books)
    tables = guarded(project)
    assert {"bookings", "attempts", "stripe_events", "notifications"} <= {table.split(".")[-1] for table in tables}
    owner = owner_of_log(project)
    for table in tables:
        with (
            pytest.raises(errors.InsufficientPrivilege, match="never changed or deleted"),
            project.transaction(force_rollback=True),
        ):
            project.execute(f"set local role {owner}; truncate {table} cascade".encode())


def test_a_superuser_can_empty_a_world_between_simulations(project: psycopg.Connection, books: Books) -> None:
    paid(books)
    with project.transaction(force_rollback=True):
        project.execute("set local session_replication_role = replica")
        project.execute("truncate public.bookings, public.audit_log cascade")
        assert books.values("select count(*) from public.attempts") == [0]


# --- the head --------------------------------------------------------------------------------------------------------


def head_of(books: Books) -> tuple[int, str]:
    """What an operator keeps elsewhere."""
    until = books.call("audit_settled_until")
    return until, books.call("audit_head", p_until=until)


def test_the_head_stays_while_the_log_grows(books: Books) -> None:
    paid(books)
    until, head = head_of(books)

    paid(books)

    assert books.call("audit_head", p_until=until) == head
    assert head_of(books) != (until, head)


def test_who_writes_a_whole_chain_anew_does_not_meet_an_earlier_head(books: Books) -> None:
    """Nothing in the database can tell: the hashes have no key. The head that was kept elsewhere can."""
    step = paid(books)
    until, head = head_of(books)
    books.db.execute("set local session_replication_role = replica")
    books.db.execute("update public.audit_log set actor = 'nobody' where row_id = %s", [step["attempt_id"]])
    books.db.execute(
        """do $$
        declare
          entry public.audit_log;
          before text;
        begin
          for entry in select * from public.audit_log where actor = 'nobody' order by id loop
            before := internal.audit_hash(before, entry);
            update public.audit_log set hash = before where id = entry.id;
          end loop;
        end
        $$"""
    )
    books.db.execute("set local session_replication_role = origin")

    assert breaches(books) == []
    assert books.call("audit_head", p_until=until) != head


def test_the_head_waits_for_those_who_are_writing(database_url: str) -> None:
    """An id is given before its entry is committed: a head that did not wait would not be met by the same log later."""
    with (
        psycopg.connect(database_url) as writing,
        psycopg.connect(database_url, autocommit=True) as looking,
    ):
        paid(Books(writing))
        with pytest.raises(errors.LockNotAvailable):
            looking.execute("select public.audit_settled_until()")
        writing.commit()
        assert looking.execute("select public.audit_settled_until()").fetchone() is not None


# --- what is personal ------------------------------------------------------------------------------------------------


def test_a_change_of_what_is_masked_is_an_entry_without_the_value(books: Books) -> None:
    campaign = books.campaign()
    change = 'update public.campaigns set title = %s, criteria = \'{"to": "Rome"}\' where id = %s'
    for title in ("To the sea", "To the sea"):
        books.db.execute(change.encode(), [title, campaign["id"]])

    entries = books.values(
        "select jsonb_build_array(l.old, l.new) from public.audit_log as l where l.row_id = %s order by l.id offset 1",
        campaign["id"],
    )

    masked = {"title": "(personal)", "criteria": "(personal)"}
    assert entries == [[masked, masked]]  # the second time nothing changed
    assert breaches(books) == []


def test_a_line_that_the_owner_makes_up_is_found(books: Books) -> None:
    step = paid(books)
    books.db.execute(
        """insert into public.audit_log (actor, role, table_name, row_id, action, old, new, hash)
        values ('me', 'me', 'bookings', %s, 'UPDATE', '{"late_hold": false}', '{"late_hold": true}',
          repeat('0', 64))""",
        [step["booking_id"]],
    )
    assert {breach for breach, _ in breaches(books)} == {
        "entry_was_changed_or_one_before_it_is_missing",
        "row_is_not_what_its_log_says",
    }


# --- tampering -------------------------------------------------------------------------------------------------------

CHANGED = "entry_was_changed_or_one_before_it_is_missing"
NOT_AS_LOGGED = "row_is_not_what_its_log_says"
WHICH = {
    "@second": """id = (
      select id from public.audit_log where table_name = 'bookings' and row_id = %(booking)s
      order by id offset 1 limit 1
    )""",
    "@last": "id = (select max(id) from public.audit_log where table_name = 'bookings' and row_id = %(booking)s)",
}
"""Entries of a booking's log."""

TAMPERING = {
    "who did it": ("update public.audit_log set actor = 'nobody' where @second", {CHANGED}),
    "as which role": ("update public.audit_log set role = 'nobody' where @second", {CHANGED}),
    "in which request": ("update public.audit_log set request_id = 'another' where @second", {CHANGED}),
    "when": ("update public.audit_log set at = at + interval '1 microsecond' where @second", {CHANGED}),
    "what was before": ("""update public.audit_log set old = '{"status": "failed"}' where @second""", {CHANGED}),
    "what came of it": (
        """update public.audit_log set new = new || '{"x": 1}' where @second""",
        {CHANGED, NOT_AS_LOGGED},
    ),
    "its hash": ("update public.audit_log set hash = repeat('a', 64) where @second", {CHANGED}),
    "an entry in the middle is deleted": ("delete from public.audit_log where @second", {CHANGED}),
    "the last entry is deleted": ("delete from public.audit_log where @last", {NOT_AS_LOGGED}),
    "the row is changed": (
        "update public.bookings set user_message = 'All is well.' where id = %(booking)s::uuid",
        {NOT_AS_LOGGED},
    ),
    "the price is changed": (
        "update public.bookings set amount_minor = amount_minor + 1 where id = %(booking)s::uuid",
        {NOT_AS_LOGGED},
    ),
    "the row is deleted": ("delete from public.bookings where id = %(booking)s::uuid", {"row_is_gone"}),
    "a row is smuggled in": (
        "insert into public.customers (user_id, stripe_customer_id) values (gen_random_uuid(), 'cus_smuggled')",
        {NOT_AS_LOGGED},
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_found(books: Books, what: str) -> None:
    statement, found = TAMPERING[what]
    step = paid(books)
    entries = "select count(*) from public.audit_log where table_name = 'bookings' and row_id = %s"
    assert books.values(entries, step["booking_id"])[0] >= 3
    assert breaches(books) == []

    behind_the_back(books, statement, step)

    assert found <= {breach for breach, _ in breaches(books)}
    assert {table for _, table in breaches(books)} == {"customers" if "smuggled" in what else "bookings"}


def test_text_cannot_be_moved_from_one_field_to_the_next(books: Books) -> None:
    """A request id is the caller's own words, whatever characters are in it."""
    books.db.execute("select set_config('request.headers', %s, true)", ['{"x-request-id": "a|b"}'])
    step = paid(books)
    assert breaches(books) == []
    behind_the_back(books, "update public.audit_log set role = role || '|a', request_id = 'b' where @last", step)
    assert breaches(books) == [(CHANGED, "bookings")]


# --- health ----------------------------------------------------------------------------------------------------------


def with_card(books: Books, **campaign: Any) -> Json:
    """A booking under way on a card of its own: the step."""
    return books.started(books.campaign(payment_method_id=books.card()["id"], **campaign))


def decline(books: Books, category: str) -> None:
    step = with_card(books)
    books.settle(books.declined(step, category), step["attempt_id"])


def hold(books: Books) -> None:
    step = with_card(books, capture="manual")
    books.settle(books.facts(step, "requires_capture"), step["attempt_id"])


def pay(books: Books) -> Json:
    step = with_card(books)
    books.settle(books.facts(step, "succeeded"), step["attempt_id"])
    return step


DEEDS: list[Callable[[Books], Any]] = [
    pay,
    hold,
    lambda books: decline(books, "other_card"),
    lambda books: decline(books, "retry_later"),
    lambda books: decline(books, "never"),
    lambda books: books.card(exp_year=2050),
    lambda books: books.call("begin_refund", p_booking_id=pay(books)["booking_id"], p_amount_minor=1),
    lambda books: books.call("stop_all_campaigns", p_user_id=books.user_id),
    lambda books: books.db.execute(
        "update public.campaigns set title = 'Elsewhere', max_price_minor = 15001 where user_id = %s", [books.user_id]
    ),
    lambda books: books.db.execute(
        "update public.bookings set leased_until = now(), status = status where user_id = %s", [books.user_id]
    ),
]
"""What may happen to a user, whatever came before."""


@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_log_has_no_breach_in_any_time_zone(project: psycopg.Connection, seed: int) -> None:
    dice = random.Random(seed)
    project.execute("update internal.settings set velocity_cards_per_day = 1000, velocity_bookings_per_hour = 1000")
    people = [Books(project) for _ in range(3)]
    zones = ["UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham"]
    for _ in range(40):
        project.execute("select set_config('timezone', %s, true)", [dice.choice(zones)])
        project.execute("select set_config('datestyle', %s, true)", [dice.choice(["ISO, MDY", "SQL, DMY", "German"])])
        dice.choice(DEEDS)(dice.choice(people))
    assert people[0].values("select count(*) from public.audit_log")[0] > 100
    for zone in zones:
        project.execute("select set_config('timezone', %s, true)", [zone])
        assert people[0].call("audit_breaches") == []


def test_every_row_of_an_audited_table_has_a_log(books: Books) -> None:
    """And the tables that have no log are known: each has a reason."""
    audited = set(books.values("select tgrelid::regclass::text from pg_trigger where tgname = 'z_audit'"))
    books.db.execute("set local search_path = public")
    tables = set(
        books.values("select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'")
    )
    without = {
        "audit_log": "the log itself",
        "currencies": "changed by migrations alone",
        "incidents": "a log already",
        "ledger_entries": "append-only",
        "matches": "a timeline; what becomes of a match is a booking",
        "notifications": "messages, each kept with its outcome",
        "offers": "the feed's; frozen once booked",
        "stripe_events": "an inbox, each kept with its result",
    }
    assert {name.removeprefix("public.") for name in audited} == tables - without.keys()
    assert without.keys() < tables


# --- who, on whose behalf, in which request --------------------------------------------------------------------------


def entry(traveller: Traveller, table: str, row_id: str, *, newest: bool = True) -> tuple[Any, ...]:
    """Actor, role and request of the newest, or the first, entry of a row."""
    found = traveller.rows(
        "select actor, role, request_id from public.audit_log where table_name = %s and row_id = %s order by id",
        table,
        row_id,
    )
    return found[-1 if newest else 0]


def test_a_users_edit_names_the_user_and_the_request(traveller: Traveller) -> None:
    campaign = traveller.open_campaign()
    answer = traveller.api.patch(f"/campaigns/{campaign['id']}", {"max_price_minor": 12_345})
    assert answer.is_success, answer.text
    assert entry(traveller, "campaigns", campaign["id"]) == (
        traveller.id,
        "authenticated",
        answer.headers["x-request-id"],
    )


def test_a_functions_change_names_its_role_and_the_request(carded: Traveller) -> None:
    answer = carded.charge(carded.open_campaign(), carded.offer())
    booking = answer.json()
    assert entry(carded, "bookings", booking["id"], newest=False) == (
        "autobook_charge_booking",
        "autobook_charge_booking",
        answer.headers["x-request-id"],
    )


def test_an_operators_change_names_the_key_and_the_request(stack: LocalStack, traveller: Traveller) -> None:
    campaign = traveller.open_campaign()
    request_id = uuid4().hex
    with cold_functions(stack, SUPABASE_SECRET_KEY=stack.supabase.secret_key):
        database.as_operator(request_id).call("erase_user", p_user_id=traveller.id)
    assert entry(traveller, "campaigns", campaign["id"]) == ("service_role", "service_role", request_id)
