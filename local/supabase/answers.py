"""Makes the HTTP response of what a statement returned.

Source: PostgREST 13 `src/PostgREST/Response.hs`, `src/PostgREST/RangeQuery.hs`.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import quote

from local.supabase.errors import ApiError, invalid_range
from local.supabase.planner import Plan
from local.supabase.request import Request


@dataclass(slots=True)
class Answer:
    """An HTTP response: header names are in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Result(NamedTuple):
    """The one row that every statement returns."""

    total: int | None
    rows: int
    body: str
    headers: str | None
    status: str | None
    inserted: int | None
    location: list[str] | None


def _content_range(first: int, last: int, total: int | None) -> str:
    rows = f"{first}-{last}" if total != 0 and first <= last else "*"
    return f"{rows}/{'*' if total is None else total}"


def _set_by_sql(answer: Answer, result: Result) -> Answer:
    """Let `response.status` and `response.headers` have their way."""
    if result.headers is not None:
        broken = ApiError(
            500,
            "PGRST111",
            "response.headers guc must be a JSON array composed of objects with a single key and a string value",
        )
        try:
            listed = json.loads(result.headers)
        except ValueError:
            raise broken from None
        if not isinstance(listed, list):
            raise broken
        for item in listed:
            match list(item.items()) if isinstance(item, dict) else []:
                case [(str(name), str(value))]:
                    answer.headers[name.lower()] = value
                case _:
                    raise broken
    if result.status is not None:
        match = re.match(r"\d+", result.status)
        if match is None:
            raise ApiError(500, "PGRST112", "response.status guc must be a valid status code")
        answer.status = int(match[0])
    return answer


def _content_type(request: Request, plan: Plan) -> dict[str, str]:
    profile = {"content-profile": request.schema} if request.profile_negotiated else {}
    return {"content-type": plan.media.content_type, **profile}


def _applied(value: str | None) -> dict[str, str]:
    return {"preference-applied": value} if value is not None else {}


def _read_answer(request: Request, plan: Plan, result: Result) -> Answer:
    first = request.query.top_range.offset
    last, total = first + result.rows - 1, result.total
    headers = {"content-range": _content_range(first, last, total)}
    status, body = 200, result.body.encode()
    if total is not None and first > total:
        status = 416
        body = invalid_range(f"An offset of {first} was requested, but there are only {total} rows.").body()
    elif total is not None and result.rows < total:
        status = 206
    called = plan.function is not None
    if not called:
        canonical = request.query.canonical
        headers["content-location"] = f"/{request.resource}" + (f"?{canonical}" if canonical else "")
    applied = request.preferences.applied("max_affected") if called else request.preferences.applied()
    headers |= _applied(applied)
    if plan.function is not None and plan.function.returns_void:
        return Answer(204, headers)
    return Answer(status, headers | _content_type(request, plan), b"" if request.head else body)


def _location(resource: str, pairs: list[str]) -> str:
    split = [pair.partition("=") for pair in pairs]
    return f"/{resource}?" + "&".join(f"{quote(k, safe='')}={quote(v, safe='-_.~')}" for k, _, v in split)


def _write_answer(request: Request, plan: Plan, result: Result) -> Answer:
    preferences = request.preferences
    counted = result.rows if preferences.count in ("exact", "estimated") else None
    full = preferences.representation == "representation"
    if request.action == "insert":
        updated = preferences.resolution == "merge-duplicates" and (result.inserted or 0) <= 0
        status = 200 if updated else 201
        headers = {"content-range": _content_range(1, 0, counted)}
        if result.location:
            headers["location"] = _location(request.resource, result.location)
        keyed = plan.has_conflict_target
        applied = preferences.applied(*(("resolution",) if keyed else ()), "missing", "representation")
    else:
        status = 200 if full else 204
        last = result.rows - 1 if request.action == "update" else 0
        headers = {"content-range": _content_range(0 if request.action == "update" else 1, last, counted)}
        missing: tuple[Literal["missing"], ...] = ("missing",) if request.action == "update" else ()
        applied = preferences.applied(*missing, "representation", "max_affected")
    headers |= _applied(applied)
    if not full:
        return Answer(status, headers)
    return Answer(status, headers | _content_type(request, plan), result.body.encode())


def respond(request: Request, plan: Plan, result: Result) -> Answer:
    """Return the response. Raises `ApiError` when SQL has set `response.…` to nonsense."""
    reading = request.action in ("read", "call", "call_read")
    answer = _read_answer(request, plan, result) if reading else _write_answer(request, plan, result)
    return _set_by_sql(answer, result)
