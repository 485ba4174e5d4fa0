"""Runs on a schedule, so it has no path."""

from typing import Any


def handler(_event: Any, _context: Any) -> None:
    """Do nothing."""
