"""The supply chain, looked at: `python -m local.audit`.

Bandit over functions/, known vulnerabilities of what is deployed (pip-audit), its licences, and whether uv.lock pins
all of it by hash. Exit status 0: all was looked at and nothing found; 1: something was found; 3: nothing was found, but
the list of vulnerabilities could not be read for some packages, so that nobody knows.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
FOUND, UNKNOWN = 1, 3
_TIMEOUT_SECONDS: Final = 300

ALLOWED: Final = frozenset(
    {"MIT", "MIT-0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "PSF-2.0", "Unlicense", "0BSD"}
)
"""Licences that ask for no more than their own text."""
EXCEPTIONS: Final = {
    "certifi": ("MPL-2.0", "a list of certificates, used as it comes; only changes to that file would have to be shown")
}
"""Licences that ask for more, with the reason why that is no burden here."""
_SAME: Final = {
    "Apache 2": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What packages call them that do not use SPDX's names. "BSD License" may be either; both are allowed."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """A deployed package as uv.lock pins it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    files: int
    registry: str


def deployed(root: Path = ROOT) -> list[Package]:
    """The runtime dependencies of pyproject.toml, and theirs, sorted by name."""
    locked: dict[str, Json] = {
        package["name"]: package for package in tomllib.loads((root / "uv.lock").read_text("utf-8"))["package"]
    }
    pending: list[Json] = list(locked["autobook"]["dependencies"])
    found: dict[str, Package] = {}
    while pending:
        wanted = pending.pop()
        package = locked[wanted["name"]]
        for extra in wanted.get("extra", []):
            pending += package["optional-dependencies"][extra]
        if package["name"] in found:
            continue
        pending += package.get("dependencies", [])
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        found[package["name"]] = Package(
            package["name"],
            package["version"],
            tuple(file["hash"] for file in files if "hash" in file),
            len(files),
            package["source"].get("registry", ""),
        )
    return [found[name] for name in sorted(found)]


def unpinned(packages: Iterable[Package]) -> list[str]:
    """What is not pinned by the SHA-256 of every file that could be installed."""
    return [
        f"{package.name} {package.version} is not pinned by hashes"
        for package in packages
        if not package.files
        or len(package.hashes) != package.files
        or not all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in package.hashes)
    ]


def licence(described: PackageMetadata) -> str:
    """The licence as an SPDX expression, from the best of the three places where packages state it."""
    (expression,) = described.get_all("License-Expression") or [""]
    if expression:
        return str(expression)
    named = [
        line.rpartition(" :: ")[2]
        for line in described.get_all("Classifier") or []
        if line.startswith("License :: OSI Approved ::")
    ]
    stated = named or [line for line in described.get_all("License") or [] if 0 < len(line) < 60]
    return " OR ".join(_SAME.get(name, name) for name in stated) or "not stated"


def is_allowed(name: str, expression: str) -> bool:
    """Whether one alternative of the expression is on the list, or the package is an exception with that licence."""
    if EXCEPTIONS.get(name, ("",))[0] == expression:
        return True
    return any(
        all(part.strip(" ()") in ALLOWED for part in alternative.split(" AND "))
        for alternative in expression.split(" OR ")
    )


def licences(packages: Iterable[Package]) -> tuple[dict[str, str], list[str]]:
    """The licence of each package, and complaints about those that are not allowed or not installed to be read."""
    found, complaints = {}, []
    for package in packages:
        try:
            found[package.name] = licence(metadata(package.name))
        except PackageNotFoundError:
            complaints.append(f"{package.name} is not installed, so its licence cannot be read: run `make setup`")
            continue
        if not is_allowed(package.name, found[package.name]):
            complaints.append(f"{package.name} has the licence {found[package.name]}")
    return found, complaints


def weaknesses(folder: Path) -> list[str]:
    """What bandit finds in a folder; a `# nosec` counts as a finding unless a reason follows it."""
    done = _run("bandit", "-q", "-r", str(folder), "-f", "json")
    report = json.loads(done.stdout)
    found = [
        f"{Path(issue['filename']).relative_to(folder.parent)}:{issue['line_number']}: {issue['test_id']}"
        f" ({issue['issue_severity'].lower()}) {issue['issue_text']}"
        for issue in report["results"]
    ]
    found += [f"{error['filename']}: {error['reason']}" for error in report["errors"]]
    for path in sorted(folder.rglob("*.py")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if re.search(r"#\s*nosec(\s+B\d+)*\s*$", line):
                found.append(f"{path.relative_to(folder.parent)}:{number}: nosec without a reason")
    return found


def vulnerabilities(packages: list[Package]) -> tuple[list[str], list[str]]:
    """Known vulnerabilities, and what could not be looked up, by pip-audit over the pinned versions."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        lines = [
            " ".join([f"{package.name}=={package.version}", *(f"--hash={digest}" for digest in package.hashes)])
            for package in packages
        ]
        requirements.write_text("\n".join(lines) + "\n", "utf-8")
        try:
            done = _run(
                *("pip_audit", "-r", str(requirements), "--require-hashes", "--disable-pip"),
                *("--progress-spinner", "off", "--timeout", "10", "-f", "json"),
            )
        except subprocess.TimeoutExpired:
            return [], [f"pip-audit took longer than {_TIMEOUT_SECONDS} s"]
    return judged(done.stdout, done.stderr, {package.name for package in packages})


def judged(report: str, errors: str, wanted: set[str]) -> tuple[list[str], list[str]]:
    """Findings, and what was not looked up, from pip-audit's JSON.

    pip-audit says "No known vulnerabilities found" and ends with 0 when it could look up none: a package that it
    skipped, or does not name, counts as not looked up.
    """
    try:
        dependencies: list[Json] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = errors.strip().rpartition("\n")[2] or "it said nothing"
        return [], [f"pip-audit did not get to an end: {last[:200]}"]
    found = [
        f"{package['name']} {package['version']}: {issue['id']} {' '.join(issue.get('aliases', []))}"
        f" (fixed in {', '.join(issue.get('fix_versions') or ['no version'])})"
        for package in dependencies
        for issue in package.get("vulns", [])
    ]
    looked_up = {package["name"] for package in dependencies if "skip_reason" not in package}
    return found, sorted(wanted - looked_up)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )


def _section(title: str, complaints: list[str], good: str) -> bool:
    print(f"{'FOUND' if complaints else 'ok':<6} {title}: {good if not complaints else len(complaints)}")
    for complaint in complaints:
        print(f"       {complaint}")
    return bool(complaints)


def main(arguments: list[str] | None = None) -> int:
    """Look at everything and say what was found. Returns the exit status."""
    argparse.ArgumentParser(prog="python -m local.audit", description="Audit what is deployed.").parse_args(arguments)
    packages = deployed()
    found = _section("bandit over functions/", weaknesses(ROOT / "functions"), "nothing found")
    found |= _section("hashes in uv.lock", unpinned(packages), f"{len(packages)} packages pinned by SHA-256")
    by_package, complaints = licences(packages)
    found |= _section("licences", complaints, f"{len(by_package)} packages, all allowed")
    for expression in sorted(set(by_package.values())):
        names = ", ".join(name for name, stated in by_package.items() if stated == expression)
        print(f"       {expression}: {names}")
    known, not_looked_up = vulnerabilities(packages)
    if known or len(not_looked_up) < len(packages):
        found |= _section("known vulnerabilities", known, f"none in {len(packages) - len(not_looked_up)} packages")
    if not_looked_up:
        print(
            f"UNKNOWN {len(not_looked_up)} could not be looked up, so nothing is known of: {', '.join(not_looked_up)}"
        )
        print("       pip-audit needs https://pypi.org/pypi/<name>/json; run this where that can be reached.")
    return FOUND if found else UNKNOWN if not_looked_up else 0


if __name__ == "__main__":
    sys.exit(main())
