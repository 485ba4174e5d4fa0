"""Types that every module of the stand-in shares."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A Stripe object as it travels: JSON types only."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text: long lists of names read better as prose."""
    return tuple(text.split())
