"""Reconcile by hand (`autobook reconcile`): the deployed function's own handler, called from here."""

from typing import Any

from rich.table import Table

from functions.reconcile.handler import handler

TIME_LIMIT_SECONDS = 600
SHOWN_LINES = 20

Report = dict[str, Any]


class _Context:
    """By hand there is no Lambda to end us; ten minutes are a bound all the same."""

    aws_request_id = None

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return TIME_LIMIT_SECONDS * 1000


def run(*, apply: bool) -> Report:
    """{"apply", "jobs": {job: [{"what", …}]}}; without `apply` nothing is changed. Raises SettingsError."""
    report: Report = handler({"apply": apply}, _Context())
    return report


def lines(report: Report) -> list[dict[str, Any]]:
    """Everything that was found, whichever job found it."""
    return [line for job in report["jobs"].values() for line in job]


def is_broken(report: Report) -> bool:
    """Whether an invariant is broken."""
    return any(line["what"].startswith("BREACH") for line in lines(report))


def is_incomplete(report: Report) -> bool:
    """Whether a job could not run to its end, so that what it looks after is not known."""
    return any(line["what"].startswith(("stopped", "failed", "no_time_left")) for line in lines(report))


def table(report: Report) -> Table:
    """The report for people, at most twenty lines a job."""
    shown = Table("job", "found", "what" if report["apply"] else "what it would do something about")
    for job, found in report["jobs"].items():
        if not found:
            shown.add_row(job, "0", "")
        for line in found[:SHOWN_LINES]:
            facts = ", ".join(f"{name} {value}" for name, value in line.items() if name != "what" and value is not None)
            shown.add_row(job, str(len(found)), f"{line['what']}: {facts}" if facts else line["what"])
    return shown
