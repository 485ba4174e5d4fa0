"""Things that happen later by the simulated clock: refunds that settle, holds that lapse, disputes that arrive."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.stripe.clock import Clock


class Schedule:
    """A heap of actions by due time. Run under the world's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None], Callable[[], bool]]] = []
        self._order = itertools.count()

    def after(
        self, seconds: float, action: Callable[[], None], *, unless_over: Callable[[], bool] = lambda: False
    ) -> None:
        """Do something once the clock has moved on by so many seconds; zero means right after the current call.

        It is forgotten once `unless_over` says so, and nobody waits for it any more.
        """
        heapq.heappush(self._heap, (self._clock.now() + seconds, next(self._order), action, unless_over))

    def run_due(self) -> int:
        """Do what is due, in order; returns how many actions ran. Actions may schedule more."""
        count = 0
        while self._heap and self._heap[0][0] <= self._clock.now():
            _, _, action, is_over = heapq.heappop(self._heap)
            if not is_over():
                action()
                count += 1
        return count

    def seconds_to_next(self) -> float | None:
        """How long until something is due, or None when nothing is planned."""
        while self._heap and self._heap[0][3]():
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - self._clock.now()) if self._heap else None
