"""Numbers about our own work, as CloudWatch's embedded metric format: one line of JSON on standard output.

CloudWatch makes metrics of such lines by itself: no call, no permission, no package
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
What is counted within `invocation` is written when it ends, however it ends. Names, units and dimensions are all in
METRICS, so that their number is bounded: a stage or a function, never an id. docs/observability.md explains each.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, NamedTuple

from functions.shared.problems import Problem

NAMESPACE: Final = "Autobook"
MOST_VALUES: Final = 100
"""As many values of one metric as a line may hold, by the specification."""

STAGE: Final = ("Stage",)
FUNCTION: Final = ("Stage", "Function")
"""Sets of dimensions. Each combination of values is a metric of its own and is paid for, so most go by stage alone."""


class Metric(NamedTuple):
    """How a metric is declared to CloudWatch."""

    unit: Literal["Count", "Milliseconds", "Seconds"]
    dimensions: tuple[str, ...]


METRICS: Final = {
    # 1 or 0 each time, so that Average is the rate, Sum the number and SampleCount of how many.
    "ServerErrors": Metric("Count", FUNCTION),
    "PaymentSuccess": Metric("Count", STAGE),
    "CampaignCreation": Metric("Count", STAGE),
    # Each time that something took.
    "WebhookProcessing": Metric("Milliseconds", STAGE),
    # Each time that it happens.
    "StripeRateLimits": Metric("Count", STAGE),
    "StripeUnavailable": Metric("Count", STAGE),
    "DatabaseUnavailable": Metric("Count", STAGE),
    "UnknownDeclineCodes": Metric("Count", STAGE),
    "EventsNotApplied": Metric("Count", STAGE),
    "NotificationsSent": Metric("Count", STAGE),
    "NotificationsFailed": Metric("Count", STAGE),
    "ReconcileJobsStopped": Metric("Count", STAGE),
    # How things stand, by reconcile from the database (public.operational_numbers).
    "InvariantBreaches": Metric("Count", STAGE),
    "UnsettledAttempts": Metric("Count", STAGE),
    "OldestUnsettledAttemptAge": Metric("Seconds", STAGE),
    "OldestDueBookingAge": Metric("Seconds", STAGE),
    "OldestWaitingMatchAge": Metric("Seconds", STAGE),
    "OldestFailedEventAge": Metric("Seconds", STAGE),
    "NotificationLag": Metric("Seconds", STAGE),
    "UnresolvedIncidents": Metric("Count", STAGE),
    "AutoBookingLatencyP95": Metric("Milliseconds", STAGE),
}

Value = int | float
_values: ContextVar[dict[str, list[Value]] | None] = ContextVar("metric_values", default=None)


def add(name: str, value: Value = 1) -> None:
    """Note one value of a metric of METRICS. Outside of an invocation, as in commands by hand, nothing is noted.

    Raises KeyError for a name that is not in METRICS.
    """
    if name not in METRICS:
        raise KeyError(name)
    values = _values.get()
    if values is not None:
        values.setdefault(name, []).append(value)


@contextmanager
def invocation(function: str) -> Iterator[None]:
    """Within the block metrics are noted; at its end they are written, and ServerErrors with them if nobody has said.

    `function` is the Lambda's name, with dashes. What the block raises goes on, as a server error.
    """
    values: dict[str, list[Value]] = {}
    token = _values.set(values)
    try:
        yield
    except BaseException:
        values["ServerErrors"] = [1]
        raise
    finally:
        _values.reset(token)
        values.setdefault("ServerErrors", [0])
        if os.environ.get("AUTOBOOK_METRICS", "on") != "off":
            for line in documents(function, values):
                sys.stdout.write(line + "\n")
            sys.stdout.flush()


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Note how many milliseconds the block took, also when it raises."""
    began = time.perf_counter()
    try:
        yield
    finally:
        add(name, round((time.perf_counter() - began) * 1000, 3))


@contextmanager
def success(name: str) -> Iterator[None]:
    """Note 1 when the block ends, 0 when it fails by our fault; a refusal that is the caller's own doing is neither."""
    try:
        yield
    except Problem as problem:
        if problem.kind.status >= 500:
            add(name, 0)
        raise
    except Exception:
        add(name, 0)
        raise
    add(name, 1)


def payment_settled(result: str, booking_status: str | None = None, *, step: str | None = None) -> None:
    """Note how a booking's payment ended, by what settling it answered; anything but an end is nothing to note.

    Of all who bring the same news, one is answered `confirmed`, `authorized` or `failed`, the others `already_…`, so
    each payment counts once. Capturing a hold is no second success.
    """
    if result in ("confirmed", "authorized") and step != "capture":
        add("PaymentSuccess", 1)
    elif result == "failed" or (result == "declined" and booking_status == "failed"):
        add("PaymentSuccess", 0)


def documents(function: str, values: dict[str, list[Value]]) -> list[str]:
    """The lines that tell CloudWatch these values, as few as the specification lets there be."""
    lines = []
    longest = max(len(noted) for noted in values.values())
    for start in range(0, longest, MOST_VALUES):
        part = {name: noted[start : start + MOST_VALUES] for name, noted in values.items() if noted[start:]}
        directives = [
            {
                "Namespace": NAMESPACE,
                "Dimensions": [list(dimensions)],
                "Metrics": [
                    {"Name": name, "Unit": metric.unit}
                    for name, metric in METRICS.items()
                    if name in part and metric.dimensions == dimensions
                ],
            }
            for dimensions in (FUNCTION, STAGE)
        ]
        document = {
            "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [directive for directive in directives if directive["Metrics"]],
            },
            "Stage": os.environ.get("STAGE") or "local",
            "Function": function,
            **{name: noted[0] if len(noted) == 1 else noted for name, noted in part.items()},
        }
        lines.append(json.dumps(document, separators=(",", ":")))
    return lines
