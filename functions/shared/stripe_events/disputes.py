"""charge.dispute.*: a cardholder's bank disputes a charge, or asks about it."""

from typing import Any

from functions.shared.stripe_events.event import Event

_FUNDS = {"charge.dispute.funds_withdrawn": True, "charge.dispute.funds_reinstated": False}


def read(event: Event) -> dict[str, Any]:
    """The facts of the Dispute (https://docs.stripe.com/api/disputes/object)."""
    dispute = event.data.object
    facts = {
        "dispute_id": dispute["id"],
        "payment_intent_id": dispute.get("payment_intent"),
        "status": dispute["status"],
        "reason": dispute["reason"],
        "amount_minor": dispute["amount"],
        "currency": dispute["currency"],
        "funds_withdrawn": _FUNDS.get(event.type),
    }
    return {name: value for name, value in facts.items() if value is not None}
