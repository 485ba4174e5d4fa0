"""The `Prefer` header. Source: https://docs.postgrest.org/en/stable/references/api/preferences.html."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_CHOICES = {
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "missing": ("default", "null"),
    "return": ("representation", "minimal", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "tx": ("commit", "rollback"),
    "handling": ("strict", "lenient"),
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the caller prefers; None where nothing (known) was said."""

    resolution: str | None = None
    missing: str | None = None
    representation: str | None = None
    count: str | None = None
    transaction: str | None = None
    handling: str | None = None
    timezone: str | None = None
    max_affected: int | None = None
    invalid: tuple[str, ...] = ()

    @property
    def strict(self) -> bool:
        """Whether an unknown preference is an error."""
        return self.handling == "strict"

    def applied(self, *names: Literal["resolution", "missing", "representation", "max_affected"]) -> str | None:
        """Return the `Preference-Applied` header; the named ones apply besides those that always do."""
        pairs = (
            ("resolution", self.resolution if "resolution" in names else None),
            ("missing", self.missing if "missing" in names else None),
            ("return", self.representation if "representation" in names else None),
            ("count", self.count),
            ("tx", self.transaction),
            ("handling", self.handling),
            ("timezone", self.timezone),
            ("max-affected", self.max_affected if "max_affected" in names and self.strict else None),
        )
        return ", ".join(f"{name}={value}" for name, value in pairs if value is not None) or None


_NONE = Preferences()


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def parse_preferences(headers: Sequence[str], timezones: frozenset[str]) -> Preferences:
    """Read all `Prefer` headers; of several values of a kind the first counts."""
    if not headers:
        return _NONE
    stated = [part.strip() for header in headers for part in header.split(",")]

    def first(prefix: str) -> str | None:
        return next((s.removeprefix(prefix) for s in stated if s.startswith(prefix)), None)

    def chosen(kind: str) -> str | None:
        known = {f"{kind}={value}": value for value in _CHOICES[kind]}
        return next((known[s] for s in stated if s in known), None)

    timezone = first("timezone=")
    accepted_timezone = timezone if timezone in timezones else None
    known = {f"{kind}={value}" for kind, values in _CHOICES.items() for value in values}
    invalid = tuple(
        s
        for s in stated
        if s not in known
        and not s.startswith("max-affected=")
        and not (s.startswith("timezone=") and accepted_timezone is not None)
    )
    return Preferences(
        resolution=chosen("resolution"),
        missing=chosen("missing"),
        representation=chosen("return"),
        count=chosen("count"),
        transaction=chosen("tx"),
        handling=chosen("handling"),
        timezone=accepted_timezone,
        max_affected=_integer(first("max-affected=")),
        invalid=invalid,
    )
