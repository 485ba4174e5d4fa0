"""Runs a request as PostgREST does: plan, one transaction, answer.

Source: https://docs.postgrest.org/en/stable/references/transactions.html and PostgREST 13 `src/PostgREST/Query.hs`.
"""

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.cookies import SimpleCookie
from time import monotonic
from typing import Literal, TypeVar

import psycopg

from local.supabase.answers import Answer, Result, respond
from local.supabase.catalog import Catalog, Function, RoleSettings
from local.supabase.database import Catalogs, Pool
from local.supabase.errors import ApiError, from_database, not_singular
from local.supabase.gateway import ANON_ROLE, Caller
from local.supabase.pipeline import PipelinedConnection, Statement
from local.supabase.planner import Plan, plan_request
from local.supabase.preferences import Preferences, parse_preferences
from local.supabase.query import no_nul
from local.supabase.query import quote as quote_name
from local.supabase.request import SHAPING_HEADERS, Request, parse_request, with_body
from local.supabase.settings import Settings

_T = TypeVar("_T")
Moment = Literal["before_commit", "after_commit"]
Hook = Callable[[Moment], None]
Locals = list[tuple[str, str]]
"""Settings of one transaction, in the order in which they are made."""

_SERIALIZATION_FAILURE = "40001"
_RETRY_SECONDS = 60.0  # PostgREST retries for ever; a hosted project's gateway gives up after a minute
_ORDINARY_ISOLATION = "read committed"
_ISOLATION_LEVELS = ("repeatable read", "serializable")
_FORMS_AT_MOST = 1000
# What a stale catalogue can be the reason of.
_MISSES = ("PGRST200", "PGRST202", "PGRST204", "PGRST205")


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


@dataclass(frozen=True, slots=True)
class _Understood:
    """What requests of a form come to with one catalogue: clients send few forms, each many times."""

    catalog: Catalog
    requests: dict[Hashable, Request] = field(default_factory=dict)
    plans: dict[Hashable, Plan] = field(default_factory=dict)


def _remember(known: dict[Hashable, _T], key: Hashable, value: _T) -> None:
    if len(known) >= _FORMS_AT_MOST:
        known.clear()
    known[key] = value


class Engine:
    """Answers requests to `/rest/v1`; safe to use from many threads at once."""

    def __init__(self, settings: Settings, pool: Pool, catalogs: Catalogs) -> None:
        self._settings = settings
        self._pool = pool
        self._catalogs = catalogs
        self._understood: _Understood | None = None

    def answer(self, incoming: Incoming, caller: Caller, hook: Hook | None = None) -> Answer:
        """Answer a request; `hook`, if there is one, is called inside the transaction and after its commit.

        Raises `ApiError` for everything that PostgREST answers with an error, and what `hook` raises.
        """
        anonymous = caller.role == ANON_ROLE
        asked_at = monotonic()
        try:
            catalog = self._catalogs.current()
            try:
                request, plan = self._understand(incoming, catalog)
            except ApiError as error:
                if error.code not in _MISSES:
                    raise
                catalog = self._catalogs.read_since(asked_at)
                request, plan = self._understand(incoming, catalog)
        except psycopg.Error as error:
            raise from_database(error, anonymous=anonymous) from error
        role = catalog.roles.get(caller.role)
        locals_ = self._locals(incoming, caller, request, plan, role)
        isolation = _isolation(plan.function, role)
        body = request.body.text if request.body is not None else ""
        deadline = monotonic() + _RETRY_SECONDS
        while True:
            try:
                result = self._transaction(plan, body, locals_, isolation, request.preferences, hook)
                break
            except psycopg.Error as error:
                if error.sqlstate == _SERIALIZATION_FAILURE and monotonic() < deadline:
                    continue
                if error.sqlstate is None or error.sqlstate.startswith("57P0"):
                    self._pool.discard_idle()
                raise from_database(error, anonymous=anonymous) from error
        return respond(request, plan, result)

    def _understand(self, incoming: Incoming, catalog: Catalog) -> tuple[Request, Plan]:
        understood = self._understood
        if understood is None or understood.catalog is not catalog:
            understood = self._understood = _Understood(catalog)
        form = (
            incoming.method,
            incoming.path,
            incoming.query_string,
            incoming.prefer,
            *map(incoming.headers.get, SHAPING_HEADERS),
        )
        request = understood.requests.get(form)
        if request is None:
            request = parse_request(
                method=incoming.method,
                path=incoming.path,
                query_string=incoming.query_string,
                headers=incoming.headers,
                schemas=self._settings.schemas,
                preferences=parse_preferences(incoming.prefer, catalog.timezones),
            )
            _remember(understood.requests, form, request)
        request = with_body(request, incoming.body)
        whole = (form, (request.body.keys, request.body.is_object) if request.body is not None else None)
        plan = understood.plans.get(whole)
        if plan is None:
            plan = plan_request(catalog, request, max_rows=self._settings.max_rows)
            _remember(understood.plans, whole, plan)
        return request, plan

    def _locals(
        self, incoming: Incoming, caller: Caller, request: Request, plan: Plan, role: RoleSettings | None
    ) -> Locals:
        """What is set until the transaction ends: everything that the SQL may ask about the request."""
        cookie = incoming.headers.get("cookie", "")
        schemas = ", ".join(quote_name(s) for s in (request.schema, *self._settings.extra_search_path))
        headers = {name: value for name, value in incoming.headers.items() if name != "cookie"}
        cookies = {name: morsel.value for name, morsel in SimpleCookie(cookie).items()} if cookie else {}
        values = [
            ("search_path", schemas),
            *(role.settings if role is not None else ()),
            ("role", caller.role),
            ("request.jwt.claims", caller.claims_text),
            ("request.method", incoming.method),
            ("request.path", incoming.raw_path),
            ("request.headers", json.dumps(headers, ensure_ascii=False)),
            ("request.cookies", json.dumps(cookies, ensure_ascii=False)),
        ]
        if request.preferences.timezone is not None:
            values.append(("timezone", request.preferences.timezone))
        if plan.function is not None:
            values.extend(plan.function.settings)
        return values

    def _transaction(
        self, plan: Plan, body: str, locals_: Locals, isolation: str, preferences: Preferences, hook: Hook | None
    ) -> Result:
        if hook is None and _may_commit_unseen(plan, isolation, preferences):
            # What is sent in one message without a `begin` is one transaction, which the message's end commits.
            with self._pool.connection() as connection:
                row = connection.together([_telling(locals_), (plan.query.text, plan.query.params(body))])
                return Result(*row)
        access = "read only" if plan.read_only else "read write"
        beginning = f"begin isolation level {isolation} {access}".encode()
        with self._pool.connection() as connection:
            try:
                row = connection.together(
                    [(beginning, ()), _telling(locals_), (plan.query.text, plan.query.params(body))]
                )
                result = Result(*row)
                _check(result, plan, preferences)
                if plan.count_estimate is not None:
                    result = _with_estimate(connection, plan, result, self._settings.max_rows)
                if hook is not None:
                    hook("before_commit")
                if preferences.transaction == "rollback":
                    connection.command(b"set constraints all immediate")
                    connection.command(b"rollback")
                else:
                    connection.command(b"commit")
            except BaseException:
                _abandon(connection)
                raise
        if hook is not None:
            hook("after_commit")
        return result


def _may_commit_unseen(plan: Plan, isolation: str, preferences: Preferences) -> bool:
    """Whether a transaction is an ordinary one, and nothing in its result keeps it from being committed."""
    return (
        isolation == _ORDINARY_ISOLATION
        and not plan.read_only
        and plan.count_estimate is None
        and preferences.transaction != "rollback"
        and not _may_be_refused(plan, preferences)
    )


@cache
def _telling_so_many(count: int) -> bytes:
    settings = (f"set_config(${2 * number + 1}, ${2 * number + 2}, true)" for number in range(count))
    return f"select {', '.join(settings)}".encode()


def _telling(locals_: Locals) -> Statement:
    if any("\0" in value for _, value in locals_):
        raise no_nul()
    return _telling_so_many(len(locals_)), [each.encode() for setting in locals_ for each in setting]


def _abandon(connection: PipelinedConnection) -> None:
    if connection.closed or connection.broken:
        return
    try:
        connection.command(b"rollback")
    except psycopg.Error:
        connection.close()


def _isolation(function: Function | None, role: RoleSettings | None) -> str:
    wanted = (function.isolation if function is not None else None) or (role.isolation if role else None)
    return wanted if wanted in _ISOLATION_LEVELS else _ORDINARY_ISOLATION


def _wants_one_row(plan: Plan) -> bool:
    return plan.media.shape == "object"


def _most_affected(plan: Plan, preferences: Preferences) -> int | None:
    """How many rows a statement may affect; None: any number."""
    return preferences.max_affected if plan.limits_affected and preferences.strict else None


def _may_be_refused(plan: Plan, preferences: Preferences) -> bool:
    """Whether there is anything that `_check` may raise."""
    return _wants_one_row(plan) or _most_affected(plan, preferences) is not None


def _check(result: Result, plan: Plan, preferences: Preferences) -> None:
    """Raise what makes PostgREST roll back although SQL had no complaint."""
    if _wants_one_row(plan) and result.rows != 1:
        raise not_singular(result.rows)
    limit = _most_affected(plan, preferences)
    if limit is not None and result.rows > limit:
        raise ApiError(
            400,
            "PGRST124",
            "Query result exceeds max-affected preference constraint",
            details=f"The query affects {result.rows} rows",
        )


def _with_estimate(connection: PipelinedConnection, plan: Plan, result: Result, max_rows: int) -> Result:
    if plan.count_estimate is None:
        return result
    kind, query = plan.count_estimate
    if kind == "estimated" and (result.total or 0) <= max_rows:
        return result
    row = connection.together([(b"explain (format json) " + query.text, query.params(""))])
    planned = int(row[0][0]["Plan"]["Plan Rows"])
    return result._replace(total=planned if kind == "planned" else max(result.total or 0, planned))
