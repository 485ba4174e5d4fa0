"""`make reconcile`: run reconcile by hand, against the environment's project or else the local stack that is running.

Looks only, unless told `--apply` (`make reconcile APPLY=1`). Exit status 1 when an invariant is broken or a job failed.
"""

import argparse
import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from local import environment

TIME_LIMIT_SECONDS = 600


class _Context:
    """By hand there is no Lambda to end us; ten minutes are a bound all the same."""

    aws_request_id = None

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return TIME_LIMIT_SECONDS * 1000


def main() -> int:
    """Run, print what was found, and say honestly how it went."""
    parser = argparse.ArgumentParser(prog="python -m local.reconcile", description=__doc__)
    parser.add_argument("--apply", action="store_true", help="do what is to be done, instead of only saying it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args()
    environment.choose()

    from functions.reconcile.handler import handler  # reads its settings from the environment made above

    report = handler({"apply": arguments.apply}, _Context())
    if arguments.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _show(report)
    lines = [line for job in report["jobs"].values() for line in job]
    return int(any(line["what"].startswith(("BREACH", "stopped", "failed")) for line in lines))


def _show(report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table("job", "found", "what" if report["apply"] else "what it would do something about")
    for job, lines in report["jobs"].items():
        if not lines:
            table.add_row(job, "0", "")
        for line in lines[:20]:
            facts = ", ".join(f"{name} {value}" for name, value in line.items() if name != "what" and value is not None)
            table.add_row(job, str(len(lines)), f"{line['what']}: {facts}" if facts else line["what"])
    console.print(table)
    if not report["apply"]:
        console.print("Nothing was changed. `make reconcile APPLY=1` does it.")


if __name__ == "__main__":
    sys.exit(main())
