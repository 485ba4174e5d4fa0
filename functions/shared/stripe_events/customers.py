"""customer.deleted: the Customer is gone from Stripe, and every card with it."""

from typing import Any

from functions.shared.stripe_events.event import Event


def read(event: Event) -> dict[str, Any]:
    """Which Customer."""
    return {"stripe_customer_id": event.object_id}
