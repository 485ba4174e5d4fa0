"""payment_intent.*: what became of a charge; settled by the same SQL function as the charge's own answer."""

from typing import Any

from functions.shared.problems import Problem
from functions.shared.stripe_events.event import Event
from functions.shared.stripe_facts import payment_intent_facts
from functions.shared.stripe_gateway import gateway


def read(event: Event) -> dict[str, Any]:
    """The facts of the PaymentIntent as the event carries it; an old event is sorted out by rank in SQL."""
    return payment_intent_facts(event.data.object)


def read_hold(event: Event) -> dict[str, Any]:
    """The facts of a hold, asked for with its Charge: the event does not say when the hold ends. Raises Problem."""
    facts = gateway().retrieve(event.object_id)
    if facts["status"] == "unknown":
        raise Problem("payment_provider_unavailable")
    return facts
