"""What a run shows: the matrix, the sum, and a broken schedule's story with the books at its end."""

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from local.faults.catalogue import FAMILIES

if TYPE_CHECKING:
    from rich.console import Console

    from local.faults.coverage import Coverage
    from local.faults.simulation import Result
    from local.faults.workers import Total


def matrix(console: "Console", coverage: "Coverage") -> None:
    """How often each fault struck at each boundary, a table a family."""
    for family, kinds in FAMILIES.items():
        rows = sorted(name for name in coverage.passages if name.split(" ", 1)[0] == family)
        if not rows:
            continue
        table = Table(title=f"{family}: passages, and what struck there", title_justify="left", box=None)
        for title in ("boundary", "passed", *(kind.replace("_", " ") for kind in kinds)):
            table.add_column(title, justify="left" if title == "boundary" else "right")
        for name in rows:
            hits = [coverage.hits[name, kind] for kind in kinds]
            cells = [str(count) if count else "[yellow]0[/yellow]" for count in hits]
            table.add_row(name.split(" ", 1)[1], str(coverage.passages[name]), *cells)
        console.print(table)
        console.print()


def summary(console: "Console", total: "Total", seconds: float) -> None:
    """One run in a few lines."""
    missed = total.coverage.missed()
    cells = total.coverage.cells()
    console.print(
        f"{total.schedules} schedules, {total.charges} charges in {seconds:.0f} s "
        f"({total.schedules / seconds:.1f} schedules/s, {total.charges / seconds:.1f} charges/s); "
        f"{sum(total.coverage.hits.values())} faults; {cells - len(missed)} of {cells} cells hit"
    )
    for boundary, kind in missed[:40]:
        console.print(f"[yellow]never hit[/yellow]: {boundary}: {kind.replace('_', ' ')}")
    if len(missed) > 40:
        console.print(f"[yellow]and {len(missed) - 40} more[/yellow]")
    verdict = f"[red]{len(total.failed)} schedules broke a rule[/red]" if total.failed else "[green]no breach[/green]"
    console.print(verdict)


def replay(console: "Console", url: str, seed: int, *, mutation: str | None) -> int:
    """Play one seed; its story, or if it breaks a rule the story of the shortest schedule that does.

    This process is good for nothing else afterwards.
    """
    from local.faults.bench import open_bench
    from local.faults.schedule import plan
    from local.faults.shrink import shrink
    from local.faults.simulation import Simulation

    with open_bench(url, mutation=mutation) as bench:
        result = Simulation(bench, plan(seed)).play()
        if not result.breaches:
            _story(console, result)
            console.print(f"[green]seed {seed}: no breach[/green]")
            return 0
        console.print(f"[red]seed {seed} breaks[/red]")
        for breach in result.breaches:
            console.print(f"  {escape(breach)}")
        _, shortest, runs = shrink(lambda schedule: Simulation(bench, schedule).play(), result)
        console.print(
            f"The shortest schedule found in {runs} runs has {len(shortest.schedule.steps)} of "
            f"{len(result.schedule.steps)} steps and {len(shortest.faults)} of {len(result.faults)} faults:"
        )
        _story(console, shortest)
    return 1


def sum_of(total: "Total", seconds: float) -> dict[str, Any]:
    """One run for a machine."""
    return {
        "schedules": total.schedules,
        "charges": total.charges,
        "seconds": round(seconds, 1),
        "faults": sum(total.coverage.hits.values()),
        "cells": total.coverage.cells(),
        "cells_missed": len(total.coverage.missed()),
        "failed": total.failed,
    }


def as_json(_: "Console", url: str, seed: int, *, mutation: str | None) -> int:
    """Play one seed; print its story and what it broke as JSON, unshortened."""
    from local.faults.bench import open_bench
    from local.faults.schedule import plan
    from local.faults.simulation import Simulation

    with open_bench(url, mutation=mutation) as bench:
        result = Simulation(bench, plan(seed)).play()
    story = [str(line) for line in result.story] + result.books
    print(json.dumps({"seed": seed, "story": story, "breaches": result.breaches}))
    return int(bool(result.breaches))


def search(url: str, names: list[str] | None, *, most: int, from_zero: bool) -> int:
    """Plant each fault in turn and search for it in at most so many schedules; prints what was found, as JSON.

    First in the one that found it before, unless `from_zero`. 1 when one was not found.
    """
    from local.faults.bench import open_bench
    from local.faults.mutations import MUTATIONS, planted
    from local.faults.schedule import plan
    from local.faults.simulation import Simulation

    report: dict[str, Any] = {}
    with open_bench(url) as bench:
        for name in names or MUTATIONS:
            known = [] if from_zero else [MUTATIONS[name].known_seed]
            report[name] = {"breach": None, "schedules": most}
            with planted(name, bench.database):
                for number, seed in enumerate([*known, *range(most)], start=1):
                    found = Simulation(bench, plan(seed)).play().breaches
                    if found:
                        report[name] = {"breach": found[0], "schedules": number, "seed": seed}
                        break
            sys.stderr.write(f"{name}: {report[name]}\n")
    print(json.dumps(report))
    return int(any(found["breach"] is None for found in report.values()))


def _story(console: "Console", result: "Result") -> None:
    for line in result.story:
        console.print(escape(str(line)), style="bold" if line.fault else None)
    console.print("At the end:")
    for line_of_books in result.books:
        console.print(f"  {escape(line_of_books)}")
    for breach in result.breaches:
        console.print(f"[red]BREACH[/red] {escape(breach)}")
