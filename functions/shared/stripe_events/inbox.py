"""Handing an event to the database, which stores it once and applies it in the same transaction."""

from datetime import UTC, datetime
from typing import Any

from functions.shared import metrics
from functions.shared.database import Database
from functions.shared.settings import StripeSettings, read
from functions.shared.stripe_events.event import Event
from functions.shared.stripe_events.table import HANDLED
from functions.shared.stripe_sdk import stripe


def receive(database: Database, event: Event) -> dict[str, Any]:
    """Give {status, result, duplicate, booking_id?, next?}; `next` is a step for `charging.take_steps`.

    Raises Problem: 503 when the database or, for a saved card, Stripe cannot be reached; nothing is stored then.
    """
    received: dict[str, Any] = database.call("receive_event", p_event=_to_store(event))
    if received["status"] == "failed":
        metrics.add("EventsNotApplied")
    elif not received["duplicate"] and event.type.startswith("payment_intent."):
        metrics.payment_settled(received["result"])
    return received


def _to_store(event: Event) -> dict[str, Any]:
    """The event as SQL takes it: the envelope, its family and facts, and whether it is not to be trusted blindly."""
    flag = None
    if event.livemode != read(StripeSettings).livemode:
        flag = "wrong_livemode"
    elif event.api_version != stripe.api_version and event.type in HANDLED:
        flag = "wrong_api_version"
    family = HANDLED.get(event.type)
    observed = datetime.fromtimestamp(event.created, UTC).isoformat()
    return {
        "id": event.id,
        "type": event.type,
        "api_version": event.api_version,
        "livemode": event.livemode,
        "created": event.created,
        "object_id": event.data.object.get("id"),
        "handler": family.name if family else None,
        "facts": family.read(event) | {"observed_at": observed} if family and not flag else {},
        "flag": flag,
    }
