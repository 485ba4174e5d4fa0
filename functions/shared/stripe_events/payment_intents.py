"""payment_intent.*: what became of a charge; settled by the same SQL function as the charge's own answer."""

from typing import Any

from functions.shared.stripe_events.event import Event
from functions.shared.stripe_facts import payment_intent_facts


def read(event: Event) -> dict[str, Any]:
    """The facts of the PaymentIntent as the event carries it; an old event is sorted out by rank in SQL."""
    return payment_intent_facts(event.data.object, observed_at=event.created)
