"""Leasing and settling notifications, and what Realtime shows of them: the SQL, against a real Postgres."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from local.migrate import migrate
from local.postgres import PostgresServer
from local.supabase.bootstrap import apply_bootstrap
from tests.support.notifications import LEASE_SECONDS, Notifications

MIGRATION = Path(__file__).parents[2] / "sql" / "0041_realtime.sql"


@pytest.fixture
def owed(fresh_database_url: str) -> Iterator[Notifications]:
    """Notifications of one test alone."""
    patience = "-c statement_timeout=15s"  # a claim that waits for another is a failure, no hang
    with psycopg.connect(fresh_database_url, autocommit=True, options=patience) as connection:
        yield Notifications(connection, fresh_database_url)


def in_seconds(row: dict[str, Any]) -> float:
    """How far ahead a row's next attempt lies."""
    return (datetime.fromisoformat(row["next_attempt_at"]) - datetime.now(UTC)).total_seconds()


def wait_of(row: dict[str, Any]) -> float:
    """The wait that the last change of a row set, in seconds, exactly."""
    set_at, until = (datetime.fromisoformat(row[name]) for name in ("updated_at", "next_attempt_at"))
    return (until - set_at).total_seconds()


# --- what a template gets ---------------------------------------------------------------------------------------------


def test_a_claim_gives_all_that_a_template_needs(owed: Notifications) -> None:
    user_id = owed.user()
    campaign_id = owed.campaign(user_id, currency="jpy")
    booking_id = owed.booking(user_id, campaign_id)
    owed.attempt(booking_id, user_id, owed.card(user_id, "0002"), 1, "declined")
    owed.attempt(booking_id, user_id, owed.card(user_id, "4444", "mastercard"), 2, "succeeded")
    owed.attempt(booking_id, user_id, owed.card(user_id, "9995"), 3, "voided")
    data = {"amount_minor": 12500, "currency": "jpy"}
    notification_id = owed.owe(user_id, "booking_confirmed", data, campaign_id=campaign_id, booking_id=booking_id)

    (claimed,) = owed.claim()

    assert claimed.pop("created_at") is not None
    assert claimed == {
        "id": str(notification_id),
        "try": 1,
        "kind": "booking_confirmed",
        "data": data,
        "email": "ada@example.com",
        "campaign": {"id": str(campaign_id), "title": "Lisbon in May"},
        "booking": {"id": str(booking_id), "amount_minor": 12500, "currency": "jpy"},
        # The card that paid, neither the first that was tried nor the last.
        "card": {"brand": "mastercard", "last4": "4444", "exp_month": 4, "exp_year": 2031},
        "exponent": 0,
    }


def test_a_message_about_a_card_names_that_card(owed: Notifications) -> None:
    user_id = owed.user()
    owed.card(user_id, "1111")
    owed.owe(user_id, "card_unusable", {"payment_method_id": str(owed.card(user_id, "2222"))})
    (claimed,) = owed.claim()
    assert claimed["card"]["last4"] == "2222"


@pytest.mark.parametrize("data", [{"payment_method_id": "not an id"}, {"payment_method_id": str(uuid4())}, {}])
def test_a_card_that_is_not_the_users_is_not_shown(owed: Notifications, data: dict[str, Any]) -> None:
    user_id, stranger = owed.user(), owed.user("ben@example.com")
    owed.card(stranger)
    owed.owe(user_id, "card_unusable", data)
    (claimed,) = owed.claim()
    assert (claimed["card"], claimed["email"]) == (None, "ada@example.com")


def test_a_card_of_somebody_else_named_by_mistake_stays_theirs(owed: Notifications) -> None:
    user_id, stranger = owed.user(), owed.user("ben@example.com")
    owed.owe(user_id, "card_unusable", {"payment_method_id": str(owed.card(stranger))})
    (claimed,) = owed.claim()
    assert claimed["card"] is None


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_claimed_message_is_nobody_elses_until_its_lease_ends(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    assert len(owed.claim()) == 1
    assert owed.claimed() == {"examined": 0, "notifications": []}
    assert LEASE_SECONDS - 5 < in_seconds(owed.row(notification_id)) <= LEASE_SECONDS

    owed.make_due()
    (again,) = owed.claim()
    assert (again["id"], again["try"]) == (str(notification_id), 2)


def test_the_oldest_come_first_and_the_limit_is_kept(owed: Notifications) -> None:
    user_id = owed.user()
    expected = [str(owed.owe(user_id)) for _ in range(5)]
    assert [row["id"] for row in owed.claim(2)] == expected[:2]
    assert [row["id"] for row in owed.claim(9)] == expected[2:]


def test_what_is_not_due_yet_waits(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    owed.db.execute(
        "update public.notifications set next_attempt_at = now() + interval '1 minute' where id = %s", [notification_id]
    )
    assert owed.claimed()["examined"] == 0


def test_a_claim_passes_over_what_another_is_claiming_at_this_moment(owed: Notifications) -> None:
    user_id = owed.user()
    first, second = str(owed.owe(user_id)), str(owed.owe(user_id))
    with psycopg.connect(owed.url) as other:
        row = other.execute("select public.claim_notifications(1, 60)").fetchone()
        assert row is not None
        assert [claimed["id"] for claimed in row[0]["notifications"]] == [first]
        # The other has not committed: it is neither waited for nor disturbed.
        assert [claimed["id"] for claimed in owed.claim()] == [second]


def test_many_senders_at_once_get_each_message_once(owed: Notifications) -> None:
    user_id = owed.user()
    expected = sorted(str(owed.owe(user_id)) for _ in range(60))
    got: list[str] = []
    start = threading.Barrier(4)

    def sender() -> None:
        with psycopg.connect(owed.url, autocommit=True) as connection:
            start.wait(timeout=10)
            idle = 0
            while idle < 3:  # a claim may find all that is due in another's hands
                row = connection.execute("select public.claim_notifications(3, 60)").fetchone()
                assert row is not None
                idle = 0 if row[0]["examined"] else idle + 1
                got.extend(claimed["id"] for claimed in row[0]["notifications"])

    threads = [threading.Thread(target=sender) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(got) == expected


# --- how a try ends ---------------------------------------------------------------------------------------------------


def test_sent_is_sent_once_and_stays_it(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    owed.claim()
    assert owed.settle(notification_id, 1, "sent") == "sent"
    assert owed.settle(notification_id, 1, "sent") == "already_sent"
    assert owed.settle(notification_id, 1, "retry", "timeout") == "already_sent"
    row = owed.row(notification_id)
    assert (row["status"], row["last_error"]) == ("sent", None)
    assert row["sent_at"] is not None
    owed.make_due()
    assert owed.claimed()["examined"] == 0


def test_waits_double_and_after_eight_tries_it_is_dead_and_somebody_is_told(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    waits = []
    for number in range(1, 9):
        (claimed,) = owed.claim()
        assert claimed["try"] == number
        settled = owed.settle(notification_id, number, "retry", "ReadTimeoutError")
        if number < 8:
            assert settled == "retry"
            waits.append(wait_of(owed.row(notification_id)))
            owed.make_due()
        else:
            assert settled == "dead"
    stretched = [wait / (60 * 2**number) for number, wait in enumerate(waits)]
    assert 1 <= min(stretched) < max(stretched) <= 1.25
    row = owed.row(notification_id)
    assert (row["status"], row["tries"], row["last_error"]) == ("dead", 8, "ReadTimeoutError")
    assert owed.incidents() == [("notification_dead", "campaign_completed could not be sent: ReadTimeoutError")]


def test_a_permanent_refusal_is_dead_at_once_and_an_operator_can_revive_it(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    owed.claim()
    assert owed.settle(notification_id, 1, "dead", "MessageRejected") == "dead"
    assert len(owed.incidents()) == 1
    owed.db.execute(
        "update public.notifications set status = 'pending', tries = 0, next_attempt_at = now() where status = 'dead'"
    )
    (claimed,) = owed.claim()
    assert owed.settle(notification_id, claimed["try"], "sent") == "sent"


def test_a_released_message_is_due_again_and_has_not_been_tried(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    owed.claim()
    assert owed.settle(notification_id, 1, "released") == "released"
    assert owed.row(notification_id)["tries"] == 0
    assert [claimed["id"] for claimed in owed.claim()] == [str(notification_id)]
    assert owed.row(notification_id)["tries"] == 1
    assert owed.incidents() == []


def test_given_back_twice_it_counts_once(owed: Notifications) -> None:
    """Nobody has claimed it between the two, and the second took away a try that had failed."""
    notification_id = owed.owe(owed.user())
    (first,) = owed.claim()
    assert owed.settle(notification_id, first["try"], "retry") == "retry"
    owed.db.execute("update public.notifications set next_attempt_at = now() where id = %s", [notification_id])
    (second,) = owed.claim()

    assert owed.settle(notification_id, second["try"], "released") == "released"
    assert owed.settle(notification_id, second["try"], "released") == "lease_lost"

    assert owed.row(notification_id)["tries"] == 1


def test_who_gives_back_twice_takes_nobody_elses_lease(owed: Notifications) -> None:
    """Its first answer was lost, and somebody has claimed the message since: a third would mail it, too (seed 9815)."""
    notification_id = owed.owe(owed.user())
    (first,) = owed.claim()
    assert owed.settle(notification_id, first["try"], "released") == "released"
    (second,) = owed.claim()

    assert owed.settle(notification_id, first["try"], "released") == "lease_lost"

    assert owed.claim() == []
    assert owed.settle(notification_id, second["try"], "sent") == "sent"
    assert owed.row(notification_id)["tries"] == 1


def test_a_provider_that_takes_nothing_costs_no_tries_and_is_reported_once_a_day(owed: Notifications) -> None:
    user_id = owed.user()
    first, second = owed.owe(user_id), owed.owe(user_id)
    owed.claim()
    for notification_id in (first, second):
        assert owed.settle(notification_id, 1, "released", "SendingPausedException") == "released"
    row = owed.row(first)
    assert (row["tries"], row["status"], row["last_error"]) == (0, "pending", "SendingPausedException")
    assert 50 < in_seconds(row) <= 60
    assert owed.incidents() == [("mail_provider", "No mail goes out: SendingPausedException")]


def test_a_sender_whose_lease_has_passed_to_another_can_only_say_that_it_sent(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    owed.claim()
    owed.make_due()
    owed.claim()
    for outcome in ("retry", "dead", "released"):
        assert owed.settle(notification_id, 1, outcome, "late") == "lease_lost"
    assert owed.row(notification_id)["status"] == "pending"
    assert owed.settle(notification_id, 1, "sent") == "sent"
    assert owed.settle(notification_id, 2, "sent") == "already_sent"


def test_a_message_that_always_crashes_its_sender_is_given_up(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    for _ in range(8):
        assert len(owed.claim()) == 1
        owed.make_due()
    assert owed.claimed() == {"examined": 1, "notifications": []}
    assert owed.row(notification_id)["last_error"] == "never_settled"
    assert owed.incidents() == [("notification_dead", "campaign_completed could not be sent: never_settled")]


def test_settling_what_does_not_exist_or_in_unknown_words_changes_nothing(owed: Notifications) -> None:
    assert owed.settle(uuid4(), 1, "sent") == "unknown"
    notification_id = owed.owe(owed.user())
    owed.claim()
    with pytest.raises(psycopg.Error, match="unknown_action"):
        owed.settle(notification_id, 1, "maybe")
    assert owed.row(notification_id)["status"] == "pending"


def test_an_error_has_no_room_for_an_address(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    owed.claim()
    with pytest.raises(psycopg.errors.CheckViolation):
        owed.settle(notification_id, 1, "retry", "Address ada@example.com is not verified")


# --- whom nobody can write to, and what is over -----------------------------------------------------------------------


def test_nobody_to_write_to_is_dead_without_alarm(owed: Notifications) -> None:
    erased = owed.owe(owed.user(email=None))
    assert owed.claimed() == {"examined": 1, "notifications": []}
    row = owed.row(erased)
    assert (row["status"], row["last_error"], row["tries"]) == ("dead", "no_address", 0)
    assert owed.incidents() == []


def test_a_user_who_never_saved_a_card_is_written_to_where_they_signed_up(owed: Notifications) -> None:
    user_id = owed.user(customer=False)
    owed.owe(user_id, "campaign_expired")
    (claimed,) = owed.claim()
    assert claimed["email"].endswith("@signup.example.com")


def test_an_address_that_was_never_confirmed_is_not_written_to(owed: Notifications) -> None:
    user_id = owed.user(customer=False)
    owed.db.execute("update auth.users set email_confirmed_at = null where id = %s", [user_id])
    notification_id = owed.owe(user_id, "campaign_expired")
    assert owed.claim() == []
    assert owed.row(notification_id)["last_error"] == "no_address"


SOON = datetime.now(UTC) + timedelta(hours=1)
PAST = datetime.now(UTC) - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("kind", "booking", "still_true"),
    [
        ("authentication_required", {"status": "requires_action", "action_expires_at": SOON}, True),
        ("authentication_required", {"status": "requires_action", "action_expires_at": PAST}, False),
        (
            "authentication_required",
            {"status": "requires_action", "action_expires_at": SOON, "closing_as": "cancelled"},
            False,
        ),
        ("authentication_required", {"status": "confirmed"}, False),
        ("booking_retrying", {"status": "retry_scheduled", "retry_at": SOON}, True),
        ("booking_retrying", {"status": "confirmed"}, False),
        # Ends are told, whatever came after them.
        ("booking_confirmed", {"status": "refunded"}, True),
        ("booking_failed", {"status": "failed", "closing_as": "failed"}, True),
    ],
)
def test_a_message_about_a_moment_that_has_passed_is_not_sent(
    owed: Notifications, kind: str, booking: dict[str, Any], *, still_true: bool
) -> None:
    user_id = owed.user()
    campaign_id = owed.campaign(user_id)
    booking_id = owed.booking(user_id, campaign_id, **booking)
    notification_id = owed.owe(user_id, kind, campaign_id=campaign_id, booking_id=booking_id)
    assert len(owed.claim()) == still_true
    row = owed.row(notification_id)
    assert (row["status"], row["last_error"]) == (("pending", None) if still_true else ("dead", "overtaken"))
    assert owed.incidents() == []


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize(
    "call", ["claim_notifications(1, 60)", "settle_notification(gen_random_uuid(), 1, 'sent', null)"]
)
def test_no_user_claims_or_settles(owed: Notifications, role: str, call: str) -> None:
    with owed.db.transaction(force_rollback=True):
        owed.db.execute(f"set local role {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owed.db.execute(f"select public.{call}".encode())


def test_notifys_role_claims_and_settles_but_cannot_read_the_table(owed: Notifications) -> None:
    notification_id = owed.owe(owed.user())
    with owed.db.transaction():
        owed.db.execute("set local role autobook_notify")
        assert len(owed.claim()) == 1
        assert owed.settle(notification_id, 1, "sent") == "sent"
    with owed.db.transaction(force_rollback=True):
        owed.db.execute("set local role autobook_notify")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owed.db.execute("select 1 from public.notifications")


# --- Realtime ---------------------------------------------------------------------------------------------------------


def test_realtime_carries_notifications_and_nothing_else(owed: Notifications) -> None:
    published = owed.db.execute(
        "select schemaname, tablename from pg_publication_tables where pubname = 'supabase_realtime'"
    ).fetchall()
    assert published == [("public", "notifications")]


def test_realtime_gets_the_key_of_an_old_row_and_no_more(owed: Notifications) -> None:
    assert owed.value("select relreplident from pg_class where oid = 'public.notifications'::regclass") == "d"
    key = owed.db.execute(
        "select a.attname from pg_index as i inner join pg_attribute as a on a.attrelid = i.indrelid"
        " and a.attnum = any(i.indkey) where i.indrelid = 'public.notifications'::regclass and i.indisprimary"
    ).fetchall()
    assert key == [("id",)]


def test_what_realtime_asks_before_it_shows_a_row_is_answered_with_ones_own_rows_alone(owed: Notifications) -> None:
    """`realtime.apply_rls` takes the subscriber's role and claims and looks for the row by its primary key."""
    mine, theirs = owed.user(), owed.user("ben@example.com")
    my_row, their_row = owed.owe(mine), owed.owe(theirs)
    with owed.db.transaction(force_rollback=True):
        owed.db.execute("select set_config('request.jwt.claims', %s, true)", [f'{{"sub": "{mine}"}}'])
        owed.db.execute("set local role authenticated")
        seen = owed.db.execute(
            "select id from public.notifications where id = any(%s)", [[my_row, their_row]]
        ).fetchall()
    assert seen == [(my_row,)]


def test_realtime_leaves_out_how_a_message_is_being_sent(owed: Notifications) -> None:
    """It asks `has_column_privilege` for each column, and fails a table whose primary key may not be read."""
    shown = owed.db.execute(
        "select attname from pg_attribute where attrelid = 'public.notifications'::regclass and attnum > 0"
        " and not attisdropped and has_column_privilege('authenticated', attrelid, attname, 'select')"
    ).fetchall()
    assert {name for (name,) in shown} == {
        "id",
        "user_id",
        "kind",
        "campaign_id",
        "booking_id",
        "data",
        "created_at",
    }


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[PostgresServer]:
    """Roles belong to a cluster: here all that migrations make belong to hosted_postgres, as on a project."""
    with PostgresServer.start() as server:
        yield server


@pytest.mark.parametrize("publication", ["as hosted", "missing", "switched on in the dashboard"])
def test_the_publication_is_set_up_whatever_a_project_has(own_cluster: PostgresServer, publication: str) -> None:
    """As the role that migrates a hosted project: it owns the publication and is no superuser."""
    name = f"project_{publication.replace(' ', '_')}"
    url = own_cluster.create_database(name)
    apply_bootstrap(url, auto_expose=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter publication supabase_realtime owner to hosted_postgres")
        if publication == "missing":
            connection.execute("drop publication supabase_realtime")
        # A login that becomes hosted_postgres at once, so that what it makes belongs to that role.
        migrator = f"migrator_{uuid4().hex[:8]}"
        connection.execute(f"create role {migrator} login password 'migrates' in role hosted_postgres".encode())
        connection.execute(f"alter role {migrator} set role hosted_postgres".encode())
    parts = urlsplit(url)
    migrate(urlunsplit(parts._replace(netloc=f"{migrator}:migrates@{parts.hostname}:{parts.port}")))
    with psycopg.connect(url, autocommit=True) as connection:
        if publication == "switched on in the dashboard":
            connection.execute(b"do $$" + MIGRATION.read_bytes().partition(b"do $$")[2])
        rows = connection.execute(
            "select tablename from pg_publication_tables where pubname = 'supabase_realtime'"
        ).fetchall()
    assert rows == [("notifications",)]
