"""charge.*: outcome, risk, network codes, fee and the hold's end, which a PaymentIntent's event does not carry."""

from typing import Any

from functions.shared.stripe_events.event import Event
from functions.shared.stripe_facts import charge_facts


def read(event: Event) -> dict[str, Any]:
    """The facts of the Charge; they enrich its attempt and move nothing."""
    return charge_facts(event.data.object)


def read_expired(event: Event) -> dict[str, Any]:
    """The payment whose hold the bank has let go."""
    return {"payment_intent_id": event.data.object.get("payment_intent")}
