"""Is it running: reconcile, notify, the charges themselves? Read from the rows, which cannot be talked out of it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from local.doctor.database import is_reachable
from local.doctor.finding import Finding, fail, ok, warn
from local.doctor.patient import Patient

RECONCILE_LATE = timedelta(minutes=15)
"""Three of its runs."""
STUCK = timedelta(minutes=15)
MAIL_LATE = timedelta(minutes=15)


def reconcile_runs(patient: Patient) -> Iterator[Finding]:
    """Its watermark moves with every run."""
    if not _is_ours(patient):
        return
    (age,) = _one(patient, "select now() - events_seen_until from internal.reconcile_state")
    if age > RECONCILE_LATE:
        yield fail(
            "running.reconcile",
            f"reconcile last reached its end {_ago(age)} ago",
            "look at the schedule and the log of the function reconcile; meanwhile `autobook reconcile --apply`",
        )
    else:
        yield ok("running.reconcile", f"ran {_ago(age)} ago")


def nothing_is_stuck(patient: Patient) -> Iterator[Finding]:
    """Nothing has waited for longer than reconcile leaves it."""
    if not _is_ours(patient):
        return
    rows = patient.database.execute(
        """select b.id, b.status, now() - b.updated_at from public.bookings as b
        where (
          (b.status = 'charging' and not exists (
            select from public.attempts as a where a.booking_id = b.id and a.status = 'processing'
          ))
          or (b.closing_as is not null and b.status not in ('failed', 'cancelled'))
          or (b.status = 'requires_action' and b.action_expires_at < now() - %(stuck)s)
          or (b.status = 'retry_scheduled' and b.retry_at < now() - %(stuck)s)
        ) and b.updated_at < now() - %(stuck)s
        order by b.updated_at limit 100""",
        {"stuck": STUCK},
    ).fetchall()
    if rows:
        booking, status, age = rows[0]
        yield fail(
            "running.bookings",
            f"{len(rows)} booking(s) stuck, the oldest {booking} ({status}, {_ago(age)})",
            f"`autobook booking {booking}` says what it waits for; `autobook reconcile --apply` does it",
        )
    else:
        yield ok("running.bookings", "none is stuck")


def nobody_waits_for_an_engineer(patient: Patient) -> Iterator[Finding]:
    """Incidents, failed events and dead messages."""
    if not _is_ours(patient):
        return
    kinds = patient.database.execute(
        "select kind, count(*) from public.incidents where resolved_at is null group by kind order by 2 desc, 1"
    ).fetchall()
    if kinds:
        yield warn(
            "running.incidents",
            ", ".join(f"{count} {kind}" for kind, count in kinds),
            "read public.incidents (docs/architecture.md says what each kind means), and set resolved_at when done",
        )
    else:
        yield ok("running.incidents", "none is open")
    (failed,) = _one(
        patient,
        "select count(*) from public.stripe_events where status = 'failed' and received_at < now() - interval '1 hour'",
    )
    if failed:
        yield fail(
            "running.events",
            f"{failed} Stripe event(s) could not be applied for an hour",
            "their `result` in public.stripe_events says why; after the cause is mended `autobook reconcile --apply`",
        )
    else:
        yield ok("running.events", "every event is applied")
    (late, dead) = _one(
        patient,
        """select
          count(*) filter (where status = 'pending' and next_attempt_at < now() - %(late)s),
          count(*) filter (where status = 'dead' and updated_at > now() - interval '1 day')
        from public.notifications""",
        late=MAIL_LATE,
    )
    if late and patient.stage != "local":
        yield fail(
            "running.mail",
            f"{late} message(s) are overdue: people are not told",
            "look at the schedule and the log of the function notify, and at mail.sender above",
        )
    elif dead:
        yield warn("running.mail", f"{dead} message(s) were given up today", "see docs/notifications.md")
    else:
        yield ok("running.mail", "nothing is overdue" if not late else f"{late} wait; the local stack sends no mail")


def _is_ours(patient: Patient) -> bool:
    """Whether the tables are there; before the first migration nothing runs."""
    if not is_reachable(patient):
        return False
    (is_there,) = _one(patient, "select to_regclass('internal.reconcile_state') is not null")
    return bool(is_there)


def _one(patient: Patient, query: str, **values: object) -> tuple[Any, ...]:
    row = patient.database.execute(query, values or None).fetchone()
    assert row is not None
    return row


def _ago(age: timedelta) -> str:
    return str(timedelta(seconds=int(age.total_seconds())))


CHECKS = (reconcile_runs, nothing_is_stuck, nobody_waits_for_an_engineer)
