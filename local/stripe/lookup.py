"""Finding what a parameter names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.stripe.errors import missing_resource

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld


def customer_in_param(world: StripeWorld, customer_id: str, param: str = "customer") -> Json:
    """A customer named by a parameter, who must exist and not be deleted; 400 ``resource_missing`` otherwise."""
    customer = world.customers.find(customer_id)
    if customer is None or customer.get("deleted"):
        raise missing_resource("customer", customer_id, param, in_path=False)
    return customer
