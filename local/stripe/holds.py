"""Ending a PaymentIntent without a capture: cancelled, or lapsed at ``capture_before``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.stripe.resources import radar, refunds

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld


def void(world: StripeWorld, intent: Json, reason: str | None, *, expired: bool = False) -> None:
    """End an intent that has not succeeded; a hold is released by a refund of what was never captured."""
    if intent["status"] == "requires_capture":
        charge = world.charges.at_path(intent["latest_charge"])
        refunds.release(world, charge, charge["amount"])
        world.emit("charge.expired" if expired else "charge.refunded", charge)
        radar.close_reviews_of(world, charge, "canceled")
    intent |= {
        "amount_capturable": 0,
        "canceled_at": world.clock.timestamp(),
        "cancellation_reason": reason,
        "next_action": None,
        "processing": None,
        "status": "canceled",
    }
    world.emit("payment_intent.canceled", intent)


def plan_expiry(world: StripeWorld, intent: Json, charge: Json) -> None:
    """An uncaptured hold lapses at ``capture_before``: the charge expires, the intent is canceled."""

    def expire() -> None:
        void(world, intent, "automatic", expired=True)

    lapse = charge["payment_method_details"]["card"]["capture_before"]
    world.schedule.after(lapse - world.clock.now(), expire, unless_over=lambda: intent["status"] != "requires_capture")
