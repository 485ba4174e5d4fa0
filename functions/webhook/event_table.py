"""Which events we act on. `HANDLED` is also what the webhook endpoint at Stripe is to be subscribed to."""

from collections.abc import Callable
from typing import Any, NamedTuple

from functions.webhook.families import charges, payment_intents, refunds, setup_intents
from functions.webhook.verification import Event


class Family(NamedTuple):
    """`name` is the family in SQL's internal.apply_event; `read` gives its facts."""

    name: str
    read: Callable[[Event], dict[str, Any]]


_PAYMENT_INTENT = Family("payment_intent", payment_intents.read)
_SETUP_INTENT = Family("setup_intent", setup_intents.read)
_CHARGE = Family("charge", charges.read)
_REFUND = Family("refund", refunds.read)

HANDLED: dict[str, Family] = {
    "setup_intent.succeeded": _SETUP_INTENT,
    "setup_intent.requires_action": _SETUP_INTENT,
    "setup_intent.setup_failed": _SETUP_INTENT,
    "setup_intent.canceled": _SETUP_INTENT,
    "payment_intent.processing": _PAYMENT_INTENT,
    "payment_intent.requires_action": _PAYMENT_INTENT,
    "payment_intent.amount_capturable_updated": _PAYMENT_INTENT,
    "payment_intent.succeeded": _PAYMENT_INTENT,
    "payment_intent.payment_failed": _PAYMENT_INTENT,
    "payment_intent.canceled": _PAYMENT_INTENT,
    "charge.succeeded": _CHARGE,
    "charge.captured": _CHARGE,
    "charge.failed": _CHARGE,
    "charge.pending": _CHARGE,
    "charge.updated": _CHARGE,
    "refund.created": _REFUND,
    "refund.updated": _REFUND,
    "refund.failed": _REFUND,
}
"""Every other type is stored and not acted on."""
