"""Cold start and warm overhead of the packaged functions under Lambda's runtime client, beside the hello function's.

Part of `make bench-cold`. All subjects are unpacked, with bytecode, and take turns; each cold run is a fresh process.
What Python and the runtime client take by themselves is measured by a function that does nothing, and taken off: it is
the same for all, and no code of ours can change it. Cold is from the start of the process to the first answer, GET
/<function>/health, for which settings are read and every route is there.
"""

import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from local import setup
from local.deploy import package
from local.deploy.functions import ROOT, find
from local.deploy.package import BUILD, build
from local.deploy.packages import PackagingError, find_uv, host
from local.deploy.runtime_api import BootedFunction
from local.http_events import Request, to_event

LIMIT: Final = 0.5
"""The most that import and first answer of a function may take of the hello function's."""
HELLO: Final = "hello"
NOTHING: Final = "nothing"
_WARM_CALLS: Final = 200
_SETTINGS: Final = {
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_benchmark",
    "SUPABASE_TOKEN_WEBHOOK": "no token of anybody's",
    "SUPABASE_TOKEN_CHARGE_BOOKING": "no token of anybody's",
    "STRIPE_SECRET_KEY": "sk_test_benchmark",
    "STRIPE_WEBHOOK_SECRETS": "whsec_benchmark",
    "AUTOBOOK_SIGNING_SECRETS": "absec_benchmark",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
"""As serverless.yml sets them. Nothing is called with these."""


@dataclass
class Measured:
    """The runs of one subject."""

    cold_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    warm_seconds: list[float] = field(default_factory=list)
    memory_bytes: int = 0


def _event(path: str) -> dict[str, Any]:
    return to_event(Request("GET", path, "", [("host", "api.example.com")], b"", "192.0.2.1"), path.split("/")[1])


def hello_directory() -> Path:
    """What the hello function's zip would hold, compiled as ours is. Raises PackagingError."""
    directory = BUILD / "hello"
    stamp, wanted = directory / ".stamp", setup.fingerprint(ROOT)
    if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        uv, requirements = str(find_uv()), str(directory / ".requirements.txt")
        export = ["--frozen", "--no-default-groups", "--group", "bench", "--no-emit-project", "--quiet"]
        target = ["--require-hashes", "--no-deps", "--quiet", *host().uv, "--target", str(directory)]
        for command in (
            [uv, "export", "--project", str(ROOT), *export, "--output-file", requirements],
            [uv, "pip", "install", *target, "--requirements", requirements],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode != 0:
                raise PackagingError(f"the hello function can't be packaged:\n{done.stderr.strip()}")
        stamp.write_text(wanted, "utf-8")
    (directory / "local").mkdir(exist_ok=True)
    for name in ("__init__.py", "bench_hello.py"):
        shutil.copyfile(ROOT / "local" / name, directory / "local" / name)
    package.compile_all(directory, host())
    return directory


def measure(names: list[str], runs: int, scratch: Path) -> dict[str, Measured]:
    """Cold runs in turns, then warm calls of each. Raises PackagingError, BootError."""
    nothing = scratch / NOTHING
    nothing.mkdir()
    (nothing / "nothing.py").write_text("def handler(event, context):\n    return {}\n", "utf-8")
    zips = {each.function.name: each.file for each in build(host(), bytecode=True, functions=map(find, names))}
    with ExitStack() as opened:
        subjects: Mapping[str, tuple[BootedFunction, dict[str, Any]]] = {
            NOTHING: (BootedFunction(nothing, "nothing.handler", _SETTINGS), {}),
            HELLO: (BootedFunction(hello_directory(), "local.bench_hello.handler", _SETTINGS), _event("/hello")),
        } | {
            name: (BootedFunction(zips[name], find(name).handler, _SETTINGS), _event(f"/{name}/health"))
            for name in names
        }
        for function, event in subjects.values():
            opened.enter_context(function).invoke(event)
        measured = {name: Measured() for name in subjects}
        for _ in range(runs):
            for name, (function, event) in subjects.items():
                started = time.perf_counter()
                function.start()
                function.invoke(event)
                measured[name].cold_seconds.append(time.perf_counter() - started)
                measured[name].cpu_seconds.append(function.cpu_seconds())
        for name, (function, event) in subjects.items():
            for _ in range(_WARM_CALLS):
                started = time.perf_counter()
                function.invoke(event)
                measured[name].warm_seconds.append(time.perf_counter() - started)
            measured[name].memory_bytes = function.memory_bytes()
    return measured


def ratio(measured: Mapping[str, Measured], name: str, what: str = "cold_seconds") -> float:
    """A function's import and first answer as a part of the hello function's: medians, less what nothing takes.

    `what` is cold_seconds, or cpu_seconds, which hardly depends on what else the machine does.
    """
    own, hello, nothing = (median(getattr(measured[each], what)) for each in (name, HELLO, NOTHING))
    return float((own - nothing) / (hello - nothing))


def worst(measured: Mapping[str, Measured]) -> float:
    """The highest ratio of ours."""
    return max(ratio(measured, name) for name in measured if name not in (NOTHING, HELLO))


def show(console: Console, measured: Mapping[str, Measured]) -> None:
    """Print it."""
    table = Table(title="Packaged, under the runtime client", title_justify="left")
    table.add_column("function", no_wrap=True)
    for heading in ("cold, ms", "its CPU, ms", "less nothing's", "ratio", "CPU ratio", "warm, ms", "memory, MB"):
        table.add_column(heading, justify="right")
    for name, each in measured.items():
        own = median(each.cold_seconds) - median(measured[NOTHING].cold_seconds)
        ratios = ("", "")
        if name != NOTHING:
            ratios = (f"{ratio(measured, name):.2f}", f"{ratio(measured, name, 'cpu_seconds'):.2f}")
        table.add_row(
            name,
            f"{median(each.cold_seconds) * 1000:.0f}",
            f"{median(each.cpu_seconds) * 1000:.0f}",
            f"{own * 1000:.0f}",
            *ratios,
            f"{median(each.warm_seconds) * 1000:.2f}",
            f"{each.memory_bytes / 1e6:.0f}",
            style=None if name in (NOTHING, HELLO) else "green" if ratio(measured, name) <= LIMIT else "bold red",
        )
    console.print(table)
