"""review.*: Radar holds a payment for a person to look at (https://docs.stripe.com/radar/reviews)."""

from typing import Any

from functions.shared.stripe_events.event import Event


def read(event: Event) -> dict[str, Any]:
    """Which payment, and whether the review is open or how it was closed."""
    review = event.data.object
    return {
        "review_id": review["id"],
        "payment_intent_id": review.get("payment_intent"),
        "open": event.type == "review.opened",
        "closed_reason": review.get("closed_reason"),
    }
