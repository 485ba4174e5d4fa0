"""JSON objects from outside that go into the database as they are: bounded, and of what jsonb can hold."""

import json
import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator

MOST_BYTES = 8 * 1024
MOST_DEPTH = 8
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
"""jsonb has no U+0000, and a lone surrogate is no text at all."""


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    _check(value, MOST_DEPTH)
    if len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise ValueError(f"takes more than {MOST_BYTES} bytes")
    return value


def _check(value: Any, depth: int) -> None:
    if depth < 0:
        raise ValueError(f"is nested deeper than {MOST_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth - 1)
            _check(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, str):
        if _NOT_STORABLE.search(value):
            raise ValueError("holds a character that cannot be stored")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that JSON does not know")


JsonObject = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""A JSON object of at most 8 KiB and eight levels."""
