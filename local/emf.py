"""Reads back the metrics that functions print, as CloudWatch would: from the logs of a local stack, and in tests."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One value of one metric."""

    name: str
    value: float
    at: datetime
    dimensions: dict[str, str]
    unit: str


@dataclass
class Samples:
    """Values by the metric's name, in the order in which they were printed."""

    by_name: dict[str, list[Sample]] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Keep a sample."""
        self.by_name.setdefault(sample.name, []).append(sample)

    def values(self, name: str) -> list[float]:
        """The values of a metric; none if it was not told."""
        return [sample.value for sample in self.by_name.get(name, [])]


def documents(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The embedded metric format documents among lines of a log, whatever else is between them."""
    for line in lines:
        if '"_aws"' not in line:
            continue
        try:
            document = json.loads(line)
        except ValueError:
            continue  # two processes wrote at once; CloudWatch gets each on its own
        if isinstance(document, dict) and "_aws" in document:
            yield document


def samples(lines: Iterable[str], *, since: datetime | None = None) -> Samples:
    """Every value in the documents of a log, those before `since` left out."""
    found = Samples()
    for document in documents(lines):
        at = datetime.fromtimestamp(document["_aws"]["Timestamp"] / 1000, UTC)
        if since is not None and at < since:
            continue
        for directive in document["_aws"]["CloudWatchMetrics"]:
            dimensions = {name: document[name] for name in directive["Dimensions"][0]}
            for metric in directive["Metrics"]:
                values = document[metric["Name"]]
                for value in values if isinstance(values, list) else [values]:
                    found.add(Sample(metric["Name"], value, at, dimensions, metric["Unit"]))
    return found


def of_logs(directory: Path, *, since: datetime | None = None) -> Samples:
    """The same of every log file of a stack."""
    found = Samples()
    for path in sorted(directory.glob("*.log")):
        with path.open(encoding="utf-8", errors="replace") as log:
            for values in samples(log, since=since).by_name.values():
                for sample in values:
                    found.add(sample)
    return found
