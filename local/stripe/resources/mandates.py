"""Mandates (https://docs.stripe.com/api/mandates): the record of a cardholder's consent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld


def create(world: StripeWorld, intent: Json, data: Json | str) -> Json:
    """The mandate of a SetupIntent that was confirmed with ``mandate_data``."""
    given = {} if isinstance(data, str) else data.get("customer_acceptance", {})
    kind = given.get("type", "online")
    acceptance: Json = {"accepted_at": given.get("accepted_at", world.clock.timestamp()), "type": kind}
    online = given.get("online", {})
    acceptance[kind] = {name: online.get(name) for name in ("ip_address", "user_agent")} if kind == "online" else {}
    return world.mandates.add(
        {
            "id": world.ids.new("mandate"),
            "object": "mandate",
            "customer_acceptance": acceptance,
            "livemode": False,
            "multi_use": {},
            "payment_method": intent["payment_method"],
            "payment_method_details": {"card": {}, "type": "card"},
            "status": "active",
            "type": "multi_use",
        }
    )


def deactivate(world: StripeWorld, mandate: Json) -> None:
    """The cardholder's bank or the cardholder takes the consent back."""
    if mandate["status"] != "inactive":
        mandate["status"] = "inactive"
        world.emit("mandate.updated", mandate, {"status": "active"})


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/mandates/{}``."""
    return world.mandates.at_path(call.id)


ROUTES: list[Route] = [route("GET", "/v1/mandates/{}", sdk.MandateRetrieveParams, retrieve)]
