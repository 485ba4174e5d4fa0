"""The rules of the house, each with planted breaches that it must find."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

Rule = Callable[[Path], list[str]]
"""Takes a checkout's root and gives its breaches, each naming a file."""


def parsed(root: Path, folder: str = "functions") -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((root / folder).rglob("*.py")):
        yield path.relative_to(root).as_posix(), ast.parse(path.read_text("utf-8"))


def imports(tree: ast.AST, *, typing_too: bool = True) -> list[str]:
    """The full names of what a module imports anywhere, `from a.b import c` as a.b.c."""
    names: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif typing_too or not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            names += imports(node, typing_too=typing_too)
    return names


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def package_of(file: str) -> str:
    """The folder below functions/, e.g. `webhook` of functions/webhook/families/charges.py."""
    return file.split("/")[1]


def endpoints_know_no_other_endpoint(root: Path) -> list[str]:
    return [
        f"{file} imports {name}"
        for file, tree in parsed(root)
        for name in imports(tree)
        if name.startswith("functions.") and name.split(".")[1] not in (package_of(file), "shared")
    ]


def functions_know_nothing_of_the_laptop(root: Path) -> list[str]:
    return [
        f"{file} imports {name}"
        for file, tree in parsed(root)
        for name in imports(tree)
        if is_in(name, "local") or is_in(name, "tests")
    ]


SLOW = ("supabase", "requests", "aiohttp", "fastapi")


def slow_packages_are_not_deployed(root: Path) -> list[str]:
    """docs/decisions/0002-cold-start.md says what is used instead."""
    return [
        f"{file} imports {name}"
        for file, tree in parsed(root)
        for name in imports(tree)
        if any(is_in(name, package) for package in SLOW)
    ]


def stripe_is_imported_in_one_place(root: Path) -> list[str]:
    return [
        f"{file} imports {name}"
        for file, tree in parsed(root)
        for name in imports(tree)
        if is_in(name, "stripe") and file != "functions/shared/stripe_sdk.py"
    ]


BOTO3_IN = ("functions/shared/charge_queue.py", "functions/shared/secrets.py", "functions/notify/mail.py")


def boto3_is_imported_where_it_is_needed(root: Path) -> list[str]:
    return [
        f"{file} imports {name}"
        for file, tree in parsed(root)
        for name in imports(tree)
        if (is_in(name, "boto3") or is_in(name, "botocore")) and file not in BOTO3_IN
    ]


def a_handler_is_the_last_line(root: Path) -> list[str]:
    breaches = []
    for file, tree in parsed(root):
        if file.endswith("/handler.py") and not ast.unparse(tree.body[-1]).startswith("handler = "):
            breaches.append(f"{file} does not end with `handler = …`")
    return breaches


def public_things_have_docstrings(root: Path) -> list[str]:
    breaches = []
    for file, tree in parsed(root):
        if not tree.body:
            continue  # an empty __init__.py
        if not ast.get_docstring(tree):
            breaches.append(f"{file} has no docstring")
        breaches += [f"{file}: {name} has no docstring" for name in _without_docstring(tree)]
    return breaches


def _without_docstring(parent: ast.Module | ast.ClassDef) -> list[str]:
    names = []
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            names.append(node.name)
        if isinstance(node, ast.ClassDef):
            names += [f"{node.name}.{name}" for name in _without_docstring(node)]
    return names


def migrations_share_one_line_of_numbers(root: Path) -> list[str]:
    breaches: list[str] = []
    seen: dict[str, str] = {}
    for path in sorted((*(root / "sql").glob("*"), *(root / "policies").glob("*"))):
        file = path.relative_to(root).as_posix()
        number = re.match(r"(\d{4})_[a-z0-9_]+\.sql$", path.name)
        if number is None:
            breaches.append(f"{file} is not named like 0001_lower_case.sql")
            continue
        if number[1] in seen:
            breaches.append(f"{file} has the number of {seen[number[1]]}")
        seen[number[1]] = file
        if path.read_text("utf-8").partition("\n")[0] != "-- migrate:up":
            breaches.append(f"{file} does not begin with -- migrate:up")
    return breaches


FOLDERS = ("functions/shared", "sql", "policies", "local", "tests", "docs/decisions", ".github/workflows")


def the_house_has_its_rooms(root: Path) -> list[str]:
    return [f"{folder} is missing" for folder in FOLDERS if not (root / folder).is_dir()]


RULES: dict[Rule, dict[str, str]] = {
    endpoints_know_no_other_endpoint: {
        "functions/webhook/a.py": "from functions.offers.schemas import Offer",
        "functions/webhook/families/b.py": "def f():\n    import functions.campaigns.handler",
        "functions/shared/c.py": "from functions import offers",
    },
    functions_know_nothing_of_the_laptop: {
        "functions/offers/a.py": "from local.stack import LocalStack",
        "functions/offers/b.py": "import tests.support.http",
    },
    slow_packages_are_not_deployed: {
        "functions/offers/a.py": "import supabase",
        "functions/offers/b.py": "def f():\n    from requests.adapters import HTTPAdapter",
        "functions/offers/c.py": "from fastapi import FastAPI",
    },
    stripe_is_imported_in_one_place: {
        "functions/offers/a.py": "import stripe",
        "functions/shared/b.py": "from stripe import StripeClient",
        "functions/shared/c.py": "if TYPE_CHECKING:\n    import stripe.params",
    },
    boto3_is_imported_where_it_is_needed: {
        "functions/webhook/a.py": "import boto3",
        "functions/shared/b.py": "from botocore.config import Config",
    },
    a_handler_is_the_last_line: {
        "functions/offers/handler.py": "handler = 1\nother = 2",
    },
    public_things_have_docstrings: {
        "functions/offers/a.py": "x = 1",
        "functions/offers/b.py": '"""B."""\ndef f(): ...',
        "functions/offers/c.py": '"""C."""\nclass C:\n    """C."""\n    async def f(self): ...',
    },
    migrations_share_one_line_of_numbers: {
        "policies/0001_twin.sql": "-- migrate:up\n",
        "sql/0002_no_head.sql": "select 1;\n",
        "sql/two.sql": "-- migrate:up\n",
    },
    the_house_has_its_rooms: {},
}
SOUND = {
    "functions/shared/stripe_sdk.py": '"""S."""\nimport stripe',
    "functions/shared/charge_queue.py": '"""Q."""\nimport boto3\nimport json, requestsish',
    "functions/webhook/handler.py": '"""H."""\nfrom functions.shared import web\n\ndef _f(): ...\n\nhandler = web.f()',
    "functions/webhook/families/charges.py": '"""C."""\nfrom functions.webhook.verification import Event',
    "functions/webhook/__init__.py": "",
    "sql/0001_first.sql": "-- migrate:up\nselect 1;\n",
    "policies/0100_later.sql": "-- migrate:up\n",
    "local/stack.py": "import supabase, fastapi, requests",
    "tests/test_it.py": "",
    "docs/decisions/0001.md": "",
    ".github/workflows/ci.yml": "",
}


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_holds_here(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_what_was_planted_and_nothing_else(rule: Rule, tmp_path: Path) -> None:
    plant(tmp_path, SOUND)
    assert rule(tmp_path) == []
    planted = RULES[rule]
    plant(tmp_path, planted)
    breaches = rule(tmp_path)
    assert len(breaches) == len(planted)
    for file in planted:
        assert [breach for breach in breaches if file in breach], f"not found: {file}"


def test_a_missing_room_is_found(tmp_path: Path) -> None:
    assert len(the_house_has_its_rooms(tmp_path)) == len(FOLDERS)


# --- what is installed and loaded in a Lambda -----------------------------------------------------------------------


def deployed_distributions(root: Path) -> set[str]:
    """The runtime dependencies of uv.lock, and theirs, by normalised name."""
    packages = {package["name"]: package for package in tomllib.loads((root / "uv.lock").read_text("utf-8"))["package"]}
    pending = list(packages["autobook"]["dependencies"])
    found: set[str] = set()
    while pending:
        wanted = pending.pop()
        package = packages[wanted["name"]]
        for extra in wanted.get("extra", []):
            pending += package["optional-dependencies"][extra]
        if wanted["name"] not in found:
            found.add(wanted["name"])
            pending += package.get("dependencies", [])
    return found


def undeployed_imports(root: Path, deployed: set[str]) -> list[str]:
    distributions = packages_distributions()
    breaches = []
    for file, tree in parsed(root):
        for name in imports(tree, typing_too=False):
            top = name.partition(".")[0]
            if top == "functions" or top in sys.stdlib_module_names:
                continue
            owners = {re.sub(r"[-_.]+", "-", owner).lower() for owner in distributions.get(top, [])}
            if not owners & deployed:
                breaches.append(f"{file} imports {name}")
    return breaches


def test_functions_import_only_what_is_deployed_with_them(tmp_path: Path) -> None:
    deployed = deployed_distributions(ROOT)
    assert {"stripe", "postgrest", "cryptography", "pydantic-core"} <= deployed
    assert not {"rich", "psycopg", "fastapi", "moto", "pytest"} & deployed
    assert undeployed_imports(ROOT, deployed) == []
    plant(tmp_path, {"functions/a.py": "import rich.table, stripe, json\nif TYPE_CHECKING:\n    import psycopg"})
    assert undeployed_imports(tmp_path, deployed) == ["functions/a.py imports rich.table"]


HANDLERS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/handler.py"))
HEAVY = {*SLOW, "boto3", "botocore", "jinja2", "babel", "jwt", "cryptography"}
NEEDED = {
    "offers": {"boto3", "botocore"},
    "reconcile": {"boto3", "botocore"},
    "notify": {"boto3", "botocore", "jinja2", "babel"},
}
"""PyJWT is needed by all that serve users, but on their first request and not before."""


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_loads_nothing_slow_that_it_does_not_need(name: str) -> None:
    code = f"import functions.{name}.handler, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(json.loads(done.stdout))
    assert f"functions.{name}.handler" in loaded
    assert loaded & HEAVY == NEEDED.get(name, set())
