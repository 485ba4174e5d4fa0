"""What the API acknowledged, as its callers wrote it down, against what the database holds at the end."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from local.faults.checker import Snapshot
from local.faults.checker.history import MOVES

Json = dict[str, Any]


@dataclass
class Record:
    """Written by many threads. An answer that never came is no promise, and is only counted."""

    offers: dict[str, int] = field(default_factory=dict)
    matches: set[tuple[str, str]] = field(default_factory=set)
    rows: set[tuple[str, str]] = field(default_factory=set)
    """Table and id of what a 201 said was made."""
    bookings: dict[str, set[str]] = field(default_factory=dict)
    """Every status in which a booking was shown, by its id."""
    pairs: dict[tuple[str, str], str] = field(default_factory=dict)
    """The booking of a campaign and an offer."""
    refunds: dict[tuple[str, str], int] = field(default_factory=dict)
    """Amounts by booking and Idempotency-Key."""
    contradictions: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[datetime] = field(default_factory=list)
    """When a call was answered with a 5xx or not at all (UTC)."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, what: str, status: int | None) -> None:
        """Count an answer; None: none came."""
        with self.lock:
            self.answers[f"{what} {status or 'no answer'}"] += 1
            if status is None or status >= 500:
                self.failures.append(datetime.now(UTC))

    def made(self, table: str, row_id: str) -> None:
        """A 201 said that this row was made."""
        with self.lock:
            self.rows.add((table, row_id))

    def posted(self, offers: list[Json], answer: Json) -> None:
        """The feed's offers were taken, with the campaigns that each matched."""
        with self.lock:
            self.offers |= {offer["id"]: offer["amount_minor"] for offer in offers}
            self.matches |= {(campaign, one["id"]) for one in answer["offers"] for campaign in one["campaigns"]}

    def shown(self, booking: Json) -> None:
        """A booking as an answer showed it. Another id for the same campaign and offer is a contradiction."""
        pair = (booking["campaign_id"], booking["offer_id"])
        with self.lock:
            self.bookings.setdefault(booking["id"], set()).add(booking["status"])
            first = self.pairs.setdefault(pair, booking["id"])
            if first != booking["id"]:
                self.contradictions.append(f"{pair} was first booking {first}, then {booking['id']}")

    def refunded(self, booking_id: str, key: str, amount_minor: int) -> None:
        """A refund was taken on under its key."""
        with self.lock:
            self.refunds[booking_id, key] = amount_minor


def losses(record: Record, snapshot: Snapshot) -> list[str]:
    """Each acknowledged thing that is gone or has become something that it could not, in words."""
    return [*record.contradictions, *_rows(record, snapshot), *_bookings(record, snapshot), *_refunds(record, snapshot)]


def _rows(record: Record, snapshot: Snapshot) -> Iterator[str]:
    offers = {row["id"]: row["amount_minor"] for row in snapshot.rows["offers"]}
    for offer, amount in record.offers.items():
        if offers.get(offer) != amount:
            yield f"offer {offer} of {amount} was taken, the database has {offers.get(offer)}"
    matches = {(row["campaign_id"], row["offer_id"]) for row in snapshot.rows["matches"]}
    yield from (f"campaign {pair[0]} was matched with offer {pair[1]}: gone" for pair in record.matches - matches)
    for table in {table for table, _ in record.rows}:
        kept = {str(row["id"]) for row in snapshot.rows[table]}
        made = {row_id for name, row_id in record.rows if name == table}
        yield from (f"{table} {row_id} was made: gone" for row_id in made - kept)


def _bookings(record: Record, snapshot: Snapshot) -> Iterator[str]:
    kept = {row["id"]: row for row in snapshot.rows["bookings"]}
    for pair, booking_id in record.pairs.items():
        row = kept.get(booking_id)
        if row is None or (row["campaign_id"], row["offer_id"]) != pair:
            yield f"booking {booking_id} of {pair} was shown: gone"
            continue
        for status in record.bookings[booking_id]:
            if row["status"] not in _reachable(status):
                yield f"booking {booking_id} was shown as {status} and is {row['status']}"


def _reachable(status: str) -> set[str]:
    found, ahead = {status}, [status]
    while ahead:
        after = MOVES["bookings"].get(ahead.pop(), set()) - found
        found |= after
        ahead += after
    return found


def _refunds(record: Record, snapshot: Snapshot) -> Iterator[str]:
    kept = {(row["booking_id"], row["idempotency_key"]): row for row in snapshot.rows["refunds"]}
    for name, amount in record.refunds.items():
        row = kept.get(name)
        if row is None or row["amount_minor"] != amount:
            found = "none" if row is None else row["amount_minor"]
            yield f"refund of {amount} of booking {name[0]} was taken on, the database has {found}"
