"""Walking the API's cursor lists to their end."""

import base64
import json
from typing import Any

import pytest

from tests.support.http import Caller, ok, refused

Json = dict[str, Any]


def pages(caller: Caller, path: str, limit: int) -> list[list[Json]]:
    """Every page of a list, first to last; fails on one that never ends."""
    found: list[list[Json]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = ok(caller.get(path, **query))
        assert set(page) == {"data", "next_cursor"}
        assert len(page["data"]) <= limit
        found.append(page["data"])
        assert len(found) < 100
        if page["next_cursor"] is None:
            return found
        assert len(page["data"]) == limit
        query["cursor"] = page["next_cursor"]


def assert_walked_once(caller: Caller, path: str, expected: set[str], name: str = "id") -> None:
    """Every row once, in the same order whatever the size of a page."""
    whole = [row[name] for row in pages(caller, path, 100)[0]]
    assert set(whole) == expected
    assert len(whole) == len(expected)
    for limit in (1, 2, len(expected)):
        walked = [row[name] for page in pages(caller, path, limit) for row in page]
        assert walked == whole, f"{path} by pages of {limit}"


def _made_up(*position: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


FOREIGN_CURSORS = [
    "1",
    "eyJ",
    "%00",
    "null",
    _made_up(),
    _made_up("2026-01-01T00:00:00+00:00"),
    _made_up("yesterday", "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"),
    _made_up("2026-01-01T00:00:00", "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d"),
    _made_up("2026-01-01T00:00:00+00:00", 7),
    _made_up("2026-01-01T00:00:00+00:00", "x" * 129),
    _made_up("2026-01-01T00:00:00+00:00", "0b9be7a5-4b8e-4f0b-9f0a-1b5b9a6b7c8d", "and more"),
    "A" * 301,
]
"""What is no cursor of any list."""

NO_UUID_CURSOR = _made_up("2026-01-01T00:00:00+00:00", 'x),or(user_id.neq.0"')
"""The form of a cursor, with a filter of PostgREST's where the id belongs."""

bad_queries = pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "-1"},
        {"limit": "ten"},
        {"limit": "1.5"},
        {"limit": ""},
        {"offset": "1"},
        {"user_id": "eq.1"},
        {"limit": ["1", "2"]},
        *({"cursor": cursor} for cursor in FOREIGN_CURSORS),
    ],
    ids=str,
)


def assert_query_refused(caller: Caller, path: str, query: Json) -> None:
    """422, without a word of SQL."""
    refused(caller.get(path, **query), 422, "invalid_request")
