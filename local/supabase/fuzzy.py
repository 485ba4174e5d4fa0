"""The "perhaps you meant" of PostgREST's hints: the closest name of a set.

Source: the Haskell package fuzzyset 0.2 (a port of fuzzyset.js) with its defaults: grams of 3, then of 2 characters,
the candidates then ranked by Levenshtein distance, at least 0.33 alike. Of equally close names PostgREST takes one by
the order of a hash table, this the first in the list.
"""

from collections import Counter
from collections.abc import Iterable
from math import sqrt

_MINIMUM = 0.33
_CANDIDATES = 50


def _grams(text: str, size: int) -> Counter[str]:
    padded = "-" + "".join(c for c in text if c.isalnum() or c.isspace() or c == ",") + "-"
    return Counter(padded[at : at + size] for at in range(len(padded) - size + 1))


def _distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def _likeness(one: str, other: str) -> float:
    longer = max(len(one), len(other))
    return 1 - _distance(one, other) / longer if longer else 1.0


def closest(name: str, candidates: Iterable[str], *, exact: bool = True) -> str | None:
    """Return the candidate most like the name, or None; without `exact` an equal one does not count."""
    wanted = name.lower()
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    if exact and wanted in by_lower:
        return by_lower[wanted]
    for size in (3, 2):
        grams = _grams(wanted, size)
        norm = sqrt(sum(count * count for count in grams.values()))
        scored = []
        for candidate in by_lower:
            others = _grams(candidate, size)
            product = sum(count * others[gram] for gram, count in grams.items())
            if product:
                other_norm = sqrt(sum(count * count for count in others.values()))
                scored.append((product / (norm * other_norm), candidate))
        scored.sort(key=lambda item: -item[0])
        ranked = [(_likeness(wanted, candidate), candidate) for _, candidate in scored[:_CANDIDATES]]
        ranked = [item for item in ranked if item[0] >= _MINIMUM and (exact or item[0] < 1)]
        if ranked:
            return by_lower[max(ranked, key=lambda item: item[0])[1]]
    return None
