from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.faults.database_side import SimulatedDatabase


@contextmanager
def planted(name: str | None, database: "SimulatedDatabase") -> Iterator[None]:
    """Nothing is planted yet."""
    assert name is None
    yield
