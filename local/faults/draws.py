"""Decisions of a seed, each made by name.

A run that leaves out a step must decide everything else as before, or a failing schedule could not be shortened. So
there is no stream of random numbers: a decision is a hash of the seed and of what is decided.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

_Item = TypeVar("_Item")


class Draws:
    """All decisions of one seed; the same name gives the same decision, in any process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._begun = blake2b(f"{seed}".encode(), digest_size=7)

    def unit(self, *what: object) -> float:
        """A number from 0 up to, not including, 1."""
        begun = self._begun.copy()
        begun.update(repr(what).encode())
        return int.from_bytes(begun.digest(), "big") / 2**56

    def chance(self, probability: float, *what: object) -> bool:
        """Whether something happens."""
        return self.unit(*what) < probability

    def between(self, low: int, high: int, *what: object) -> int:
        """A whole number, both ends included."""
        return low + int(self.unit(*what) * (high - low + 1))

    def seconds(self, low: float, high: float, *what: object) -> float:
        """A time between two others."""
        return low + self.unit(*what) * (high - low)

    def pick(self, options: Sequence[_Item], *what: object) -> _Item:
        """One of several, all alike."""
        return options[int(self.unit(*what) * len(options))]

    def weighted(self, options: Sequence[tuple[_Item, float]], *what: object) -> _Item:
        """One of several with weights."""
        left = self.unit(*what) * sum(weight for _, weight in options)
        for item, weight in options:
            left -= weight
            if left < 0:
                return item
        return options[-1][0]
