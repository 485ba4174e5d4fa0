"""Cursor lists: `?limit=&cursor=` answers `{"data": [...], "next_cursor": null}`, newest first."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, Field, TypeAdapter

from functions.shared.database import Database
from functions.shared.problems import Problem
from functions.shared.web import Query

_Position = TypeAdapter(tuple[AwareDatetime, Annotated[str, Field(max_length=128)]])


class ListQuery(Query):
    """How much of a list, and from where: the `next_cursor` of the page before.

    An empty cursor is refused: taken for none, it would send a caller who lost theirs round the list for ever.
    """

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(min_length=1, max_length=300)] | None = None


def encode_cursor(*position: str) -> str:
    """An opaque, path-safe cursor for a position."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """The (time, id) of a cursor. Raises Problem for one that we did not make."""
    try:
        return _Position.validate_python(json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))))
    except (binascii.Error, ValueError, RecursionError):
        raise Problem("invalid_request", "The cursor is not one of ours.") from None


def page(
    rows: Sequence[dict[str, Any]], limit: int, time_field: str = "created_at", id_field: str = "id"
) -> dict[str, Any]:
    """One page out of `limit` + 1 rows, with the cursor of the next if there is one."""
    data = list(rows[:limit])
    more = len(rows) > limit
    return {
        "data": data,
        "next_cursor": encode_cursor(data[-1][time_field], data[-1][id_field]) if more else None,
    }


def list_newest_first(
    database: Database, table: str, query: ListQuery, columns: str, **one_of: tuple[str, ...]
) -> dict[str, Any]:
    """A page of a table or view that has created_at and a uuid id, kept to rows whose column is one of the values
    given for it. Raises Problem.
    """
    select = database.table(table).select(columns)
    for column, values in one_of.items():
        select = select.in_(column, values)
    if query.cursor:
        time, identifier = decode_cursor(query.cursor)
        try:
            last = UUID(identifier)
        except ValueError:
            raise Problem("invalid_request", "The cursor is not one of ours.") from None
        at = time.isoformat()
        select = select.or_(f'created_at.lt."{at}",and(created_at.eq."{at}",id.lt.{last})')
    rows = database.rows(select.order("created_at", desc=True).order("id", desc=True).limit(query.limit + 1))
    return page(rows, query.limit)


def uuid_of(value: str, problem_code: str) -> UUID:
    """A path's id as a uuid. Raises Problem (the 404 of that resource): what can't be an id is nobody's."""
    try:
        return UUID(value)
    except ValueError:
        raise Problem(problem_code) from None
