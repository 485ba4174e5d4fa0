"""The official SDK straight into a world, without a network: fast and repeatable, for fault drivers and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import stripe

from local.stripe.gate import Gate, Request
from local.stripe.idempotency import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.stripe.world import StripeWorld

BASE_URL = "http://stripe.invalid"


class InProcessTransport(stripe.HTTPClient):
    """``StripeClient(key, http_client=InProcessTransport(world), base_addresses={"api": BASE_URL})``.

    Faults happen in simulated time: waits move the world's clock, and a dropped connection is the
    ``APIConnectionError`` that the SDK raises for a real one.
    """

    name = "in-process"

    def __init__(self, world: StripeWorld) -> None:
        super().__init__()
        self._world = world
        self._gate = Gate(world)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """One attempt, as the SDK's own clients make it."""
        parts = urlsplit(url)
        body = post_data.encode() if isinstance(post_data, str) else post_data or b""
        named = {name.lower(): str(value) for name, value in (headers or {}).items()}
        request = Request(method.upper(), parts.path, parts.query, body, named, BASE_URL)
        answer = self._exchange(request)
        return answer.body.decode(), answer.status, answer.headers

    def _exchange(self, request: Request) -> Answer:
        admitted = self._gate.open(request)
        if isinstance(admitted, Answer):
            return admitted
        plan = admitted.plan
        if plan.drop == "before":
            self._gate.abandon(admitted)
            self._world.advance(plan.wait_before_seconds)
            raise _dropped()
        if plan.wait_before_seconds:
            self._world.advance(plan.wait_before_seconds)
        answer = self._gate.run(admitted)
        if plan.drop == "after":
            self._world.advance(plan.wait_after_seconds)
            raise _dropped()
        return answer

    def close(self) -> None:
        """Nothing is open."""


def _dropped() -> Exception:
    message = "The connection was dropped (a fault of the stand-in)."
    return stripe.APIConnectionError(message, should_retry=True)  # type: ignore[no-untyped-call] # so in the SDK
