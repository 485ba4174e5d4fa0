"""How long a function takes to be imported, beside a bare fastapi + mangum + supabase + stripe hello function.

    python -m local.bench_cold [--runs 15] [--only development] [--functions webhook]

Every run is a fresh interpreter; the subjects take turns, so that whatever else the machine does falls on all of them
alike; bytecode is warm, as in a deployment package. Two environments: the development one, and one with the runtime
dependencies only, because packages that happen to be installed change what others import (httpx looks for rich). Then
those two functions as they are packaged, from the start of the process to the first answer (local/deploy/bench.py).
Exit status 1 when `webhook` or `charge_booking` takes more than 0.6 of the hello function's time to import, by the
medians, or packaged more than 0.5 to import and answer first.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from local import setup
from local.deploy import bench
from local.deploy.packages import PackagingError
from local.deploy.runtime_api import BootError

ROOT: Final = Path(__file__).resolve().parent.parent
BASE: Final = "hello"
LIMIT: Final = 0.6
LIMITED: Final = ("webhook", "charge_booking")
"""The functions that a cardholder's money waits for: they may take at most LIMIT of the hello function's time."""

_CLOSE_TO_LIMIT: Final = 0.03
_HOPELESS: Final = 2
_TURNS_OF_THE_UNLIMITED: Final = 3
_MOST_ROUNDS: Final = 3
_RUN_TIMEOUT_SECONDS: Final = 60.0
_SYNC_TIMEOUT_SECONDS: Final = 300.0

_TIMED: Final = """
import sys, time
started, started_cpu = time.perf_counter(), time.process_time()
{statement}
seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
import json, os
cached = (getattr(getattr(module, "__spec__", None), "cached", None) for module in list(sys.modules.values()))
missing = sum(path is not None and not os.path.exists(path) for path in cached)
print(json.dumps({{"seconds": seconds, "cpu_seconds": cpu_seconds, "without_bytecode": missing}}))
"""

# Nothing is called with these: clients are made, no request is sent.
_SETTINGS: Final = {
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_SECRET_KEY": "sb_secret_benchmark",
    "STRIPE_SECRET_KEY": "sk_test_benchmark",
}


class BenchError(Exception):
    """What was to be measured could not be; the message says why."""


@dataclass(frozen=True)
class Timing:
    """The runs of one subject, in the order in which they were made: time that passed, and time on the processor."""

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    def ratio(self, base: "Timing") -> float:
        """The median as a part of the base's."""
        return median(self.seconds) / median(base.seconds)

    def cpu_ratio(self, base: "Timing") -> float:
        """The same of processor time, which hardly depends on what else the machine does."""
        return median(self.cpu_seconds) / median(base.cpu_seconds)


Timings = dict[str, Timing]


def handlers(root: Path = ROOT) -> list[str]:
    """The names of all functions that have a handler, e.g. `charge_booking`."""
    return sorted(path.parent.name for path in (root / "functions").glob("*/handler.py"))


def imports(functions: Iterable[str]) -> dict[str, str]:
    """Per subject, the hello function first, the statement that is timed: the import of its module."""
    return {BASE: "import local.bench_hello"} | {name: f"import functions.{name}.handler" for name in functions}


def imports_and_clients(functions: Iterable[str]) -> dict[str, str]:
    """The same with the clients that a first request makes: what is imported late is paid here."""
    made = "import functions.shared.database as database, functions.shared.stripe_gateway as stripe_gateway"
    clients = f"{made}; database.as_operator('bench'); stripe_gateway.gateway()"
    return {BASE: "import local.bench_hello as hello; hello.make_clients()"} | {
        name: f"import functions.{name}.handler; {clients}" for name in functions
    }


def measure(python: Path, statements: Mapping[str, str], runs: int, *, bytecode: Path, limit: float = LIMIT) -> Timings:
    """Time each statement `runs` times, in turns, in fresh interpreters of `python`; without a limit every third turn.

    `bytecode` is a directory for compiled modules, ours so that it can be written whoever installed them. When a
    function that has a limit comes close to it or up to twice over, all are measured up to three times as often,
    because other work on the machine may be at fault. Raises BenchError.
    """
    for statement in statements.values():
        _run(python, statement, bytecode)
    names = list(statements)
    samples: dict[str, list[_Run]] = {name: [] for name in names}
    for _ in range(_MOST_ROUNDS):
        for turn in range(runs):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if name in (BASE, *LIMITED) or turn % _TURNS_OF_THE_UNLIMITED == 0:
                    samples[name].append(_run(python, statements[name], bytecode))
        timings = {
            name: Timing(tuple(run.seconds for run in made), tuple(run.cpu_seconds for run in made))
            for name, made in samples.items()
        }
        if not limit - _CLOSE_TO_LIMIT < worst_ratio(timings) < _HOPELESS * limit:
            break
    if cold := max(run.without_bytecode for made in samples.values() for run in made):
        raise BenchError(f"{cold} modules have no bytecode below {bytecode}: can it be written?")
    return timings


def worst_ratio(timings: Timings) -> float:
    """The highest ratio of medians among the functions that have a limit; 0 when none was measured."""
    return max((timings[name].ratio(timings[BASE]) for name in LIMITED if name in timings), default=0.0)


class _Run(NamedTuple):
    """One fresh interpreter; `without_bytecode` counts the modules that it loaded and had to compile."""

    seconds: float
    cpu_seconds: float
    without_bytecode: int


def _run(python: Path, statement: str, bytecode: Path) -> _Run:
    # Settings such as PYTHONDONTWRITEBYTECODE or -X importtime's twin would be measured too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= _SETTINGS | {"PYTHONPYCACHEPREFIX": str(bytecode)}
    done = subprocess.run(
        [python, "-c", _TIMED.format(statement=statement)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_RUN_TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise BenchError(f"`{statement}` failed:\n{done.stderr.strip()}")
    return _Run(**json.loads(done.stdout))


def runtime_environment(directory: Path) -> Path:
    """Make or update an environment with what is deployed, and FastAPI for the hello function; gives its python.

    Raises BenchError when there is no uv, or it fails.
    """
    uv = _uv()
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment |= {"UV_PROJECT_ENVIRONMENT": str(directory), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    made = subprocess.run(
        [
            *(uv, "sync", "--project", ROOT, "--frozen", "--no-default-groups", "--group", "bench"),
            *("--python", sys.executable, "--quiet"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SYNC_TIMEOUT_SECONDS,
    )
    if made.returncode != 0:
        raise BenchError(f"the runtime environment can't be made:\n{made.stderr.strip()}")
    return directory / "bin" / "python"


def _uv() -> Path:
    places = (setup.STATE / f"uv-{setup.UV_VERSION}" / "bin" / "uv", setup.VENV / "bin" / "uv")
    for place in places:
        if place.is_file():
            return place
    found = shutil.which("uv")
    if found is None:
        raise BenchError("no uv was found: run `make setup`, or measure with --only development")
    return Path(found)


def _table(title: str, timings: Timings, limit: float | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("function", no_wrap=True)
    for heading in ("runs", "min", "median", "max", "ratio", "CPU", "limit"):
        table.add_column(heading, justify="right")
    base = timings[BASE]
    for name, timing in timings.items():
        milliseconds = (
            f"{seconds * 1000:.0f}" for seconds in (min(timing.seconds), median(timing.seconds), max(timing.seconds))
        )
        cells = [str(len(timing.seconds)), *milliseconds, f"{timing.ratio(base):.2f}", f"{timing.cpu_ratio(base):.2f}"]
        if limit is not None and name in LIMITED:
            table.add_row(name, *cells, str(limit), style="green" if timing.ratio(base) <= limit else "bold red")
        else:
            table.add_row(name, *cells)
    return table


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main(arguments: list[str] | None = None) -> int:
    """Measure and print. Returns 1 when a limit is exceeded, 2 when it could not be measured, else 0."""
    parser = argparse.ArgumentParser(prog="python -m local.bench_cold", description="Import times of the functions.")
    parser.add_argument("--runs", type=int, default=15, help="fresh interpreters per function and table (15)")
    parser.add_argument("--only", choices=["development", "deployed", "packaged"], help="measure one of the three")
    parser.add_argument("--functions", nargs="+", choices=handlers(), default=handlers(), help="all unless said")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"for {' and '.join(LIMITED)} ({LIMIT})")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs is at least 1")
    console = Console()
    console.print(
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}, "
        f"{os.cpu_count()} cores of {_processor()}. Each run is a fresh interpreter with warm bytecode, its own start "
        "not counted; the functions take turns. Times in ms; ratio: of the medians, to the hello function's; CPU: the "
        "same of processor time."
    )
    worst, over = 0.0, False
    try:
        for name in ("development", "deployed"):
            if options.only in (None, name):
                worst = max(worst, _bench(console, name, options.functions, options.runs, options.limit))
        if options.only in (None, "packaged"):
            over = _bench_packaged(console, options.runs)
    except (BenchError, PackagingError, BootError) as error:
        console.print(f"Not measured: {error}", style="red", markup=False)
        return 2
    if worst > options.limit:
        console.print(f"{' or '.join(LIMITED)} takes {worst:.2f} of the hello function's time, over {options.limit}.")
        return 1
    return 1 if over else 0


def _bench_packaged(console: Console, runs: int) -> bool:
    """Boot the zips of the limited functions under Lambda's runtime client; whether one takes too much."""
    with console.status("Measuring: packaged"), tempfile.TemporaryDirectory() as scratch:
        measured = bench.measure([name.replace("_", "-") for name in LIMITED], runs, Path(scratch))
    bench.show(console, measured)
    if bench.worst(measured) > bench.LIMIT:
        console.print(f"Import and first answer take over {bench.LIMIT} of the hello function's, packaged.")
        return True
    return False


def _bench(console: Console, environment: str, functions: list[str], runs: int, limit: float) -> float:
    """Measure one environment, print its tables, and give the worst ratio of an import with a limit."""
    if environment == "deployed":
        python, packages = runtime_environment(setup.STATE / "bench-venv"), "runtime dependencies only, as deployed"
    else:
        python, packages = Path(sys.executable), "development environment"
    bytecode = setup.STATE / "bench-bytecode" / environment
    with console.status(f"Measuring: {packages}"):
        imported = measure(python, imports(functions), runs, bytecode=bytecode, limit=limit)
        console.print(_table(f"Import: {packages}", imported, limit))
        # Without a limit, but it tells whether an import was only put off.
        limited = [name for name in functions if name in LIMITED]
        ready = measure(python, imports_and_clients(limited), runs, bytecode=bytecode, limit=1)
        console.print(_table(f"Import, and clients for the database and Stripe made: {packages}", ready))
    return worst_ratio(imported)


if __name__ == "__main__":
    sys.exit(main())
