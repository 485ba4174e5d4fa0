"""What a check says."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is. `fail`: money, people or data are at stake, or something does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `found` and `remedy` hold no secret; an `ok` needs no remedy."""

    check: str
    status: Status
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        assert self.found, self.check
        assert self.remedy or self.status is Status.OK, self.check

    def document(self) -> dict[str, str]:
        """The finding for machines."""
        return {name: str(value) for name, value in asdict(self).items()}


def ok(check: str, found: str) -> Finding:
    """Looked at, and well."""
    return Finding(check, Status.OK, found)


def warn(check: str, found: str, remedy: str) -> Finding:
    """It works, and will not for ever, or not as it should."""
    return Finding(check, Status.WARN, found, remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(check, Status.FAIL, found, remedy)


def unknown(check: str, found: str, remedy: str) -> Finding:
    """It could not be looked at."""
    return Finding(check, Status.UNKNOWN, found, remedy)
