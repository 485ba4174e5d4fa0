"""setup_intent.*: a card was saved, or could not be."""

from typing import Any

from functions.shared.stripe_events.event import Event
from functions.shared.stripe_facts import setup_intent_facts
from functions.shared.stripe_gateway import gateway


def read(event: Event) -> dict[str, Any]:
    """The facts of the SetupIntent. A succeeded one is asked for again, as the event names its card by id only."""
    intent = event.data.object
    if intent.get("status") == "succeeded":
        intent = gateway().retrieve_setup_intent(event.object_id)
    return setup_intent_facts(intent)
