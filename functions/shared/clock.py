"""Time that is left: a Lambda ends at its deadline, whatever is under way."""

from dataclasses import dataclass
from typing import Any

from functions.shared.surroundings import surroundings

FALLBACK_SECONDS = 29.0
"""What an HTTP API waits for an answer at most, for callers without a Lambda context."""


@dataclass(frozen=True)
class Deadline:
    """A moment of the monotonic clock."""

    ends_at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline that many seconds from now."""
        return cls(surroundings().monotonic() + seconds)

    @classmethod
    def of_lambda(cls, context: Any) -> "Deadline":
        """The end of this invocation, by the Lambda context's own clock."""
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        return cls.after(remaining() / 1000 if callable(remaining) else FALLBACK_SECONDS)

    def remaining_seconds(self) -> float:
        """How long is left; negative when it is over."""
        return self.ends_at - surroundings().monotonic()
