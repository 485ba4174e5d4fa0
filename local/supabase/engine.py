"""Runs a request as PostgREST does: plan, one transaction, answer.

Source: https://docs.postgrest.org/en/stable/references/transactions.html and PostgREST 13 `src/PostgREST/Query.hs`,
`src/PostgREST/Response.hs`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from time import monotonic
from typing import Literal, NamedTuple
from urllib.parse import quote

import psycopg
from psycopg import Connection

from local.supabase.catalog import Catalog, Function, RoleSettings, Row
from local.supabase.database import Catalogs, Pool
from local.supabase.errors import ApiError, from_database, invalid_range, not_singular
from local.supabase.gateway import ANON_ROLE, Caller
from local.supabase.planner import Plan, plan_request
from local.supabase.preferences import Preferences, parse_preferences
from local.supabase.query import Query
from local.supabase.query import quote as quote_name
from local.supabase.request import Request, parse_request
from local.supabase.settings import Settings

Moment = Literal["before_commit", "after_commit"]
Hook = Callable[[Moment], None]

_SERIALIZATION_FAILURE = "40001"
_RETRY_SECONDS = 60.0  # PostgREST retries for ever; a hosted project's gateway gives up after a minute
_ISOLATION_LEVELS = ("repeatable read", "serializable")
# What a stale catalogue can be the reason of.
_MISSES = ("PGRST200", "PGRST202", "PGRST204", "PGRST205")


@dataclass(slots=True)
class Answer:
    """An HTTP response: header names are in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Incoming:
    """An HTTP request as it came, header names in lower case.

    `path` is decoded and below `/rest/v1`; `raw_path` is the same as it was sent.
    """

    method: str
    path: str
    raw_path: str
    query_string: str
    headers: Mapping[str, str]
    prefer: tuple[str, ...]
    body: bytes


class Result(NamedTuple):
    """The one row that every statement returns."""

    total: int | None
    rows: int
    body: str
    headers: str | None
    status: str | None
    inserted: int | None
    location: list[str] | None


def _nothing(_moment: Moment) -> None:
    return


class Engine:
    """Answers requests to `/rest/v1`; safe to use from many threads at once."""

    def __init__(self, settings: Settings, pool: Pool, catalogs: Catalogs) -> None:
        self._settings = settings
        self._pool = pool
        self._catalogs = catalogs

    def answer(self, incoming: Incoming, caller: Caller, hook: Hook = _nothing) -> Answer:
        """Answer a request; `hook` is called inside the transaction and after its commit.

        Raises `ApiError` for everything that PostgREST answers with an error, and what `hook` raises.
        """
        asked_at = monotonic()
        try:
            catalog = self._catalogs.current()
        except psycopg.Error as error:
            raise from_database(error, anonymous=caller.role == ANON_ROLE) from error
        try:
            return self._answer(incoming, caller, hook, catalog)
        except ApiError as error:
            if error.code not in _MISSES:
                raise
        return self._answer(incoming, caller, hook, self._catalogs.read_since(asked_at))

    def _answer(self, incoming: Incoming, caller: Caller, hook: Hook, catalog: Catalog) -> Answer:
        preferences = parse_preferences(incoming.prefer, catalog.timezones)
        request = parse_request(
            method=incoming.method,
            path=incoming.path,
            query_string=incoming.query_string,
            headers=incoming.headers,
            body=incoming.body,
            schemas=self._settings.schemas,
            preferences=preferences,
        )
        plan = plan_request(catalog, request, max_rows=self._settings.max_rows)
        locals_ = self._locals(incoming, caller, request, plan, catalog.roles.get(caller.role))
        isolation = _isolation(plan.function, catalog.roles.get(caller.role))
        deadline = monotonic() + _RETRY_SECONDS
        while True:
            try:
                result = self._transaction(plan, locals_, isolation, preferences, hook)
                break
            except psycopg.Error as error:
                if error.sqlstate == _SERIALIZATION_FAILURE and monotonic() < deadline:
                    continue
                if error.sqlstate is None or error.sqlstate.startswith("57P0"):
                    self._pool.discard_idle()
                raise from_database(error, anonymous=caller.role == ANON_ROLE) from error
        return _respond(request, plan, result)

    def _locals(
        self, incoming: Incoming, caller: Caller, request: Request, plan: Plan, role: RoleSettings | None
    ) -> Query:
        """Write the select that sets everything the SQL may ask about the request, until the transaction ends."""
        cookie = incoming.headers.get("cookie", "")
        schemas = ", ".join(quote_name(s) for s in (request.schema, *self._settings.extra_search_path))
        headers = {name: value for name, value in incoming.headers.items() if name != "cookie"}
        cookies = {name: morsel.value for name, morsel in SimpleCookie(cookie).items()} if cookie else {}
        values = [
            ("search_path", schemas.replace("%%", "%")),
            *(role.settings if role is not None else ()),
            ("role", caller.role),
            ("request.jwt.claims", json.dumps(caller.claims, ensure_ascii=False)),
            ("request.method", incoming.method),
            ("request.path", incoming.raw_path),
            ("request.headers", json.dumps(headers, ensure_ascii=False)),
            ("request.cookies", json.dumps(cookies, ensure_ascii=False)),
        ]
        if request.preferences.timezone is not None:
            values.append(("timezone", request.preferences.timezone))
        if plan.function is not None:
            values.extend(plan.function.settings)
        query = Query().raw("select ")
        for position, (name, value) in enumerate(values):
            query.raw(", " if position else "").raw("set_config(").value(name).raw(", ").value(value)
            query.raw(", true)")
        return query

    def _transaction(self, plan: Plan, locals_: Query, isolation: str, preferences: Preferences, hook: Hook) -> Result:
        access = "read only" if plan.read_only else "read write"
        with self._pool.connection() as connection:
            try:
                connection.execute(f"begin isolation level {isolation} {access}".encode())
                connection.execute(locals_.text.encode(), locals_.params)
                result = _run(connection, plan.query)
                _check(result, plan, preferences)
                if plan.count_estimate is not None:
                    result = _with_estimate(connection, plan, result, self._settings.max_rows)
                hook("before_commit")
                if preferences.transaction == "rollback":
                    connection.execute("set constraints all immediate")
                    connection.execute("rollback")
                else:
                    connection.execute("commit")
            except BaseException:
                _abandon(connection)
                raise
        hook("after_commit")
        return result


def _abandon(connection: Connection[Row]) -> None:
    if connection.closed or connection.broken:
        return
    try:
        connection.execute("rollback")
    except psycopg.Error:
        connection.close()


def _isolation(function: Function | None, role: RoleSettings | None) -> str:
    wanted = (function.isolation if function is not None else None) or (role.isolation if role else None)
    return wanted if wanted in _ISOLATION_LEVELS else "read committed"


def _run(connection: Connection[Row], query: Query) -> Result:
    row = connection.execute(query.text.encode(), query.params).fetchone()
    if row is None:
        raise RuntimeError("a statement without aggregate rows")
    return Result(*row)


def _check(result: Result, plan: Plan, preferences: Preferences) -> None:
    """Raise what makes PostgREST roll back although SQL had no complaint."""
    if plan.media.shape == "object" and result.rows != 1:
        raise not_singular(result.rows)
    limit = preferences.max_affected
    if plan.limits_affected and limit is not None and preferences.strict and result.rows > limit:
        raise ApiError(
            400,
            "PGRST124",
            "Query result exceeds max-affected preference constraint",
            details=f"The query affects {result.rows} rows",
        )


def _with_estimate(connection: Connection[Row], plan: Plan, result: Result, max_rows: int) -> Result:
    if plan.count_estimate is None:
        return result
    kind, query = plan.count_estimate
    if kind == "estimated" and (result.total or 0) <= max_rows:
        return result
    row = connection.execute(b"explain (format json) " + query.text.encode(), query.params).fetchone()
    planned = int(row[0][0]["Plan"]["Plan Rows"]) if row is not None else 0
    return result._replace(total=planned if kind == "planned" else max(result.total or 0, planned))


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


def _respond(request: Request, plan: Plan, result: Result) -> Answer:
    reading = request.action in ("read", "call", "call_read")
    answer = _read_answer(request, plan, result) if reading else _write_answer(request, plan, result)
    return _set_by_sql(answer, result)
