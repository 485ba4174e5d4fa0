"""Routes: a method and path, the parameters that the SDK types for it, and what handles it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

    Handler: TypeAlias = Callable[[StripeWorld, Call], Json]


@dataclass(frozen=True)
class Route:
    """One call of the API. ``client`` routes are open to the publishable key, as Stripe.js needs them."""

    method: str
    template: str
    pattern: re.Pattern[str]
    params: Any
    handle: Handler
    client: bool


def route(method: str, template: str, params: Any, handle: Handler, *, client: bool = False) -> Route:
    """A route; ``{}`` in the template stands for an id."""
    pattern = re.compile(re.escape(template).replace(r"\{\}", r"([^/]+)"))
    return Route(method, template, pattern, params, handle, client)


class Router:
    """Finds the route of a request."""

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._by_shape: dict[tuple[str, int], list[Route]] = {}
        for each in routes:
            self._by_shape.setdefault((each.method, each.template.count("/")), []).append(each)
        for same in self._by_shape.values():
            same.sort(key=lambda each: each.template.count("{}"))  # `/search` before `/{}`

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
        """The route and the ids in the path, or None for what Stripe calls an unrecognized URL."""
        for each in self._by_shape.get((method, path.count("/")), []):
            match = each.pattern.fullmatch(path)
            if match is not None:
                return each, match.groups()
        return None
