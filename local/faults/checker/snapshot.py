"""All rows of our tables, Stripe's books and the mails that went out, at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg

Row = dict[str, Any]

TABLES: tuple[LiteralString, ...] = (
    "customers",
    "payment_methods",
    "setup_intents",
    "campaigns",
    "offers",
    "matches",
    "bookings",
    "attempts",
    "refunds",
    "ledger_entries",
    "stripe_events",
    "notifications",
    "incidents",
    "disputes",
)
"""Read row by row as jsonb; the audit log beside them keeps its jsonb columns as text, which its hashes are over."""

_AUDIT: LiteralString = """
'audit_log', (
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', l.id, 'at', extract(epoch from l.at)::text, 'actor', l.actor, 'role', l.role, 'request_id', l.request_id,
    'table_name', l.table_name, 'row_id', l.row_id, 'action', l.action, 'old', l.old::text, 'new', l.new::text,
    'hash', l.hash
  ) order by l.id), '[]')
  from public.audit_log as l
)
"""
_USERS: LiteralString = """
'users', (
  select coalesce(jsonb_agg(jsonb_build_object('id', u.id, 'email', u.email)), '[]') from auth.users as u
)
"""
_CLOCK: LiteralString = "'now', internal.clock()"


def _query() -> LiteralString:
    parts: list[LiteralString] = []
    for table in TABLES:
        parts += ["'", table, "', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from public.", table, " as t), "]
    parts += [_AUDIT, ", ", _USERS, ", ", _CLOCK]
    return "select jsonb_build_object(" + "".join(parts) + ")"


_QUERY = _query()


@dataclass(frozen=True)
class Snapshot:
    """What the checker compares; plain data, so that a test may change a row and see it named.

    `rows` are our tables by name (timestamps as ISO 8601 in UTC), `stripe` is what the stand-in's `/_control/books`
    gives, `mails` one mapping per mail that the provider took, with `notification_id` and, if known, `to`, `at`
    (seconds), `sender` and `sender_until` (the moment from which that sender can't have been at it any more); None when
    nobody sent mail. `now` is the moment by which deadlines are judged.
    """

    rows: dict[str, list[Row]]
    stripe: Mapping[str, Sequence[Row]]
    mails: Sequence[Row] | None
    now: datetime


def read_snapshot(
    connection: psycopg.Connection,
    stripe_books: Mapping[str, Any],
    mails: Sequence[Row] | None = None,
    now: datetime | None = None,
) -> Snapshot:
    """Read everything in one statement, so that it is of one moment.

    `connection` is a superuser's: row-level security hides rows from others. `now` is the database's
    `internal.clock()`, which a simulation sets, unless given.
    """
    with connection.transaction():
        # The audit log words moments in UTC, and its words are compared with the rows'.
        connection.execute("set local timezone = 'UTC'")
        found = connection.execute(_QUERY).fetchone()
    assert found is not None
    rows: dict[str, Any] = found[0]
    database_now = datetime.fromisoformat(rows.pop("now"))
    books = {name: list(table) for name, table in stripe_books.items() if name != "idempotency_keys"}
    return Snapshot(rows, books, mails, now or database_now)
