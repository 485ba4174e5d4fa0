"""Early fraud warnings and reviews (https://docs.stripe.com/radar)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk
from stripe.params.radar import EarlyFraudWarningListParams, EarlyFraudWarningRetrieveParams

from local.stripe.errors import StripeFault
from local.stripe.fields import refuse_unsupported
from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld


def warn(world: StripeWorld, charge: Json, fraud_type: str = "made_with_stolen_card") -> Json:
    """An issuer's early fraud warning on a charge; not actionable once the charge is refunded or disputed."""
    warning = world.early_fraud_warnings.add(
        {
            "id": world.ids.new("issfr"),
            "object": "radar.early_fraud_warning",
            "actionable": not charge["refunded"] and not charge["disputed"],
            "charge": charge["id"],
            "created": world.clock.timestamp(),
            "fraud_type": fraud_type,
            "livemode": False,
            "payment_intent": charge["payment_intent"],
        }
    )
    world.emit("radar.early_fraud_warning.created", warning)
    return warning


def settle_warnings(world: StripeWorld, charge: Json) -> None:
    """A refund or a dispute answers the warnings of its charge."""
    for warning in world.early_fraud_warnings:
        if warning["charge"] == charge["id"] and warning["actionable"]:
            warning["actionable"] = False
            world.emit("radar.early_fraud_warning.updated", warning, {"actionable": True})


def open_review(world: StripeWorld, charge: Json, opened_reason: str) -> Json:
    """Put a payment into the review queue."""
    review = world.reviews.add(
        {
            "id": world.ids.new("prv"),
            "object": "review",
            "billing_zip": (charge["billing_details"]["address"] or {}).get("postal_code"),
            "charge": charge["id"],
            "closed_reason": None,
            "created": world.clock.timestamp(),
            "ip_address": None,
            "ip_address_location": None,
            "livemode": False,
            "open": True,
            "opened_reason": opened_reason,
            "payment_intent": charge["payment_intent"],
            "reason": opened_reason,
            "session": None,
        }
    )
    _link(world, charge, review["id"])
    world.emit("review.opened", review)
    return review


def _link(world: StripeWorld, charge: Json, review_id: str | None) -> None:
    charge["review"] = review_id
    intent = world.payment_intents.find(charge["payment_intent"])
    if intent is not None:
        intent["review"] = review_id


def close_review(world: StripeWorld, review: Json, reason: str) -> None:
    """End a review; ``reason`` is approved, refunded, refunded_as_fraud, disputed, canceled, …."""
    if review["open"]:
        review |= {"open": False, "closed_reason": reason, "reason": reason}
        _link(world, world.charges.at_path(review["charge"]), None)
        world.emit("review.closed", review)


def close_reviews_of(world: StripeWorld, charge: Json, reason: str) -> None:
    """End the open reviews of a charge that was refunded, disputed or canceled."""
    for review in world.reviews:
        if review["charge"] == charge["id"]:
            close_review(world, review, reason)


def approve(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/reviews/{}/approve``."""
    review = world.reviews.at_path(call.id)
    if not review["open"]:
        raise StripeFault(f"The review {review['id']} is already closed and can't be approved.")
    close_review(world, review, "approved")
    return review


def retrieve_review(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/reviews/{}``."""
    return world.reviews.at_path(call.id)


def list_reviews(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/reviews``: the open ones."""
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created"})
    return world.reviews.page(call.params, "/v1/reviews", lambda row: bool(row["open"]))


def retrieve_warning(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/radar/early_fraud_warnings/{}``."""
    return world.early_fraud_warnings.at_path(call.id)


def list_warnings(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/radar/early_fraud_warnings``."""
    filters = {"charge", "payment_intent"}
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", *filters})
    wanted = {name: call.params[name] for name in filters if name in call.params}

    def keep(row: Json) -> bool:
        return all(row[name] == value for name, value in wanted.items())

    return world.early_fraud_warnings.page(call.params, "/v1/radar/early_fraud_warnings", keep)


ROUTES: list[Route] = [
    route("GET", "/v1/reviews", sdk.ReviewListParams, list_reviews),
    route("GET", "/v1/reviews/{}", sdk.ReviewRetrieveParams, retrieve_review),
    route("POST", "/v1/reviews/{}/approve", sdk.ReviewApproveParams, approve),
    route("GET", "/v1/radar/early_fraud_warnings", EarlyFraudWarningListParams, list_warnings),
    route("GET", "/v1/radar/early_fraud_warnings/{}", EarlyFraudWarningRetrieveParams, retrieve_warning),
]
