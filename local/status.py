"""How an environment is: its numbers against their limits, as tables and plots in the terminal.

    python -m local.status [--json] [--window 3600]     which is `autobook status`, and `make status`

The numbers are the database's (public.operational_numbers). What only functions and queues know is added where it can
be had: dead letters from the queue, success of campaign creation from the logs of a local stack. Nothing is changed.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from functions.shared.database import Database
from local import cloudwatch, emf
from local.thresholds import THRESHOLDS, Threshold

BUCKETS: Final = 30
CREATION: Final = "campaign_creation_success"
"""The one number with a limit that no database knows: what failed never came there."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_PLOTTED: Final = {
    "payments_ended": "Payments that ended",
    "payment_success_rate": "… of which succeeded",
    "auto_booking_latency_p95_ms": "Auto-booking latency, p95",
    "events_received": "Stripe's events",
    "webhook_processing_p95_ms": "Webhook processing, p95",
}


class Verdict(StrEnum):
    """What is to be thought of a number."""

    OK = "ok"
    OUTSIDE = "outside"
    NOTHING = "nothing"
    """Nothing happened that the number could be of: an idle hour is no fault."""
    ELSEWHERE = "elsewhere"
    """Not to be had from here: CloudWatch has it."""
    UNKNOWN = "unknown"
    """It should be had from here, and was not."""


@dataclass(frozen=True)
class Reading:
    """A number beside its limit."""

    threshold: Threshold
    value: float | None
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return self.threshold._asdict() | {"value": self.value, "verdict": self.verdict.value}


@dataclass(frozen=True)
class Status:
    """An environment's numbers at one moment."""

    at: datetime
    window_seconds: int
    readings: tuple[Reading, ...]
    numbers: Mapping[str, float | None]
    """All of public.operational_numbers, those without a limit too."""
    series: tuple[Mapping[str, Any], ...]
    breaches: tuple[Mapping[str, str], ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """The worst there is: outside before unknown before ok."""
        found = {reading.verdict for reading in self.readings}
        return next((each for each in (Verdict.OUTSIDE, Verdict.UNKNOWN) if each in found), Verdict.OK)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self) | {
            "at": self.at.isoformat(),
            "verdict": self.verdict.value,
            "readings": [reading.as_json() for reading in self.readings],
        }


def status(
    database: Database,
    window_seconds: int = 3600,
    *,
    queue_url: str | None = None,
    told: emf.Samples | None = None,
    cloudwatch_stage: str | None = None,
) -> Status:
    """The numbers of the last `window_seconds`, by a database that was opened with the operators' key.

    `queue_url` is the charge queue's, whose dead letters are counted with the process's AWS credentials. How creating
    campaigns went is what functions have printed (`told`), or what CloudWatch was told by a stage. Raises Problem when
    the database can't be asked: then nothing can be told.
    """
    numbers: dict[str, float | None] = database.call("operational_numbers", p_window_seconds=window_seconds)
    series = database.call("operational_series", p_window_seconds=window_seconds, p_buckets=BUCKETS)
    breaches = database.call("invariant_breaches")
    found: dict[str, float | None] = numbers | {"invariant_breaches": len(breaches)}
    unknown: set[str] = set()
    if queue_url:
        found["dead_letters"] = dead_letters(queue_url)
        if found["dead_letters"] is None:
            unknown.add("dead_letters")
    if told is not None:
        created = told.values("CampaignCreation")
        found[CREATION] = sum(created) / len(created) if created else None
    elif cloudwatch_stage:
        try:
            found[CREATION] = cloudwatch.rate(cloudwatch_stage, "CampaignCreation", window_seconds)
        except cloudwatch.NoAnswerError:
            unknown.add(CREATION)
    readings = []
    for threshold in THRESHOLDS:
        name = threshold.number or CREATION
        value = found.get(name)
        readings.append(Reading(threshold, value, _verdict(threshold, value, name in found, name in unknown)))
    return Status(datetime.now(UTC), window_seconds, tuple(readings), numbers, tuple(series), tuple(breaches))


def _verdict(threshold: Threshold, value: float | None, known: bool, failed: bool) -> Verdict:
    if failed:
        return Verdict.UNKNOWN
    if not known:
        return Verdict.ELSEWHERE
    if value is None:
        return Verdict.NOTHING
    kept = value >= threshold.limit if threshold.kind == "min" else value <= threshold.limit
    return Verdict.OK if kept else Verdict.OUTSIDE


def dead_letters(queue_url: str) -> int | None:
    """How many messages lie in the dead-letter queue of a queue; None when SQS does not say."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        sqs = boto3.client("sqs", config=Config(connect_timeout=2, read_timeout=4, retries={"total_max_attempts": 2}))
        policy = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["RedrivePolicy"])["Attributes"]
        name = json.loads(policy["RedrivePolicy"])["deadLetterTargetArn"].rpartition(":")[2]
        dead = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        counts = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
        return int(counts["ApproximateNumberOfMessages"])
    except (BotoCoreError, ClientError, KeyError, ValueError):
        return None


def printed(logs: Path, window_seconds: int) -> emf.Samples | None:
    """What the functions of a local stack have printed in the window, None where there are no logs."""
    if not logs.is_dir():
        return None
    return emf.of_logs(logs, since=datetime.now(UTC) - timedelta(seconds=window_seconds))


# --- for people -----------------------------------------------------------------------------------------------------

_STYLES: Final = {
    Verdict.OK: "green",
    Verdict.OUTSIDE: "bold red",
    Verdict.NOTHING: "dim",
    Verdict.ELSEWHERE: "dim",
    Verdict.UNKNOWN: "bold yellow",
}
_SAID: Final = {Verdict.NOTHING: "nothing yet", Verdict.ELSEWHERE: "see CloudWatch", Verdict.UNKNOWN: "no answer"}


def render(status: Status, console: Console) -> None:
    """Print the readings, what to do about those outside, and how the window went."""
    console.print(f"The last {_amount(status.window_seconds, 's')}, at {status.at:%Y-%m-%d %H:%M:%S} UTC")
    table = Table("number", "now", "limit", "verdict", box=None, pad_edge=False)
    for reading in status.readings:
        threshold = reading.threshold
        table.add_row(
            threshold.title,
            _SAID.get(reading.verdict) or _amount(reading.value, threshold.unit),
            f"{'≥' if threshold.kind == 'min' else '≤'} {_amount(threshold.limit, threshold.unit)}",
            Text(reading.verdict.value, style=_STYLES[reading.verdict]),
        )
    console.print(table)
    _plot(status, console)
    for breach in status.breaches[:10]:
        console.print(f"BREACH {breach['breach']}: {breach['subject']}", style="bold red", markup=False)
    for reading in status.readings:
        if reading.verdict is Verdict.OUTSIDE:
            console.print(f"{reading.threshold.title}: see docs/runbooks/{reading.threshold.runbook}.md", style="red")


def _plot(status: Status, console: Console) -> None:
    grid = Table("over the window", f"{len(status.series)} parts", "highest", box=None, pad_edge=False)
    for name, title in _PLOTTED.items():
        values = [_of(part, name) for part in status.series]
        known = [value for value in values if value is not None]
        unit = "ms" if name.endswith("_ms") else "%" if name.endswith("_rate") else ""
        grid.add_row(title, sparkline(values), _amount(max(known), unit) if known else "-")
    console.print(grid)


def _of(part: Mapping[str, Any], name: str) -> float | None:
    if name == "payment_success_rate":
        ended = part["payments_ended"]
        return part["payments_succeeded"] / ended if ended else None
    value: float | None = part[name]
    return value


def sparkline(values: list[float | None]) -> str:
    """One character a value, its height by the highest; a dot where there is none."""
    top = max((value for value in values if value is not None), default=0) or 1
    return "".join("·" if value is None else _BARS[round(value / top * (len(_BARS) - 1))] for value in values)


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "%":
        return f"{value * 100:.1f} %"
    if unit == "ms":
        return f"{value:.0f} ms"
    if unit == "s":
        return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
    return f"{value:.0f}"


def main() -> None:
    """`autobook status` by its module's name."""
    from local.cli.app import app

    app(["status", *sys.argv[1:]])


if __name__ == "__main__":
    main()
