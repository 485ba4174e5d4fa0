"""The audit log: moves that the state machines allow, chains that are whole, rows as their log leaves them."""

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from local.faults.checker.breach import Breach
from local.faults.checker.snapshot import Row
from local.faults.checker.view import View

BEGINS = {
    "bookings": {"charging"},
    "attempts": {"started", "succeeded"},
    "campaigns": {"active"},
    "payment_methods": {"usable"},
    "refunds": {"requested"},
}
"""Where each machine begins. An attempt that nobody here began is written as succeeded after the fact."""

MOVES: dict[str, dict[str, set[str]]] = {
    "bookings": {
        "charging": {"confirmed", "authorized", "requires_action", "retry_scheduled", "failed", "cancelled"},
        "authorized": {"confirmed", "cancelled", "failed"},
        "requires_action": {"charging", "authorized", "confirmed", "failed", "cancelled"},
        "retry_scheduled": {"charging", "failed", "cancelled"},
        "confirmed": {"refunded"},
        "refunded": {"confirmed"},
    },
    "attempts": {
        "started": {"processing", "requires_action", "authorized", "succeeded", "declined", "rejected", "voided"},
        "processing": {"requires_action", "authorized", "succeeded", "declined", "voided"},
        "requires_action": {"processing", "authorized", "succeeded", "declined", "voided"},
        "authorized": {"succeeded", "voided"},
    },
    "campaigns": {
        "active": {"paused", "completed", "cancelled", "expired"},
        "paused": {"active", "completed", "cancelled", "expired"},
    },
    "payment_methods": {
        "usable": {"unusable", "detaching", "detached"},
        "unusable": {"usable", "detaching", "detached"},
        "detaching": {"detached"},
    },
    "refunds": {
        "requested": {"pending", "succeeded", "failed", "canceled"},
        "pending": {"succeeded", "failed", "canceled"},
        "succeeded": {"failed"},
    },
}
"""The state machines of docs/state-machines.md, written down once more: the database's own table is not asked."""

_UNLOGGED = frozenset({"updated_at", "leased_until"})
_MASKED = "(personal)"
_KEYS = {"customers": "user_id"}
_AUDITED = (*MOVES, "customers", "setup_intents", "disputes")


def transition(view: View) -> Iterator[Breach]:
    """Each row's statuses in the order of the log."""
    for (table, row_id), statuses in view.history.items():
        if table not in MOVES:
            continue
        if statuses[0] not in BEGINS[table]:
            yield Breach("transition", row_id, f"{table} began as {statuses[0]}")
        for before, after in pairwise(statuses):
            if before != after and after not in MOVES[table].get(before, set()):
                yield Breach("transition", row_id, f"{table} moved from {before} to {after}")


def audit(view: View) -> Iterator[Breach]:
    """The hashes, then the rows that the entries lead to."""
    last: dict[tuple[str, str], str] = {}
    states: dict[tuple[str, str], dict[str, Any]] = {}
    for entry, (row, new) in zip(view.rows["audit_log"], view.logged, strict=True):
        if entry["hash"] != _hash(last.get(row), entry):
            yield Breach(
                "audit", entry["row_id"], f"entry {entry['id']} of {row[0]} was changed, or one before is gone"
            )
        if (entry["action"] == "INSERT") != (row not in last):
            yield Breach(
                "audit", entry["row_id"], f"entry {entry['id']} of {row[0]} is an {entry['action']} out of order"
            )
        last[row] = entry["hash"]
        states.setdefault(row, {}).update(new)
    for table in _AUDITED:
        for found in view.rows[table]:
            row_id = str(found[_KEYS.get(table, "id")])
            logged = states.pop((table, row_id), None)
            if logged is None:
                yield Breach("audit", row_id, f"{table} has a row that the log does not know")
            elif differing := _differing(found, logged):
                yield Breach("audit", row_id, f"{table} differs from its log in {', '.join(differing)}")
    for table, row_id in states:
        yield Breach("audit", row_id, f"{table} lacks a row that its log has")


def _hash(before: str | None, entry: Row) -> str:
    """SHA-256 over the text of a jsonb array, as Postgres words it: ", " between the elements."""
    said = (entry[name] for name in ("actor", "role", "request_id", "table_name", "row_id", "action"))
    elements = [_as_json(before), entry["at"], *map(_as_json, said), entry["old"] or "null", entry["new"]]
    return hashlib.sha256(f"[{', '.join(elements)}]".encode()).hexdigest()


@lru_cache(maxsize=4096)
def _as_json(text: str | None) -> str:
    return json.dumps(text, ensure_ascii=False)


def _differing(found: Row, logged: dict[str, Any]) -> list[str]:
    names = (found.keys() | logged.keys()) - _UNLOGGED
    return sorted(name for name in names if not _same(found.get(name), logged.get(name)))


def _same(value: Any, logged: Any) -> bool:
    return value == logged or (logged == _MASKED and value is not None)
