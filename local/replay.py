"""An event of Stripe's given to the same inbox as the webhook's (`autobook replay-event`)."""

from typing import Any
from uuid import uuid4

from functions.shared import charging, database
from functions.shared.clock import Deadline
from functions.shared.stripe_events.event import Event
from functions.shared.stripe_events.inbox import receive
from functions.shared.stripe_events.table import HANDLED
from functions.shared.stripe_gateway import gateway
from functions.shared.stripe_sdk import stripe

TIME_LIMIT_SECONDS = 60.0


def fetch(client: "stripe.StripeClient", event_id: str) -> Event:
    """The event as Stripe has it; it keeps events for 30 days. Raises stripe.StripeError."""
    return Event.model_validate(client.v1.events.retrieve(event_id).to_dict())


def look(event: Event) -> dict[str, Any]:
    """What the inbox would make of it: {id, type, created, api_version, livemode, stored, does}. Raises Problem."""
    rows = database.as_function("reconcile", uuid4().hex)
    is_unknown = bool(rows.call("unknown_events", p_ids=[event.id]))
    does = "acted on" if event.type in HANDLED else "stored only"
    if event.api_version != stripe.api_version and event.type in HANDLED:
        does = f"flagged: it is of version {event.api_version}, the code reads {stripe.api_version}"
    return {
        "id": event.id,
        "type": event.type,
        "created": event.created,
        "api_version": event.api_version,
        "livemode": event.livemode,
        "stored": not is_unknown,
        "does": does,
    }


def apply(event: Event) -> dict[str, Any]:
    """Do what the webhook would: store it once, apply it, take the steps that follow.

    Gives {status, result, duplicate}. An event that was applied is not applied again. Raises Problem.
    """
    rows = database.as_function("reconcile", uuid4().hex)
    received = receive(rows, event)
    if received.get("next"):
        charging.take_steps(rows, gateway(), Deadline.after(TIME_LIMIT_SECONDS), received["next"])
    return {name: received[name] for name in ("status", "result", "duplicate")}
