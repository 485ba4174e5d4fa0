"""Handing an event to the database, which stores it once and applies it in the same transaction."""

from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from functions.shared import metrics
from functions.shared.database import Database
from functions.shared.json_objects import JsonObject
from functions.shared.logs import ERROR, log
from functions.shared.settings import StripeSettings, read
from functions.shared.stripe_events.event import Event
from functions.shared.stripe_events.table import HANDLED, Family
from functions.shared.stripe_sdk import stripe

UNREADABLE = "unreadable"
"""The family of events whose object is not as its reading wants it. SQL stores them as failed: Stripe sends them again,
for as long as it takes to mend the reading if it is ours, and one that nobody can read blocks no other."""
_STORABLE = TypeAdapter(JsonObject)


def receive(database: Database, event: Event) -> dict[str, Any]:
    """Give {status, result, duplicate, booking_id?, next?}; `next` is a step for `charging.take_steps`.

    Raises Problem: 503 when the database or, for a saved card, Stripe cannot be reached; nothing is stored then.
    """
    received: dict[str, Any] = database.call("receive_event", p_event=_to_store(event))
    received["result"] = sayable(received)
    if received["status"] == "failed":
        metrics.add("EventsNotApplied")
    elif not received["duplicate"] and event.type.startswith("payment_intent."):
        metrics.payment_settled(received["result"])
    return received


def sayable(outcome: dict[str, Any]) -> str:
    """What became of an event, fit for logs and answers: of a failure its SQLSTATE, as the text may quote the event."""
    result = str(outcome["result"])
    return result.partition(" ")[0] if outcome["status"] == "failed" else result


def _to_store(event: Event) -> dict[str, Any]:
    """The event as SQL takes it: the envelope, its family and facts, and whether it is not to be trusted blindly."""
    flag = None
    if event.livemode != read(StripeSettings).livemode:
        flag = "wrong_livemode"
    elif event.api_version != stripe.api_version and event.type in HANDLED:
        flag = "wrong_api_version"
    family = HANDLED.get(event.type)
    name, facts = (family.name, {}) if family and flag else _read(event, family)
    return {
        "id": event.id,
        "type": event.type,
        "api_version": event.api_version,
        "livemode": event.livemode,
        "created": event.created,
        "object_id": _object_id(event),
        "handler": name,
        "facts": facts,
        "flag": flag,
    }


def _object_id(event: Event) -> str | None:
    """None where there is none that could be kept; who needs it to act says so when reading."""
    try:
        return event.object_id
    except ValueError:
        return None


def _read(event: Event, family: Family | None) -> tuple[str | None, dict[str, Any]]:
    """The family of an event and its facts. Raises Problem when Stripe has to be asked and can't be."""
    if family is None:
        return None, {}
    try:
        facts = family.read(event) | {"observed_at": datetime.fromtimestamp(event.created, UTC).isoformat()}
        return family.name, _STORABLE.validate_python(facts)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        log(ERROR, "an event cannot be read", event_id=event.id, event_type=event.type, error=type(error).__name__)
        return UNREADABLE, {}
