"""Control routes under ``/_control``: faults, time, cards, disputes, and a look into the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import Route

    from local.stripe.world import StripeWorld


def control_routes(world: StripeWorld) -> list[Route]:
    """The routes, relative to ``/_control``."""
    assert world.settings.control
    return []
