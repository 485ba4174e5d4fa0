"""The shortest schedule that still fails: steps and faults are left out for as long as the same rule stays broken."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from local.faults.schedule import Schedule
    from local.faults.simulation import Result

_Item = TypeVar("_Item")
MOST_RUNS = 250


class _Enough(Exception):
    """So many runs were made; what was found so far is good enough."""


def minimised(items: Sequence[_Item], fails: Callable[[Sequence[_Item]], bool]) -> list[_Item]:
    """A part of the items that still fails and from which no single one can be left out.

    Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).
    """
    kept = list(items)
    if not kept or fails([]):
        return []
    parts = 2
    while len(kept) >= 2:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            rest = kept[:start] + kept[start + size :]
            if fails(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(kept):
                break
            parts = min(len(kept), 2 * parts)
    return kept


def rules_of(result: "Result") -> set[str]:
    """Which rules were broken, by the first word of each breach."""
    return {breach.partition(":")[0] for breach in result.breaches}


def shrink(
    play: "Callable[[Schedule], Result]", failed: "Result", *, most_runs: int = MOST_RUNS
) -> "tuple[Schedule, Result, int]":
    """The shortest schedule found, what it does, and how many runs that took."""
    rules = rules_of(failed)
    best = failed
    runs = 0

    def still_fails(schedule: "Schedule") -> bool:
        nonlocal best, runs
        if runs >= most_runs:
            raise _Enough
        runs += 1
        result = play(schedule)
        if not rules & rules_of(result):
            return False
        best = result
        return True

    original = failed.schedule
    try:
        faults = minimised(failed.faults, lambda some: still_fails(original.only(original.steps, frozenset(some))))
        chosen = frozenset(faults)
        steps = minimised(original.steps, lambda some: still_fails(original.only(tuple(some), chosen)))
        minimised(faults, lambda some: still_fails(original.only(tuple(steps), frozenset(some))))
    except _Enough:
        pass
    return best.schedule, best, runs
