"""`make faults-process`: kill processes under load, then show that nothing was lost. Exit status 1 on a breach."""

import argparse
import signal
import sys
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from local.faults.process.run import Report, run

if TYPE_CHECKING:
    from local.faults.process.disasters import Disaster

_CALM_SECONDS = 4.0
_SHOWN = 40


def main() -> int:
    """Run and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.faults.process", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long load and disasters last")
    parser.add_argument("--travellers", type=int, default=4, help="callers at once")
    parser.add_argument("--seed", type=int, default=0, help="order of the disasters and what travellers choose")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)  # as Ctrl-C: processes are ended and the volume is unmounted on the way out
    console = Console(highlight=False)
    report = run(
        options.minutes * 60,
        travellers=options.travellers,
        calm_seconds=_CALM_SECONDS * max(1.0, options.minutes / 4),
        seed=options.seed,
        say=lambda text: console.print(text, style="dim"),
    )
    show(report, console)
    return int(bool(report.breaches or report.losses))


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def show(report: Report, console: Console) -> None:
    """What was done, how often, how fast it came back, and what is wrong."""
    answered = sum(count for name, count in report.answers.items() if not name.endswith("no answer"))
    total = sum(report.bookings.values())
    console.print(
        f"\n{report.seconds:.0f} s of load: {answered} answers ({answered / report.seconds:.1f}/s), "
        f"{sum(report.answers.values()) - answered} calls without one; {total} bookings "
        f"({total / report.seconds:.1f}/s), {report.charges} charges, {report.events} events. "
        f"Then at rest after {report.rounds} rounds of reconcile ({report.rest_seconds:.0f} s)."
    )
    if not report.has_volume:
        console.print("No full disk in this run: only root may mount the small volume for it.")
    console.print(_disasters(report), _answers(report))
    console.print("bookings: " + ", ".join(f"{count} {status}" for status, count in report.bookings.most_common()))
    for title, found in (("breaches", report.breaches), ("acknowledged and lost", report.losses)):
        console.print(f"{title}: {len(found)}", style="bold red" if found else "bold green")
        for each in found[:_SHOWN]:
            console.print(f"  {each}")
    console.print(f"{report.promises} acknowledged things were looked for.")


def _disasters(report: Report) -> Table:
    kinds: dict[str, list[Disaster]] = defaultdict(list)
    for disaster in report.disasters:
        kinds[disaster.kind].append(disaster)
    table = Table(
        "disaster", "times", "out for, median", "calls failed meanwhile", "next booking after, median", "worst"
    )
    for kind, happened in kinds.items():
        times = [each.recovered_after_seconds for each in happened if each.recovered_after_seconds is not None]
        table.add_row(
            kind,
            str(len(happened)),
            f"{median(each.out_seconds for each in happened):.1f} s",
            str(sum(each.failures for each in happened)),
            f"{median(times):.1f} s" if times else "-",
            f"{max(times):.1f} s" if times else "-",
        )
    return table


def _answers(report: Report) -> Table:
    table = Table("call", "answers")
    calls: dict[str, list[str]] = defaultdict(list)
    for name, count in sorted(report.answers.items()):
        what, _, status = name.partition(" ")
        calls[what].append(f"{status}: {count}")
    for what, counts in calls.items():
        table.add_row(what, ", ".join(counts))
    return table


if __name__ == "__main__":
    sys.exit(main())
