"""payment_method.* and mandate.updated: a card was renewed by its network, detached, or lost its permission."""

from typing import Any

from functions.shared.stripe_events.event import Event
from functions.shared.stripe_facts import card_facts


def read_updated(event: Event) -> dict[str, Any]:
    """The card as it is now."""
    method = event.data.object
    return {"stripe_payment_method_id": event.object_id, "news": "updated", "card": card_facts(method)}


def read_detached(event: Event) -> dict[str, Any]:
    """The card that can't be charged any more."""
    return {"stripe_payment_method_id": event.object_id, "news": "detached"}


def read_mandate(event: Event) -> dict[str, Any]:
    """The card whose mandate changed (https://docs.stripe.com/api/mandates/object)."""
    mandate = event.data.object
    news = "mandate_inactive" if mandate.get("status") == "inactive" else "mandate_active"
    return {"stripe_payment_method_id": mandate.get("payment_method"), "news": news}
