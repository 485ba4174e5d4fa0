"""The numbers of how it goes, on rows whose numbers are known; each test has a database of its own."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.books import Books, Json

IDLE = {
    "window_seconds": 3600,
    "payment_success_rate": None,
    "auto_booking_latency_p50_ms": None,
    "auto_booking_latency_p95_ms": None,
    "webhook_processing_p95_ms": None,
    "webhook_delivery_p95_seconds": None,
}
"""Where nothing has happened these have no value; every other number is 0."""


@pytest.fixture
def books(fresh_database_url: str) -> Iterator[Books]:
    """A user in a database that holds nothing else."""
    with psycopg.connect(fresh_database_url, autocommit=True) as db:
        db.execute("update internal.settings set velocity_bookings_per_hour = 1000")
        yield Books(db)


@pytest.mark.parametrize(
    ("began", "ended", "milliseconds"),
    [
        ("2026-11-27 12:00:00", "2026-11-27 12:00:01.2346", 1235),
        ("2026-11-27 12:00:00", "2026-11-27 11:59:00", 0),
        ("2026-11-27 12:00:00", "2027-11-27 12:00:00", 2**31 - 1),
    ],
)
def test_a_clock_that_is_set_meanwhile_breaks_nothing(
    fresh_database_url: str, began: str, ended: str, milliseconds: int
) -> None:
    with psycopg.connect(fresh_database_url) as db:
        row = db.execute("select internal.milliseconds(%s, %s)", [began, ended]).fetchone()
    assert row == (milliseconds,)


def numbers(books: Books, window_seconds: int = 3600) -> Json:
    """What the function answers."""
    answered: Json = books.call("operational_numbers", p_window_seconds=window_seconds)
    return answered


def tamper(books: Books, statement: str, *arguments: Any) -> None:
    """Change rows as no function could: triggers are off."""
    with books.db.transaction():
        books.db.execute("set local session_replication_role = replica")
        assert books.db.execute(statement.encode(), arguments).rowcount > 0


def confirmed(books: Books, campaign: Json) -> Json:
    """A booking that is paid: its step."""
    step = books.started(campaign)
    assert books.settle(books.facts(step, "succeeded"), step["attempt_id"])["result"] == "confirmed"
    return step


def failed(books: Books) -> Json:
    """A booking whose card was declined for good: its step. Its campaign pauses, so each has one of its own."""
    step = books.started(books.campaign())
    closing = books.settle(books.declined(step, "other_card"), step["attempt_id"])["next"]
    assert books.settle(books.facts(closing, "canceled"))["result"] == "failed"
    return step


def event(books: Books, name: str, **changes: Any) -> Json:
    """An event that only gets stored."""
    stored: Json = books.call(
        "receive_event",
        p_event={
            "id": f"evt_{name}",
            "type": "payment_intent.created",
            "api_version": "2026-10-28.endive",
            "livemode": False,
            "object_id": None,
            "created": 1_700_000_000,
            "handler": None,
            "facts": {},
            "flag": None,
        }
        | changes,
    )
    return stored


def test_where_nothing_happened_there_is_nothing_to_be_late(books: Books) -> None:
    watermark = numbers(books).pop("events_watermark_age_seconds")
    assert 0 <= watermark < 600
    answered = {name: value for name, value in numbers(books).items() if name != "events_watermark_age_seconds"}
    assert answered == dict.fromkeys(answered, 0) | IDLE


def test_the_success_rate_is_of_payments_that_ended(books: Books) -> None:
    campaign = books.campaign()
    for _ in range(3):
        confirmed(books, campaign)
    failed(books)
    books.started(campaign)  # not ended

    answered = numbers(books)
    assert (answered["payments_ended"], answered["payments_succeeded"]) == (4, 3)
    assert answered["payment_success_rate"] == 0.75
    assert answered["unsettled_attempts"] == 1
    assert answered["campaigns_created"] == 2


def test_a_held_payment_has_succeeded_and_a_called_off_one_is_no_payment(books: Books) -> None:
    campaign = books.campaign(capture="manual")
    held = books.started(campaign)
    books.settle(books.facts(held, "requires_capture"), held["attempt_id"])
    called_off = books.started(campaign)
    books.settle(books.facts(called_off, "requires_capture"), called_off["attempt_id"])
    closing = books.call("begin_void", p_booking_id=called_off["booking_id"])["next"]
    assert books.settle(books.facts(closing, "canceled"))["result"] == "cancelled"

    answered = numbers(books)
    assert (answered["payments_ended"], answered["payments_succeeded"]) == (1, 1)


def test_what_ended_before_the_window_does_not_count(books: Books) -> None:
    step = confirmed(books, books.campaign())
    tamper(books, "update public.bookings set confirmed_at = confirmed_at - interval '2 hours'")
    tamper(books, "update public.attempts set settled_at = settled_at - interval '2 hours'")
    assert numbers(books)["payments_ended"] == 0
    assert numbers(books, 3 * 3600)["payments_ended"] == 1
    assert books.statuses(step) == ("confirmed", ["succeeded"])


def test_the_latency_of_automatic_bookings_is_from_the_offer_to_the_confirmation(books: Books) -> None:
    books.card()
    automatic, by_hand = books.campaign(auto_book=True, budget_minor=1_000_000, max_bookings=100), books.campaign()
    latencies = list(range(100, 2100, 100))
    for latency_ms in latencies:
        step = confirmed(books, automatic)
        tamper(
            books,
            """update public.matches as m set considered_at = b.confirmed_at - %s * interval '1 millisecond'
            from public.bookings as b
            where b.id = %s and m.campaign_id = b.campaign_id and m.offer_id = b.offer_id""",
            latency_ms,
            step["booking_id"],
        )
    confirmed(books, by_hand)
    waited = confirmed(books, books.campaign(auto_book=True))
    books.insert(
        "notifications",
        user_id=books.user_id,
        kind="authentication_required",
        dedupe_key=waited["booking_id"],
        booking_id=waited["booking_id"],
    )

    answered = numbers(books)
    assert answered["payments_ended"] == len(latencies) + 2
    assert answered["auto_bookings"] == len(latencies)
    assert answered["auto_booking_latency_p50_ms"] == pytest.approx(1050)
    assert answered["auto_booking_latency_p95_ms"] == pytest.approx(1905)


def test_an_unsettled_attempt_is_as_old_as_it_is(books: Books) -> None:
    young, old = books.started(), books.started()
    tamper(
        books,
        "update public.attempts set created_at = created_at - interval '20 minutes' where id = %s",
        old["attempt_id"],
    )
    answered = numbers(books)
    assert answered["unsettled_attempts"] == 2
    assert 1200 <= answered["oldest_unsettled_attempt_age_seconds"] < 1300
    books.settle(books.facts(young, "processing"), young["attempt_id"])
    assert (numbers(books)["unsettled_attempts"], numbers(books)["processing_attempts"]) == (1, 1)


def test_a_booking_is_due_since_its_last_real_change(books: Books) -> None:
    step = books.started()
    assert numbers(books)["due_bookings"] == 0, "somebody is at it"
    tamper(books, "update public.audit_log set at = at - interval '40 minutes'")
    for _ in range(2):  # reconcile took the step and got nowhere, twice: its lease changes updated_at
        books.call("take_step", p_booking_id=step["booking_id"])
        books.forget_lease(step)
    answered = numbers(books)
    assert answered["due_bookings"] == 1
    assert 2400 <= answered["oldest_due_booking_age_seconds"] < 2500


def test_a_retry_is_due_since_its_time_and_not_since_it_was_planned(books: Books) -> None:
    step = books.started()
    assert books.settle(books.declined(step, "retry_later"), step["attempt_id"])["result"] == "retry_scheduled"
    tamper(books, "update public.audit_log set at = at - interval '3 hours'")
    assert numbers(books)["due_bookings"] == 0
    tamper(books, "update public.bookings set retry_at = now() - interval '5 minutes'")
    answered = numbers(books)
    assert answered["due_bookings"] == 1
    assert 300 <= answered["oldest_due_booking_age_seconds"] < 400


def test_waiting_matches_notifications_and_incidents_have_ages(books: Books) -> None:
    campaign = books.campaign(auto_book=True)
    offer = {"id": "an-offer", "attributes": {"of": books.user_id}, "amount_minor": 1000, "currency": "eur"}
    books.call("ingest_offers", p_offers=[offer | {"expires_at": "2036-01-01T00:00:00Z"}])
    tamper(books, "update public.matches set considered_at = considered_at - interval '3 minutes'")
    for minutes, status in ((10, "pending"), (2, "pending"), (50, "dead")):
        books.insert("notifications", user_id=books.user_id, kind="test", dedupe_key=str(minutes), status=status)
        tamper(
            books,
            "update public.notifications set next_attempt_at = now() - %s * interval '1 minute' where dedupe_key = %s",
            minutes,
            str(minutes),
        )
    books.insert("incidents", kind="late_success", dedupe_key="open", detail="d")
    books.insert("incidents", kind="late_success", dedupe_key="resolved", detail="d")
    tamper(books, "update public.incidents set created_at = now() - interval '1 day'")
    tamper(books, "update public.incidents set resolved_at = now() where dedupe_key = 'resolved'")

    answered = numbers(books)
    assert campaign["auto_book"]
    assert (answered["waiting_matches"], answered["notifications_due"], answered["unresolved_incidents"]) == (1, 2, 1)
    assert 180 <= answered["oldest_waiting_match_age_seconds"] < 280
    assert 600 <= answered["notification_lag_seconds"] < 700
    assert 86_400 <= answered["oldest_incident_age_seconds"] < 86_500


def test_events_are_timed_when_they_are_first_processed(books: Books) -> None:
    assert event(books, "one")["status"] == "ignored"
    (first,) = books.values("select processing_ms from public.stripe_events")
    assert 0 <= first < 5000
    tamper(books, "update public.stripe_events set processing_ms = 1500, received_at = now()")
    assert event(books, "one")["duplicate"]
    assert books.values("select processing_ms from public.stripe_events") == [1500]
    event(books, "two", flag="wrong_livemode")
    tamper(books, "update public.stripe_events set stripe_created_at = received_at - interval '7 seconds'")

    answered = numbers(books)
    assert (answered["events_received"], answered["events_flagged"]) == (2, 1)
    assert 1000 < answered["webhook_processing_p95_ms"] <= 1500
    assert answered["webhook_delivery_p95_seconds"] == pytest.approx(7)


def test_waiting_for_a_lock_is_part_of_processing(books: Books, fresh_database_url: str) -> None:
    """What makes webhooks slow is another transaction that holds what they want."""
    step = books.started()
    facts = books.facts(step, "succeeded")
    with psycopg.connect(fresh_database_url) as holder, psycopg.connect(fresh_database_url, autocommit=True) as waiter:
        holder.execute("select from public.bookings where id = %s for update", [step["booking_id"]])
        waiter.execute("set lock_timeout = '300ms'")
        changes = {"type": "payment_intent.succeeded", "handler": "payment_intent", "facts": facts}
        assert event(Books.over(waiter, books), "slow", **changes)["status"] == "failed"
    assert books.values("select processing_ms >= 300 from public.stripe_events") == [True]
    answered = numbers(books)
    assert answered["failed_events"] == 1
    assert answered["oldest_failed_event_age_seconds"] >= 0.3


def test_the_series_parts_the_window_and_holds_the_same(books: Books) -> None:
    campaign = books.campaign()
    old = confirmed(books, campaign)
    confirmed(books, campaign)
    failed(books)
    event(books, "one")
    for statement in (
        "update public.bookings set confirmed_at = confirmed_at - interval '45 minutes' where id = %s",
        "update public.attempts set settled_at = settled_at - interval '45 minutes' where booking_id = %s",
    ):
        tamper(books, statement, old["booking_id"])

    series = books.call("operational_series", p_window_seconds=3600, p_buckets=4)

    assert [part["payments_ended"] for part in series] == [1, 0, 0, 2]
    assert [part["payments_succeeded"] for part in series] == [1, 0, 0, 1]
    assert [part["events_received"] for part in series] == [0, 0, 0, 1]
    assert [part["webhook_processing_p95_ms"] is None for part in series] == [True, True, True, False]
    assert sorted(part["starts_at"] for part in series) == [part["starts_at"] for part in series]
    assert len(books.call("operational_series", p_window_seconds=3600, p_buckets=100_000)) == 200


def test_the_numbers_name_nobody(books: Books) -> None:
    failed(books)
    event(books, "one")
    assert {type(value) for value in numbers(books).values()} <= {int, float, type(None)}
