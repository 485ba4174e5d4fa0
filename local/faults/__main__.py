"""`make faults`: simulated worlds by seed, faults at every boundary, and the books compared at rest.

    python -m local.faults                          10,000 schedules, from seed 0 on
    python -m local.faults --schedules 300          so many
    python -m local.faults --minutes 5              as many as fit
    python -m local.faults --seed 42                this one, with its story
    python -m local.faults --sql-times --schedules 60       where the database's time goes meanwhile

Ends with 1 when a rule was broken: then the seed is told, and the shortest schedule that still breaks it, as a story.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from local.faults import report, sql_times
from local.faults.workers import Order, Total, databases, play_all

FEWEST_FOR_ALL_CELLS = 10_000
"""A run of this size must have hit every cell of the matrix."""
TELL_EVERY_SECONDS = 30.0
"""Where there is no terminal to draw a bar on."""


def main() -> int:
    """0 when every rule held."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # A set of strings is walked in an order that differs from process to process unless this is said at first.
        os.execve(  # noqa: S606 - this very program again
            sys.executable,
            [sys.executable, "-m", "local.faults", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    parser = argparse.ArgumentParser(prog="python -m local.faults", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this schedule alone and tell its story")
    parser.add_argument("--schedules", type=int, default=FEWEST_FOR_ALL_CELLS, help="how many (default %(default)s)")
    parser.add_argument("--minutes", type=float, help="as many as fit into this time, instead")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--mutation", action="append", help="play over functions or SQL with this planted fault")
    parser.add_argument("--search", action="store_true", help="search for each --mutation (all unless named) by itself")
    parser.add_argument("--from-zero", action="store_true", help="search from seed 0 on, not where it was found before")
    parser.add_argument("--sql-times", action="store_true", help="play on one worker and show what SQL functions take")
    parser.add_argument("--json", action="store_true", help="nothing but the sum, as JSON; stops at the first breach")
    given = parser.parse_args()
    # A file has no width, and eighty columns would cut the matrix's names.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
    if given.search:
        with databases(1) as (url,):
            return report.search(url, given.mutation, most=given.schedules, from_zero=given.from_zero)
    if given.sql_times:
        with databases(1) as (url,):
            times = sql_times.measure(url, first=given.first, schedules=given.schedules)
            if given.json:
                print(json.dumps([asdict(each) for each in times]))
            else:
                sql_times.show(console, url, times, given.schedules)
            return 0
    mutation = given.mutation[0] if given.mutation else None
    if given.seed is not None:
        with databases(1) as (url,):
            show = report.as_json if given.json else report.replay
            return show(console, url, given.seed, mutation=mutation)
    order = Order(given.first, given.schedules, given.minutes, given.workers, mutation, stops_early=given.json)
    begun_at = time.monotonic()
    total = _play(order, console, quiet=given.json)
    seconds = time.monotonic() - begun_at
    if given.json:
        print(json.dumps(report.sum_of(total, seconds)))
        return int(bool(total.failed))
    report.matrix(console, total.coverage)
    report.summary(console, total, seconds)
    if total.failed:
        with databases(1) as (url,):
            report.replay(console, url, min(total.failed), mutation=mutation)
    missed = total.coverage.missed() if total.schedules >= FEWEST_FOR_ALL_CELLS else []
    return int(bool(total.failed or missed))


def _play(order: Order, console: Console, *, quiet: bool) -> Total:
    total = Total()
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet) as progress:
        task = progress.add_task("", total=None if order.minutes else order.schedules, rate="")
        begun_at = told_at = time.monotonic()
        for played in play_all(order):
            total.add(played)
            if played.breaches and not quiet:
                console.print(f"[red]seed {played.seed}[/red]: {escape(played.breaches[0])}")
            seconds = time.monotonic() - begun_at
            rate = f"{total.schedules / seconds:.1f} schedules/s, {total.charges / seconds:.1f} charges/s"
            rate += f", {len(total.failed)} broken" if total.failed else ""
            progress.update(task, completed=total.schedules, rate=rate)
            if not quiet and not console.is_terminal and seconds + begun_at >= told_at + TELL_EVERY_SECONDS:
                told_at = seconds + begun_at
                console.print(f"{total.schedules} schedules in {seconds:.0f} s, {rate}")
            if total.failed and order.stops_early:
                break
    return total


if __name__ == "__main__":
    sys.exit(main())
