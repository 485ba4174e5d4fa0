"""The database through Supabase's REST API, by the `postgrest` client of the `supabase` package.

Only that part of the package is imported: it is half of its import time and all that a function uses. Two kinds of
client share one pool of connections and nothing else, so that no identity can leak from one invocation to the next:
`as_function()` holds the Lambda's own token, `as_user(token)` is made anew for each request with the user's token,
which makes row-level security the second lock.
"""

import logging
import re
from functools import cache
from typing import Any, cast

import httpx
from postgrest import SyncPostgrestClient
from postgrest.exceptions import APIError

from functions.shared import metrics
from functions.shared.logs import log
from functions.shared.problems import CATALOGUE, Problem
from functions.shared.settings import SupabaseSettings, UserSettings, function_settings, read
from functions.shared.surroundings import surroundings

TIMEOUT_SECONDS = 5.0
"""A call takes milliseconds; after five seconds the caller is better served by a 503 and a repeat."""

_UNAVAILABLE_CLASSES = ("08", "40", "53", "55", "57", "58", "XX")
"""SQLSTATE classes that say nothing of the request: lost connections, deadlocks, limits, locks, shutdowns."""
_UNAVAILABLE_CODES = ("PGRST000", "PGRST001", "PGRST002", "PGRST003")
"""PostgREST cannot reach its database. A bare HTTP status of 500 or more is a gateway's error page, not JSON."""
_OUT_OF_RANGE = ("invalid_request", "A value is out of its range.")
_PROBLEMS = {
    "PGRST301": ("invalid_token", ""),
    "PGRST302": ("invalid_token", ""),
    "PGRST303": ("invalid_token", ""),
    "42501": ("forbidden", ""),
    "23514": _OUT_OF_RANGE,
    "23502": _OUT_OF_RANGE,
    "22003": _OUT_OF_RANGE,
    "22007": _OUT_OF_RANGE,
    "22008": _OUT_OF_RANGE,
    "22009": _OUT_OF_RANGE,
    "22P02": _OUT_OF_RANGE,
    "22P05": _OUT_OF_RANGE,
}
_CONSTRAINTS = {
    "campaigns_within_budget": "budget_below_committed",
    "campaigns_within_max_bookings": "budget_below_committed",
    "campaigns_price_within_budget": "invalid_request",
    "campaigns_currency_fkey": "unknown_currency",
    "campaigns_payment_method_id_user_id_fkey": "unknown_payment_method",
    "campaigns_user_id_idempotency_key_key": "idempotency_key_reused",
}
"""What a broken constraint means to the caller who broke it."""


class DatabaseUnavailable(Problem):
    """The database did not answer, or not in time. Whether it did the work is unknown."""

    def __init__(self) -> None:
        super().__init__("database_unavailable", headers={"Retry-After": "5"})
        metrics.add("DatabaseUnavailable")


class Database:
    """One caller's way to the database."""

    def __init__(self, client: SyncPostgrestClient) -> None:
        self._client = client

    def call(self, function: str, /, **arguments: Any) -> Any:
        """Run a SQL function and give what it returns. Raises Problem, DatabaseUnavailable."""
        return _execute(self._client.rpc(function, arguments))

    def table(self, name: str) -> Any:
        """A query builder of supabase-py for a table or view; give it to `rows`."""
        return self._client.from_(name)

    def rows(self, query: Any) -> list[dict[str, Any]]:
        """Run a query and give its rows. Raises Problem, DatabaseUnavailable."""
        return cast("list[dict[str, Any]]", _execute(query))


@cache
def _http() -> httpx.Client:
    return surroundings().database_client() or httpx.Client(
        timeout=TIMEOUT_SECONDS,
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=60),
    )


def _client(url: str, api_key: str, bearer: str, request_id: str) -> SyncPostgrestClient:
    return SyncPostgrestClient(
        f"{url}/rest/v1",
        headers={"apikey": api_key, "Authorization": f"Bearer {bearer}", "X-Request-Id": request_id},
        http_client=_http(),
        retry_enabled=False,  # it would sleep 1, 2, 4 seconds of our deadline
    )


def as_function(function: str, request_id: str) -> Database:
    """The database as one Lambda, whose role may execute what that Lambda calls and nothing else."""
    settings = function_settings(function)
    token = settings.supabase_function_token.get_secret_value()
    return Database(_client(settings.supabase_url, settings.supabase_publishable_key, token, request_id))


def as_operator(request_id: str) -> Database:
    """The database as its owner's secret key: for commands by hand, never for a Lambda."""
    settings = read(SupabaseSettings)
    key = settings.supabase_secret_key.get_secret_value()
    return Database(_client(settings.supabase_url, key, key, request_id))


def as_user(token: str, request_id: str) -> Database:
    """The database as the user of a verified access token."""
    settings = read(UserSettings)
    return Database(_client(settings.supabase_url, settings.supabase_publishable_key, token, request_id))


def _execute(query: Any) -> Any:
    try:
        return query.execute().data
    except APIError as error:
        raise _problem(error) from error
    except httpx.HTTPError:
        # Without the cause: the exception of httpx holds the request, and that the key.
        raise DatabaseUnavailable from None


def _problem(error: APIError) -> Problem:
    code = str(error.code or "")
    message = error.message or ""
    if code.startswith("PT") and message in CATALOGUE:
        return Problem(message, error.details or "")
    # The code alone: a message may quote a value of the request.
    log(logging.INFO, "the database refused", database_code=code)
    if code in _UNAVAILABLE_CODES or code.startswith(_UNAVAILABLE_CLASSES) or re.fullmatch(r"5\d\d", code):
        return DatabaseUnavailable()
    for constraint, problem_code in _CONSTRAINTS.items():
        if f'"{constraint}"' in message:
            return Problem(problem_code)
    if code in _PROBLEMS:
        problem_code, detail = _PROBLEMS[code]
        return Problem(problem_code, detail)
    raise error
