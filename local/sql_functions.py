"""Where each SQL function stands in its newest wording: an applied file is history, so a later one words it anew."""

import re
from dataclasses import dataclass
from pathlib import Path

from local.migrate import ROOT, read_migrations

_CREATED = re.compile(r"^create (?:or replace )?function (?P<name>\w+\.\w+)\s*\(", re.MULTILINE)
_DESCRIBED = re.compile(
    r"^comment on function (?P<name>\w+\.\w+)\s*\([^)]*\) is\s+'(?P<text>(?:[^']|'')*)'", re.MULTILINE
)


@dataclass(frozen=True)
class SqlFunction:
    """A function of ours: schema and name, the line that begins its newest wording, what its comment says."""

    name: str
    path: Path
    line: int
    comment: str


def sql_functions() -> list[SqlFunction]:
    """All of them, by name; paths are relative to the project's root."""
    places: dict[str, tuple[Path, int]] = {}
    comments: dict[str, str] = {}
    for migration in read_migrations():
        text = migration.path.read_text("utf-8")
        for found in _CREATED.finditer(text):
            places[found["name"]] = (migration.path.relative_to(ROOT), text.count("\n", 0, found.start()) + 1)
        comments |= {found["name"]: found["text"].replace("''", "'") for found in _DESCRIBED.finditer(text)}
    return [SqlFunction(name, *place, comments.get(name, "")) for name, place in sorted(places.items())]
