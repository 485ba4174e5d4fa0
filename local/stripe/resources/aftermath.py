"""What follows a successful charge: reviews, disputes and early fraud warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.stripe.resources import disputes, radar

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld


def after_charge(world: StripeWorld, intent: Json, charge: Json, *, authenticated: bool) -> None:
    """Open the review of an elevated risk, and plan what the test card is documented to bring."""
    if charge["outcome"]["type"] == "manual_review":
        radar.open_review(world, charge, "rule")
    kind = world.cards[charge["payment_method"]].card.aftermath

    def happen() -> None:
        if not charge["captured"]:
            return
        match kind:
            case "dispute_fraudulent":
                if not authenticated:  # "protected after 3D Secure authentication"
                    disputes.open_dispute(world, charge, reason="fraudulent")
            case "dispute_product_not_received":
                disputes.open_dispute(world, charge, reason="product_not_received")
            case "dispute_inquiry":
                disputes.open_dispute(world, charge, reason="fraudulent", inquiry=True)
            case "dispute_twice":
                disputes.open_dispute(world, charge, reason="fraudulent")
                disputes.open_dispute(world, charge, reason="fraudulent")
            case _:
                radar.warn(world, charge)

    if kind:
        assert intent["id"] == charge["payment_intent"]
        world.schedule.after(world.settings.aftermath_delay_seconds, happen)
