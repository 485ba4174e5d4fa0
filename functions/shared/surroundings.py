"""What a function stands in: a clock that only runs forward, and the wires to the database and to Stripe.

`make faults` puts simulated ones in their place, so that hours pass in milliseconds and any call can be lost. This is
the one place where that is done; a deployed function never calls `enter`.
"""

from __future__ import annotations  # or the Stripe SDK would be loaded for a signature

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from functions.shared.stripe_sdk import stripe


class Surroundings:
    """The real ones."""

    def monotonic(self) -> float:
        """Seconds of a clock that only runs forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def database_client(self) -> httpx.Client | None:
        """What carries requests to Supabase; None is the database module's own, pool and timeouts included."""
        return None

    def stripe_http_client(self, timeout_seconds: float) -> stripe.HTTPClient | None:
        """What carries requests to Stripe; None is the gateway's own.

        It is not made here: this module is in every function, and the SDK is not.
        """
        return None


_current = Surroundings()


def surroundings() -> Surroundings:
    """Those that this process stands in."""
    return _current


@contextmanager
def enter(others: Surroundings) -> Iterator[None]:
    """Stand in others for a while. Clients that were made before keep their wires: enter before the first call."""
    global _current  # noqa: PLW0603 - a process has one clock and one network
    before, _current = _current, others
    try:
        yield
    finally:
        _current = before
