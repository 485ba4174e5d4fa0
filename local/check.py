"""Everything that has to hold before a change lands: `make test`, `make lint`, `make types`, `make format`.

    python -m local.check [--workers 2] [--only lint|format|types] [-- pytest arguments]

Every step runs, whatever the ones before it said, and a summary says which failed. The tests of `tests/database` run a
second time on the PostgreSQL that `pg_config` finds, because hosted projects don't run the newest.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from local import postgres_binaries

ROOT = Path(__file__).resolve().parent.parent
SQL = ("sql", "policies")
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Step:
    """A command with the name that the summary gives it."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] | None = None


def _tool(name: str, *arguments: str) -> Step:
    return Step(" ".join([name, *arguments[:2]]), (str(_BIN / name), *arguments))


LINT = (
    _tool("ruff", "check", "."),
    _tool("ruff", "format", "--check", "."),
    _tool("sqlfluff", "lint", "--disable-progress-bar", *SQL),
)
TYPES = (_tool("mypy"),)
FORMAT = (
    _tool("ruff", "check", "--fix", "."),
    _tool("ruff", "format", "."),
    _tool("sqlfluff", "fix", "--disable-progress-bar", *SQL),
)


def test_steps(workers: str, arguments: Sequence[str], second_server: Path | None) -> list[Step]:
    """The tests, on our own server; and those of the database on another version's, unless only some were asked for."""
    # loadgroup: tests of one xdist_group share a worker, and with it what they took long to set up.
    pytest = (sys.executable, "-m", "pytest", "-n", workers, "--dist", "loadgroup")
    steps = [Step("pytest", (*pytest, *arguments))]
    if second_server is not None and not arguments:
        environment = {"PG_BIN": str(second_server)}
        version = postgres_binaries.major_version(second_server)
        steps.append(Step(f"pytest tests/database on PostgreSQL {version}", (*pytest, "tests/database"), environment))
    return steps


def _run(step: Step, *, quietly: bool) -> tuple[Step, int]:
    """Run a step. `quietly` holds its output back and prints it whole, for steps that run beside one another."""
    environment = os.environ | dict(step.environment or {})
    started = time.monotonic()
    result = subprocess.run(
        step.command,
        cwd=ROOT,
        env=environment,
        check=False,
        stdout=subprocess.PIPE if quietly else None,
        stderr=subprocess.STDOUT if quietly else None,
        text=True,
    )
    if quietly:
        print(f"== {step.name} ({time.monotonic() - started:.1f} s)\n{result.stdout}", end="", flush=True)
    return step, result.returncode


def run(together: Sequence[Step], one_by_one: Sequence[Step] = ()) -> int:
    """Run the steps, the first ones two at a time. Prints what failed; returns 0 if nothing did, else 1."""
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda step: _run(step, quietly=True), together))
    for step in one_by_one:
        print(f"== {step.name}", flush=True)
        results.append(_run(step, quietly=False))
    failed = [step.name for step, status in results if status != 0]
    print(f"\nFAILED: {', '.join(failed)}" if failed else f"\nAll well: {', '.join(step.name for step, _ in results)}")
    return 1 if failed else 0


def _second_server() -> Path | None:
    """The server that `pg_config` finds; says so when there is none. None, too, when PG_BIN chose one already."""
    if os.environ.get("PG_BIN") or os.environ.get("DATABASE_URL"):
        print("PG_BIN or DATABASE_URL names the PostgreSQL to test on, so all tests run on that one only.")
        return None
    server = postgres_binaries.installed()
    if server is None:
        print("SKIPPED: tests/database on a second PostgreSQL: there is none (Debian: apt-get install postgresql).")
    return server


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.check", description="Check what has to hold.")
    parser.add_argument("--only", choices=["lint", "format", "types"], help="no tests, and of the rest only this")
    parser.add_argument("--workers", default="2", help="pytest-xdist workers")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest; with any, only these tests run, nothing else")
    options = parser.parse_args()
    if options.only == "format":
        return run((), FORMAT)  # in order: what the linter rewrites, the formatter lays out
    if options.only:
        return run({"lint": LINT, "types": TYPES}[options.only])
    if options.pytest:
        return run((), test_steps(options.workers, options.pytest, None))
    second = _second_server()
    if second is None and os.environ.get("AUTOBOOK_NO_SKIPS") and not os.environ.get("PG_BIN"):
        print("AUTOBOOK_NO_SKIPS is set, and a second PostgreSQL is among what must not be skipped.", file=sys.stderr)
        return 1
    return run(TYPES + LINT, test_steps(options.workers, (), second))


if __name__ == "__main__":
    sys.exit(main())
