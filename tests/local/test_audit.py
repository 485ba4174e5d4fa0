"""The audit of what is deployed: each check finds what was planted, and what is here is sound."""

import json
import re
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

import pytest

from local import audit
from local.audit import ROOT, Package, deployed, is_allowed, judged, licence, licences, unpinned, weaknesses

DIGEST = f"sha256:{'a' * 64}"


def test_what_is_deployed_is_pinned_and_its_licences_are_allowed() -> None:
    packages = deployed()
    assert {"stripe", "postgrest", "cryptography", "botocore"} <= {package.name for package in packages}
    assert not {"moto", "pytest", "bandit", "psycopg"} & {package.name for package in packages}
    assert unpinned(packages) == []
    found, complaints = licences(packages)
    assert complaints == []
    assert found["stripe"] == "MIT"
    assert {package.registry for package in packages} == {"https://pypi.org/simple"}


@pytest.mark.parametrize(
    "package",
    [
        Package("a", "1", (DIGEST,), 2, ""),
        Package("a", "1", ("md5:00",), 1, ""),
        Package("a", "1", (), 0, ""),
    ],
)
def test_what_is_not_pinned_is_found(package: Package) -> None:
    assert len(unpinned([package])) == 1
    assert unpinned([Package("a", "1", (DIGEST,), 1, "")]) == []


def described(**fields: str) -> Message:
    message = Message()
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("fields", "expected", "allowed"),
    [
        ({"License_Expression": "MIT"}, "MIT", True),
        ({"License_Expression": "GPL-3.0-only OR MIT"}, "GPL-3.0-only OR MIT", True),
        ({"License_Expression": "GPL-3.0-only AND MIT"}, "GPL-3.0-only AND MIT", False),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause", True),
        ({"License": "Apache-2.0"}, "Apache-2.0", True),
        ({"License": "AGPL-3.0"}, "AGPL-3.0", False),
        ({"License": "x" * 500}, "not stated", False),
        ({}, "not stated", False),
    ],
)
def test_a_licence_is_read_and_judged(fields: dict[str, str], expected: str, *, allowed: bool) -> None:
    found = licence(described(**fields))  # type: ignore[arg-type]  # importlib's metadata is such a message
    assert found == expected
    assert is_allowed("a", found) is allowed


def test_an_exception_is_for_one_package_and_one_licence() -> None:
    assert is_allowed("certifi", "MPL-2.0")
    assert not is_allowed("certifi", "GPL-3.0-only")
    assert not is_allowed("another", "MPL-2.0")


def test_bandit_finds_nothing_here() -> None:
    assert weaknesses(ROOT / "functions") == []


def test_bandit_finds_what_was_planted(tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "a.py").write_text("import subprocess\nsubprocess.run(input(), shell=True)\n")
    (folder / "b.py").write_text(
        "eval(input())  # nosec\nexec('1')  # nosec B102\nexec('2')  # nosec B102 - a reason\n"
    )
    found = weaknesses(folder)
    assert [line for line in found if line.startswith("functions/a.py:2: B602 (high)")]
    assert [line for line in found if line.endswith("nosec without a reason")] == [
        "functions/b.py:1: nosec without a reason",
        "functions/b.py:2: nosec without a reason",
    ]


def report(*dependencies: Mapping[str, object]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_a_vulnerability_is_a_finding() -> None:
    issue = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"]}
    found, unknown = judged(report({"name": "a", "version": "1.0", "vulns": [issue]}), "", {"a"})
    assert found == ["a 1.0: PYSEC-1 CVE-2026-1 (fixed in 1.1)"]
    assert unknown == []


def test_what_was_not_looked_up_is_not_green() -> None:
    """pip-audit itself ends with 0 here."""
    skipped = {"name": "a", "skip_reason": "Dependency not found on PyPI and could not be audited: a (1.0)"}
    sound = {"name": "b", "version": "1.0", "vulns": []}
    assert judged(report(skipped, sound), "", {"a", "b", "c"}) == ([], ["a", "c"])
    assert judged(report(sound), "", {"b"}) == ([], [])


@pytest.mark.parametrize("said", ["", "{}", "no JSON", "[]", "null"])
def test_an_audit_that_did_not_end_is_not_green(said: str) -> None:
    found, unknown = judged(said, "Traceback\nConnectionError: no way", {"a"})
    assert found == []
    assert unknown == ["pip-audit did not get to an end: ConnectionError: no way"]


@pytest.mark.parametrize(
    ("known", "unknown", "status"), [([], [], 0), ([], ["a"], 3), (["a: CVE"], [], 1), (["a: CVE"], ["b"], 1)]
)
def test_the_exit_status_tells_sound_from_unknown(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    known: list[str],
    unknown: list[str],
    status: int,
) -> None:
    """The index is replaced, because it is not the same from one day to the next."""
    monkeypatch.setattr(audit, "vulnerabilities", lambda _: (known, unknown))
    assert audit.main([]) == status
    assert ("UNKNOWN" in capsys.readouterr().out) is bool(unknown)


# --- docs/dependencies.md -------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "dependencies.md").read_text("utf-8")


def named(heading: str) -> set[str]:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(names) == len(set(names))
    return set(names)


def test_the_page_lists_what_is_deployed() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    block = text.partition("dependencies = [")[2].partition("\n]")[0]
    chosen = {re.split(r"[\[<>=]", entry)[0] for entry in re.findall(r'^\s*"([^"]+)"', block, re.MULTILINE)}
    assert named("Chosen") == chosen
    assert named("Brought along") == {package.name for package in deployed()} - chosen


def test_the_page_names_the_allowed_licences_and_the_exceptions() -> None:
    section = PAGE.partition("## Licences\n")[2]
    allowed = re.search(r"Allowed without a word: ([^:]+)\. One exception", section)
    assert allowed
    assert set(allowed[1].split(", ")) == audit.ALLOWED
    for name, (expression, reason) in audit.EXCEPTIONS.items():
        assert f"- `{name}` ({expression}): {reason}." in section
