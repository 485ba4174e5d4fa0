"""Waiting for what happens elsewhere and tells nobody: the queue's consumer."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def until(look: Callable[[], _T | None], *, seconds: float = 5.0) -> _T:
    """The first thing truthy that `look` gives. Fails when there is none in time."""
    ends_at = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= ends_at:
            raise AssertionError(f"nothing within {seconds} seconds; last seen: {seen!r}")
        time.sleep(0.02)
