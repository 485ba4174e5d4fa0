"""radar.early_fraud_warning.*: a bank says that a charge was probably not the cardholder's.

https://docs.stripe.com/disputes/measuring#early-fraud-warnings
"""

from typing import Any

from functions.shared.stripe_events.event import Event


def read(event: Event) -> dict[str, Any]:
    """The payment that is warned of."""
    return {"payment_intent_id": event.data.object.get("payment_intent")}
