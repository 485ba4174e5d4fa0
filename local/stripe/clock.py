"""The simulated clock: real time plus whatever a test has added, or standing still."""

from __future__ import annotations

import time


class Clock:
    """Seconds since the epoch, movable forward.

    ``Clock()`` runs with real time; ``Clock(frozen_at=1_700_000_000)`` stands still until it is advanced.
    """

    def __init__(self, frozen_at: float | None = None) -> None:
        self._frozen_at = frozen_at
        self._offset_seconds = 0.0

    def now(self) -> float:
        """The simulated time, UTC seconds since the epoch."""
        base = time.time() if self._frozen_at is None else self._frozen_at
        return base + self._offset_seconds

    def timestamp(self) -> int:
        """The simulated time in whole seconds, as Stripe's ``created`` has it."""
        return int(self.now())

    def advance(self, seconds: float) -> None:
        """Move the clock forward; raises ``ValueError`` for a negative step, since Stripe's time never runs back."""
        if seconds < 0:
            msg = f"the clock only moves forward, not by {seconds} s"
            raise ValueError(msg)
        self._offset_seconds += seconds

    def move_to(self, timestamp: float) -> None:
        """Move the clock forward to a point in time."""
        self.advance(timestamp - self.now())
