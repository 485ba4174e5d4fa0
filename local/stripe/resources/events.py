"""Events (https://docs.stripe.com/api/events): kept for 30 days."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.errors import invalid_param
from local.stripe.fields import refuse_unsupported
from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_KEPT_SECONDS = 30 * 24 * 3600
_MAX_TYPES = 20


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/events/{}``."""
    return world.events.at_path(call.id)


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/events`` by type (``charge.*`` too), several types, age, and whether every endpoint has them."""
    given = call.params
    known = {"limit", "starting_after", "ending_before", "created", "type", "types", "delivery_success"}
    refuse_unsupported(given, known)
    if "type" in given and "types" in given:
        raise invalid_param("You may pass either type or types, but not both.", "types")
    if len(given.get("types", [])) > _MAX_TYPES:
        raise invalid_param(f"You may pass at most {_MAX_TYPES} types.", "types")
    patterns = given.get("types") or ([given["type"]] if "type" in given else ["*"])
    horizon = world.clock.now() - _KEPT_SECONDS
    wanted = given.get("delivery_success")

    def keep(row: Json) -> bool:
        return (
            row["created"] >= horizon
            and any(fnmatch.fnmatchcase(row["type"], pattern) for pattern in patterns)
            and (wanted is None or world.webhooks.delivered_everywhere(row["id"]) == wanted)
        )

    return world.events.page(given, "/v1/events", keep)


ROUTES: list[Route] = [
    route("GET", "/v1/events", sdk.EventListParams, list_all),
    route("GET", "/v1/events/{}", sdk.EventRetrieveParams, retrieve),
]
