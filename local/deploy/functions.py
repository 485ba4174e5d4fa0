"""Which Lambda functions there are, and what of the checkout each one needs: found by reading its imports.

Imports inside functions count, because they are only put off; imports for type checkers do not.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Function:
    """One Lambda function: its name in serverless.yml, and its handler as a path of modules."""

    name: str
    handler: str

    @property
    def module(self) -> str:
        """The module that Lambda imports, e.g. `functions.webhook.handler`."""
        return self.handler.rpartition(".")[0]

    @property
    def folder(self) -> str:
        """The folder of its own code below functions/, e.g. `charge_booking`."""
        return self.module.split(".")[1]


FUNCTIONS: Final = tuple(
    Function(name, handler)
    for name, handler in (
        ("setup-intent", "functions.setup_intent.handler.handler"),
        ("payment-methods", "functions.payment_methods.handler.handler"),
        ("campaigns", "functions.campaigns.handler.handler"),
        ("offers", "functions.offers.handler.handler"),
        ("charge-booking", "functions.charge_booking.handler.handler"),
        # What handler.py calls queue_handler, without the HTTP around it: no web framework, no users' tokens.
        ("charge-queue", "functions.charge_booking.queue.handle_records"),
        ("bookings", "functions.bookings.handler.handler"),
        ("webhook", "functions.webhook.handler.handler"),
        ("reconcile", "functions.reconcile.handler.handler"),
        ("notify", "functions.notify.handler.handler"),
    )
)


def find(name: str) -> Function:
    """The function of that name. Raises KeyError."""
    for function in FUNCTIONS:
        if function.name == name:
            return function
    raise KeyError(name)


@dataclass(frozen=True)
class Contents:
    """What of the checkout a function needs, and what it imports from elsewhere."""

    files: tuple[Path, ...]
    """Relative to the checkout, sorted: modules, and the data files of the function's own folder."""
    imported: frozenset[str]
    """Packages that come with neither the checkout nor Python, e.g. `stripe`."""


def contents(function: Function, root: Path = ROOT) -> Contents:
    """What a function needs. Raises FileNotFoundError for a handler without a module."""
    pending = [function.module]
    modules: dict[str, Path] = {}
    imported: set[str] = set()
    while pending:
        name = pending.pop()
        if name in modules:
            continue
        file = _file_of(name, root)
        if file is None:
            raise FileNotFoundError(f"{name} is no module below {root}")
        modules[name] = file
        pending += _parents(name)
        for wanted in imported_by(file.read_text("utf-8")):
            top = wanted[0].partition(".")[0]
            if top == "functions":
                pending += [found for candidate in wanted if (found := _module(candidate, root))]
            elif top not in sys.stdlib_module_names:
                imported.add(top)
    data = (path for path in (root / "functions" / function.folder).rglob("*") if _is_data(path))
    files = {path.relative_to(root) for path in (*modules.values(), *data)}
    return Contents(tuple(sorted(files)), frozenset(imported))


def _is_data(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".py", ".pyc")


def _file_of(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    # A module and a folder of data may share a name, as functions/notify/templates.py and templates/ do.
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


def _module(name: str, root: Path) -> str | None:
    """The module that `name` is or lies in: for a.b.c also a.b, when c is something that b defines."""
    while name and _file_of(name, root) is None:
        name = name.rpartition(".")[0]
    return name or None


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


@cache
def imported_by(source: str) -> tuple[tuple[str, ...], ...]:
    """What a module imports anywhere but for type checkers; each as the names that it may mean, likeliest first."""
    return tuple(_imports(ast.parse(source)))


def _imports(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """For each import what it may mean: `from a import b` is a.b if that is a module, else a."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield tuple(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (wanted for other in node.orelse for wanted in _imports(ast.Module([other], [])))
        else:
            yield from _imports(node)
