"""Which events we act on, and which of them the webhook endpoint at Stripe is to be subscribed to."""

from collections.abc import Callable
from typing import Any, NamedTuple

from functions.shared.stripe_events import (
    cards,
    charges,
    customers,
    disputes,
    fraud_warnings,
    payment_intents,
    refunds,
    reviews,
    setup_intents,
)
from functions.shared.stripe_events.event import Event


class Family(NamedTuple):
    """`name` is the family in SQL's internal.apply_event; `read` gives its facts."""

    name: str
    read: Callable[[Event], dict[str, Any]]


_PAYMENT_INTENT = Family("payment_intent", payment_intents.read)
_HOLD = Family("payment_intent", payment_intents.read_hold)
_SETUP_INTENT = Family("setup_intent", setup_intents.read)
_CHARGE = Family("charge", charges.read)
_HOLD_EXPIRED = Family("hold_expired", charges.read_expired)
_REFUND = Family("refund", refunds.read)
_DISPUTE = Family("dispute", disputes.read)
_FRAUD_WARNING = Family("fraud_warning", fraud_warnings.read)
_REVIEW = Family("review", reviews.read)
_CARD_UPDATED = Family("card", cards.read_updated)
_CARD_DETACHED = Family("card", cards.read_detached)
_MANDATE = Family("card", cards.read_mandate)
_CUSTOMER_DELETED = Family("customer_deleted", customers.read)

HANDLED: dict[str, Family] = {
    "setup_intent.succeeded": _SETUP_INTENT,
    "setup_intent.requires_action": _SETUP_INTENT,
    "setup_intent.setup_failed": _SETUP_INTENT,
    "setup_intent.canceled": _SETUP_INTENT,
    "payment_intent.processing": _PAYMENT_INTENT,
    "payment_intent.requires_action": _PAYMENT_INTENT,
    "payment_intent.amount_capturable_updated": _HOLD,
    "payment_intent.succeeded": _PAYMENT_INTENT,
    "payment_intent.payment_failed": _PAYMENT_INTENT,
    "payment_intent.canceled": _PAYMENT_INTENT,
    "charge.succeeded": _CHARGE,
    "charge.captured": _CHARGE,
    "charge.failed": _CHARGE,
    "charge.pending": _CHARGE,
    "charge.updated": _CHARGE,
    "charge.refunded": _CHARGE,
    "charge.expired": _HOLD_EXPIRED,
    "charge.refund.updated": _REFUND,
    "refund.created": _REFUND,
    "refund.updated": _REFUND,
    "refund.failed": _REFUND,
    "charge.dispute.created": _DISPUTE,
    "charge.dispute.updated": _DISPUTE,
    "charge.dispute.closed": _DISPUTE,
    "charge.dispute.funds_withdrawn": _DISPUTE,
    "charge.dispute.funds_reinstated": _DISPUTE,
    "radar.early_fraud_warning.created": _FRAUD_WARNING,
    "radar.early_fraud_warning.updated": _FRAUD_WARNING,
    "review.opened": _REVIEW,
    "review.closed": _REVIEW,
    "payment_method.updated": _CARD_UPDATED,
    "payment_method.automatically_updated": _CARD_UPDATED,
    "payment_method.card_automatically_updated": _CARD_UPDATED,
    "payment_method.detached": _CARD_DETACHED,
    "mandate.updated": _MANDATE,
    "customer.deleted": _CUSTOMER_DELETED,
}
"""Every other type is stored and not acted on."""

SUBSCRIBED: frozenset[str] = frozenset(HANDLED) - {"payment_method.card_automatically_updated"}
"""What the endpoint is to get. An endpoint of our version cannot ask for the type left out, which is now called
`payment_method.automatically_updated`:
https://docs.stripe.com/changelog/2020-08-27/renames-automatically-updated-event-type"""
