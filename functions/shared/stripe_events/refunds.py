"""refund.*: money on its way back, arrived, or sent back by the bank."""

from typing import Any

from functions.shared.stripe_events.event import Event
from functions.shared.stripe_gateway import refund_facts


def read(event: Event) -> dict[str, Any]:
    """The facts of the Refund, ours or one made in Stripe's dashboard."""
    return refund_facts(event.data.object)
