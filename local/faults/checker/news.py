"""Stripe's events, disputes, warnings and reviews (invariant 4)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from local.faults.checker.breach import Breach
from local.faults.checker.snapshot import Row
from local.faults.checker.view import View

ACTED_ON = frozenset(
    {
        *(f"setup_intent.{end}" for end in ("succeeded", "requires_action", "setup_failed", "canceled")),
        *(f"payment_intent.{end}" for end in ("processing", "requires_action", "amount_capturable_updated")),
        *(f"payment_intent.{end}" for end in ("succeeded", "payment_failed", "canceled")),
        *(f"charge.{end}" for end in ("succeeded", "captured", "failed", "pending", "updated", "expired", "refunded")),
        *(f"refund.{end}" for end in ("created", "updated", "failed")),
        "charge.refund.updated",
        *(f"charge.dispute.{end}" for end in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")),
        *(f"radar.early_fraud_warning.{end}" for end in ("created", "updated")),
        *(f"review.{end}" for end in ("opened", "closed")),
        *(f"payment_method.{end}" for end in ("updated", "automatically_updated", "card_automatically_updated")),
        *("payment_method.detached", "mandate.updated", "customer.deleted"),
    }
)
"""The types of the design's section 10 that something is done about."""

_LISTED = timedelta(days=29)
"""Stripe lists events of 30 days; what is older can't be fetched any more."""
_FRESH = timedelta(minutes=10)
"""What happened since the last reconcile is the next one's."""


def events(view: View) -> Iterator[Breach]:
    """Stored as failed is a breach; never stored is one too, for what is ours and what we act on."""
    stored = view.by_id("stripe_events")
    for event in stored.values():
        if event["status"] == "failed":
            yield Breach("events", event["id"], f"{event['type']} could not be applied: {event['result']}")
    known = {event["id"] for event in view.stripe("events")}
    ours = {row["stripe_customer_id"] for row in view.rows["customers"]}
    for event in view.stripe("events"):
        age = view.now - datetime.fromtimestamp(event["created"], UTC)
        if event["id"] in stored or event["type"] not in ACTED_ON or not _FRESH < age < _LISTED:
            continue
        if _customer(view, event["data"]) in ours:
            yield Breach("events", event["id"], f"{event['type']} of {event['data']['object']['id']} was never stored")
    for event_id in stored.keys() - known:
        yield Breach("events", event_id, f"{stored[event_id]['type']} is no event of Stripe's")


def _customer(view: View, data: Any) -> str | None:
    thing = data["object"]
    if thing["object"] == "customer":
        return str(thing["id"])
    if thing.get("customer"):
        return str(thing["customer"])
    before = (data.get("previous_attributes") or {}).get("customer")
    if before:
        return str(before)
    intent = view.intents.get(thing.get("payment_intent"))
    return None if intent is None else str(intent["customer"])


def disputes(view: View) -> Iterator[Breach]:
    """Here what they are at Stripe, whatever became of the events on their way."""
    by_payment = {row["stripe_payment_intent_id"]: row for row in view.bookings.values()}
    known = view.by_id("disputes")
    at_stripe = {row["id"]: row for row in view.stripe("disputes")}
    for dispute in at_stripe.values():
        booking = by_payment.get(dispute["payment_intent"])
        here = known.get(dispute["id"])
        if booking is not None and here is None:
            yield Breach("disputes", dispute["id"], f"of booking {booking['id']} is not known here")
        elif here is not None and here["status"] != dispute["status"]:
            yield Breach("disputes", dispute["id"], f"is {dispute['status']} at Stripe and {here['status']} here")
    for dispute_id in known.keys() - at_stripe.keys():
        yield Breach("disputes", dispute_id, "is no dispute of Stripe's")
    for booking in view.bookings.values():
        disputed = any(row["booking_id"] == booking["id"] for row in known.values())
        if disputed != (booking["disputed_at"] is not None):
            yield Breach("disputes", booking["id"], f"disputed_at is {booking['disputed_at']}")
    yield from _warnings(view, by_payment)
    yield from _reviews(view, by_payment)


def _warnings(view: View, by_payment: dict[str, Row]) -> Iterator[Breach]:
    warned = {row["payment_intent"] for row in view.stripe("early_fraud_warnings")}
    for payment, booking in by_payment.items():
        if (payment in warned) != (booking["fraud_warned_at"] is not None):
            at_stripe = "is" if payment in warned else "is not"
            detail = f"{at_stripe} warned of at Stripe, fraud_warned_at is {booking['fraud_warned_at']}"
            yield Breach("disputes", booking["id"], detail)


def _reviews(view: View, by_payment: dict[str, Row]) -> Iterator[Breach]:
    is_open = {row["payment_intent"] for row in view.stripe("reviews") if row["open"]}
    for payment, booking in by_payment.items():
        if (payment in is_open) != (booking["under_review_since"] is not None):
            state = "open" if payment in is_open else "not open"
            detail = f"review is {state} at Stripe, under_review_since is {booking['under_review_since']}"
            yield Breach("disputes", booking["id"], detail)
