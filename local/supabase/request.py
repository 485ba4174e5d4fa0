"""Turns an HTTP request into a typed one: what it addresses, its query string, its range, its body.

Source: PostgREST 13 `src/PostgREST/ApiRequest.hs`, `RangeQuery.hs` and `ApiRequest/QueryParams.hs`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import parse_qsl, quote

from local.supabase.errors import ApiError, invalid_body, invalid_range, not_supported
from local.supabase.grammar import (
    parse_columns,
    parse_logic,
    parse_operation,
    parse_operation_or_argument,
    parse_order,
    parse_select,
    parse_tree_path,
)
from local.supabase.media import content_kind
from local.supabase.preferences import Preferences
from local.supabase.syntax import Condition, EmbedPath, Filter, OrderTerm, SelectItem

Action = Literal["read", "insert", "update", "delete", "call", "call_read"]


@dataclass(frozen=True, slots=True)
class Range:
    """Rows from `offset` on, at most `limit` of them (None: all)."""

    offset: int = 0
    limit: int | None = None

    def at_most(self, rows: int) -> "Range":
        """Return the range cut to so many rows."""
        return Range(self.offset, rows if self.limit is None else min(self.limit, rows))


@dataclass(frozen=True, slots=True)
class QueryString:
    """Everything that stands behind the `?`."""

    select: tuple[SelectItem, ...]
    filters: tuple[tuple[EmbedPath, Filter], ...]
    logic: tuple[tuple[EmbedPath, Condition], ...]
    order: tuple[tuple[EmbedPath, tuple[OrderTerm, ...]], ...]
    ranges: Mapping[EmbedPath, Range]
    top_range: Range
    arguments: tuple[tuple[str, str], ...]
    columns: tuple[str, ...] | None
    on_conflict: tuple[str, ...] | None
    canonical: str


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON body: its text as it came, and the keys of its object (or of each of its objects)."""

    text: str
    keys: frozenset[str]

    @property
    def is_object(self) -> bool:
        """Whether it is one object, no array."""
        return self.text.lstrip(" \t\r\n").startswith("{")


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the API, understood but not yet held against the database."""

    action: Action
    schema: str
    profile_negotiated: bool
    resource: str
    head: bool
    query: QueryString
    body: Body | None
    body_kind: str
    accept: str | None
    preferences: Preferences


SHAPING_HEADERS = ("accept", "accept-profile", "content-profile", "content-type", "range")
"""The headers that, with method, path, query string and preferences, say what is asked for."""

_EMBEDDABLE = ("order", "limit", "offset", "and", "or")
_RESERVED = ("select", "columns", "on_conflict")
_READ_METHODS = ("GET", "HEAD")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _whole_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*-?[0-9]+\s*", text, re.ASCII) else None


_Bounds = tuple[int, int | None]  # first row, last row (None: no end)


def _bounds(pairs: Sequence[tuple[str, str]]) -> dict[str, _Bounds]:
    """Read every `limit` and `offset`, by the embedded resource they belong to ("" is the top)."""
    limits = {n[: -len("limit")]: _whole_number(v) for n, v in pairs if _last(n) == "limit"}
    offsets = {n[: -len("offset")]: _whole_number(v) or 0 for n, v in pairs if _last(n) == "offset"}
    bounds: dict[str, _Bounds] = {}
    for prefix in {*limits, *offsets}:
        limit, offset = limits.get(prefix), offsets.get(prefix, 0)
        if prefix not in limits:
            bounds[prefix] = (offset, None)
        elif prefix not in offsets:
            bounds[prefix] = (0, None if limit is None else limit - 1)
        else:
            bounds[prefix] = (offset, offset + (limit or 0) - 1)
    return bounds


def _range(first: int, last: int | None) -> Range:
    return Range(first, None if last is None else max(last - first + 1, 0))


def _header_bounds(method: str, header: str | None) -> _Bounds | None:
    """Read a Range header; None when it is empty (its end before its start)."""
    match = re.fullmatch(r"([0-9]+)-([0-9]*)", header or "", re.ASCII)
    if method != "GET" or match is None:
        return 0, None
    first, last = int(match[1]), int(match[2]) if match[2] else None
    return None if last is not None and last < first else (first, last)


def _top_range(bounds: _Bounds, header: _Bounds | None) -> Range:
    """Combine limit and offset with the Range header. Raises `ApiError` PGRST103 when nothing is left."""
    if bounds[1] == -1:
        return Range(0, 0)  # limit=0 asks for no rows, and may
    if header is None:
        raise invalid_range("The lower boundary must be lower than or equal to the upper boundary in the Range header.")
    first = max(bounds[0], header[0])
    ends = [end for end in (bounds[1], header[1]) if end is not None]
    last = min(ends, default=None)
    if last is not None and last < first:
        raise invalid_range("Limit should be greater than or equal to zero.")
    return _range(first, last)


def _canonical(pairs: Sequence[tuple[str, str]]) -> str:
    """Write the query string sorted by name, values of the same name together, as Content-Location has it."""
    grouped: dict[str, list[str]] = {}
    for name, value in sorted(pairs, key=lambda pair: pair[0]):
        grouped.setdefault(name, []).append(value)
    return "&".join(
        f"{quote(name, safe='')}={','.join(quote(value, safe='') for value in values)}"
        for name, values in grouped.items()
    )


def parse_query_string(
    text: str, *, method: str, range_header: str | None = None, for_function: bool = False
) -> QueryString:
    """Parse what stands behind the `?`.

    With `for_function`, a parameter that is no filter is an argument. Raises `ApiError` (PGRST100, PGRST103).
    """
    pairs = parse_qsl(text, keep_blank_values=True, errors="replace")
    order = tuple((n, v) for n, v in pairs if _last(n) == "order")
    logic = tuple((n, v) for n, v in pairs if _last(n) in ("and", "or"))
    single = {name: value for name, value in reversed(pairs) if name in _RESERVED}
    filters: list[tuple[EmbedPath, Filter]] = []
    arguments: list[tuple[str, str]] = []

    parsed_order = tuple((parse_tree_path(n)[0], parse_order(v)) for n, v in order)
    parsed_logic = tuple(parse_logic(n, v) for n, v in logic)
    columns = parse_columns(single["columns"]) if "columns" in single else None
    select = parse_select(single.get("select", "*"))
    for name, value in pairs:
        if name in _RESERVED or _last(name) in _EMBEDDABLE:
            continue
        path, field = parse_tree_path(name)
        operation = parse_operation_or_argument(value) if for_function else parse_operation(value)
        if operation is None:
            arguments.append((field.name, value))
        else:
            filters.append((path, Filter(field, operation)))
    on_conflict = parse_columns(single["on_conflict"], "on_conflict") if "on_conflict" in single else None

    bounds = _bounds(pairs)
    top_range = _top_range(bounds.pop("", (0, None)), _header_bounds(method, range_header))
    ranges = {parse_tree_path(f"{prefix}limit")[0]: _range(*both) for prefix, both in bounds.items()}
    return QueryString(
        select=select,
        filters=tuple(filters),
        logic=parsed_logic,
        order=parsed_order,
        ranges=ranges,
        top_range=top_range,
        arguments=tuple(arguments),
        columns=columns,
        on_conflict=on_conflict,
        canonical=_canonical(pairs),
    )


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _json_body(raw: bytes, *, for_function: bool) -> Body:
    if for_function and not raw:
        return Body("{}", frozenset())
    try:
        text = raw.decode("utf-8")
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise invalid_body("Empty or invalid json") from None
    if isinstance(parsed, dict):
        return Body(text, frozenset(parsed))
    if not isinstance(parsed, list) or not parsed:
        return Body("[]", frozenset())  # PostgREST treats any other JSON as an empty array
    keys = frozenset(parsed[0]) if isinstance(parsed[0], dict) else None
    if keys is None or not all(isinstance(item, dict) and keys == item.keys() for item in parsed):
        raise invalid_body("All object keys must match")
    return Body(text, keys)


def _body(action: Action, kind: str, raw: bytes, columns: tuple[str, ...] | None) -> Body | None:
    if action not in ("insert", "update", "call"):
        return None
    if kind == "application/json":
        if columns is not None:
            return Body(raw.decode("utf-8", "replace"), frozenset(columns))
        return _json_body(raw, for_function=action == "call")
    if kind in ("text/csv", "application/x-www-form-urlencoded"):
        raise not_supported(f"bodies of type {kind}")
    if action == "call" and kind in ("text/plain", "text/xml", "application/octet-stream"):
        raise not_supported(f"bodies of type {kind}")
    raise invalid_body(f"Content-Type not acceptable: {kind}")


def _resource(path: str, method: str) -> tuple[Action, str]:
    """Return what is to be done with which resource; the path is below `/rest/v1`."""
    steps = [step for step in path.split("/") if step]
    if not steps:
        raise not_supported("the OpenAPI description of the API")
    if len(steps) == 2 and steps[0] == "rpc":
        calls: dict[str, Action] = {"GET": "call_read", "HEAD": "call_read", "POST": "call"}
        if method == "OPTIONS":
            raise not_supported("OPTIONS")
        if method not in calls:
            raise ApiError(405, "PGRST101", f"Cannot use the {method} method on RPC")
        return calls[method], steps[1]
    if len(steps) != 1:
        raise ApiError(404, "PGRST125", "Invalid path specified in request URL")
    actions: dict[str, Action] = {
        "GET": "read",
        "HEAD": "read",
        "POST": "insert",
        "PATCH": "update",
        "DELETE": "delete",
    }
    if method in ("PUT", "OPTIONS"):
        raise not_supported(method)
    if method not in actions:
        raise ApiError(405, "PGRST117", f"Unsupported HTTP method: {method}")
    return actions[method], steps[0]


def parse_request(
    *,
    method: str,
    path: str,
    query_string: str,
    headers: Mapping[str, str],
    schemas: Sequence[str],
    preferences: Preferences,
) -> Request:
    """Understand all of a request but its body; `path` is decoded and below `/rest/v1`, header names in lower case.

    Of the headers it looks at `SHAPING_HEADERS` alone. Raises `ApiError`.
    """
    # The order of the checks is PostgREST's: the first that fails is what the caller hears of.
    if path.strip("/").count("/") > 1 or not path.strip("/"):
        _resource(path, method)
    profile = headers.get("accept-profile" if method in _READ_METHODS else "content-profile")
    if profile is not None and profile not in schemas:
        raise ApiError(406, "PGRST106", "The schema must be one of the following: " + ", ".join(schemas))
    action, resource = _resource(path, method)
    query = parse_query_string(
        query_string,
        method=method,
        range_header=headers.get("range"),
        for_function=action == "call_read",
    )
    return Request(
        action=action,
        schema=profile or schemas[0],
        profile_negotiated=profile is not None or len(schemas) > 1,
        resource=resource,
        head=method == "HEAD",
        query=query,
        body=None,
        body_kind=content_kind(headers.get("content-type")),
        accept=headers.get("accept"),
        preferences=preferences,
    )


def with_body(request: Request, raw: bytes) -> Request:
    """The request with its body. Raises `ApiError`: of all checks this is PostgREST's last."""
    body = _body(request.action, request.body_kind, raw, request.query.columns)
    return request if body is None else replace(request, body=body)
