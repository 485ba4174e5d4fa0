"""The matrix of boundaries and faults: what was passed, and what was really hit."""

from collections import Counter
from dataclasses import dataclass, field

from local.faults.catalogue import kinds_of


@dataclass
class Coverage:
    """Counts of one run or of many together."""

    passages: Counter[str] = field(default_factory=Counter)
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)

    def passed(self, boundary: str, fault: str | None) -> None:
        """A boundary was passed, with or without a fault."""
        self.passages[boundary] += 1
        if fault is not None:
            self.hits[boundary, fault] += 1

    def add(self, other: "Coverage") -> None:
        """Add another run's counts."""
        self.passages.update(other.passages)
        self.hits.update(other.hits)

    def missed(self) -> list[tuple[str, str]]:
        """The cells that could have been hit, at boundaries that were passed, and were not."""
        return [
            (boundary, kind)
            for boundary in sorted(self.passages)
            for kind in kinds_of(boundary)
            if not self.hits[boundary, kind]
        ]

    def cells(self) -> int:
        """How many cells the boundaries that were passed have."""
        return sum(len(kinds_of(boundary)) for boundary in self.passages)
