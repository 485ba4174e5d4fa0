"""PostgREST's errors: which status, code, message, details and hint belong to what went wrong.

Source: PostgREST 13 `src/PostgREST/Error.hs` and https://docs.postgrest.org/en/stable/references/errors.html.
"""

import json
from collections.abc import Mapping, Sequence

import psycopg

JSON_CONTENT_TYPE = "application/json; charset=utf-8"


class ApiError(Exception):
    """An answer that is an error: its HTTP status, PostgREST's body and extra headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: object = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.hint = hint
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the JSON body that PostgREST sends for it."""
        return json.dumps(
            {"code": self.code, "details": self.details, "hint": self.hint, "message": self.message}
        ).encode()

    def response_headers(self) -> dict[str, str]:
        """Return the headers that go with the body."""
        return {
            "content-type": JSON_CONTENT_TYPE,
            "proxy-status": f"PostgREST; error={self.code}",
            **self.headers,
        }


class DatabaseGoneError(ApiError):
    """No connection to the database could be made: 503 PGRST000."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, "PGRST000", "Database connection error. Retrying the connection.", details=reason)


class PoolTimeoutError(ApiError):
    """Every connection of the pool stayed busy: 504 PGRST003."""

    def __init__(self) -> None:
        super().__init__(504, "PGRST003", "Timed out acquiring connection from connection pool.")


def not_supported(what: str) -> ApiError:
    """Return the refusal of something that PostgREST can do and this stand-in can't: 501 STANDIN501."""
    return ApiError(
        501,
        "STANDIN501",
        f"The local Supabase stand-in does not support {what}",
        hint="Ask a real Supabase project, or teach local/supabase.",
    )


def parse_error(message: str, details: str) -> ApiError:
    """Return the error of a query string that PostgREST can't parse."""
    return ApiError(400, "PGRST100", message, details=details)


def invalid_body(message: str) -> ApiError:
    """Return the error of a body that PostgREST can't use."""
    return ApiError(400, "PGRST102", message)


def invalid_range(details: str) -> ApiError:
    """Return the error of a range that can't be satisfied."""
    return ApiError(416, "PGRST103", "Requested range not satisfiable", details=details)


def unacceptable_media_type(accepted: Sequence[str]) -> ApiError:
    """Return the error of an Accept header without a usable media type."""
    return ApiError(406, "PGRST107", "None of these media types are available: " + ", ".join(accepted))


def not_embedded(resource: str) -> ApiError:
    """Return the error of a filter or order on a resource that `select` does not embed."""
    return ApiError(
        400,
        "PGRST108",
        f"'{resource}' is not an embedded resource in this request",
        hint=f"Verify that '{resource}' is included in the 'select' query parameter.",
    )


def not_singular(row_count: int) -> ApiError:
    """Return the error of a single object asked for where there is not exactly one row."""
    return ApiError(
        406,
        "PGRST116",
        "Cannot coerce the result to a single JSON object",
        details=f"The result contains {row_count} rows",
    )


def invalid_token(code: str, message: str) -> ApiError:
    """Return the refusal of a bearer token (PGRST301 for its form and signature, PGRST303 for its claims)."""
    description = json.dumps(message)
    return ApiError(
        401,
        code,
        message,
        headers={"www-authenticate": f'Bearer error="invalid_token", error_description={description}'},
    )


# Longest prefix first: the first that fits decides. Anything else is 400.
_STATUS_BY_SQLSTATE: tuple[tuple[str, int], ...] = (
    ("23503", 409),
    ("23505", 409),
    ("25006", 405),
    ("42883", 404),
    ("42P01", 404),
    ("42P17", 500),
    ("53400", 500),
    ("57P01", 503),
    ("P0001", 400),
    ("08", 503),
    ("09", 500),
    ("0L", 403),
    ("0P", 403),
    ("21", 500),
    ("25", 500),
    ("28", 403),
    ("2D", 500),
    ("38", 500),
    ("39", 500),
    ("3B", 500),
    ("40", 500),
    ("53", 503),
    ("54", 500),
    ("55", 500),
    ("57", 500),
    ("58", 500),
    ("F0", 500),
    ("HV", 500),
    ("P0", 500),
    ("XX", 500),
)


def _status_of(sqlstate: str, message: str, *, anonymous: bool) -> int:
    if sqlstate == "42501":
        return 401 if anonymous else 403
    if sqlstate == "22023" and message.startswith("role") and message.endswith("does not exist"):
        return 401  # the token's role is missing in the database
    if sqlstate == "21000" and message.endswith("requires a WHERE clause"):
        return 400  # pg-safeupdate
    if sqlstate == "42883" and message.startswith("function xmlagg("):
        return 406
    if sqlstate.startswith("PT"):
        return int(sqlstate[2:]) if sqlstate[2:].isdigit() else 500
    return next((status for prefix, status in _STATUS_BY_SQLSTATE if sqlstate.startswith(prefix)), 400)


_RAISE_MESSAGE_HINT = (
    "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', 'hint'."
)
_RAISE_DETAIL_HINT = (
    "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: 'status_text'."
)


def _raise_parse_error(details: str, hint: str) -> ApiError:
    return ApiError(
        500,
        "PGRST121",
        "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error",
        details=details,
        hint=hint,
    )


def _json_object(text: str) -> dict[str, object] | None:
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _optional_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _from_raised_pgrst(message: str, detail: str | None) -> ApiError:
    """Read `raise sqlstate 'PGRST'`, whose message and detail are JSON and decide the whole answer."""
    told = _json_object(message)
    if (
        told is None
        or not isinstance(told.get("code"), str)
        or not isinstance(told.get("message"), str)
        or not _optional_text(told.get("details"))
        or not _optional_text(told.get("hint"))
    ):
        return _raise_parse_error(f"Invalid JSON value for MESSAGE: '{message}'", _RAISE_MESSAGE_HINT)
    if detail is None:
        return _raise_parse_error("DETAIL is missing in the RAISE statement", _RAISE_DETAIL_HINT)
    how = _json_object(detail)
    headers = how.get("headers") if how is not None else None
    status = how.get("status") if how is not None else None
    if (
        not isinstance(status, int)
        or not isinstance(headers, dict)
        or not all(isinstance(value, str) for value in headers.values())
    ):
        return _raise_parse_error(f"Invalid JSON value for DETAIL: '{detail}'", _RAISE_DETAIL_HINT)
    hint = told.get("hint")
    return ApiError(
        status,
        str(told["code"]),
        str(told["message"]),
        details=told.get("details"),
        hint=hint if isinstance(hint, str) else None,
        headers={str(name).lower(): value for name, value in headers.items()},
    )


def from_database(error: psycopg.Error, *, anonymous: bool) -> ApiError:
    """Translate what Postgres (or the connection to it) said; `anonymous`: the caller has the anon role."""
    sqlstate, diag = error.sqlstate, error.diag
    if sqlstate is None:
        if isinstance(error, psycopg.DataError):
            return not_supported(f"this value: {error}")
        return unavailable(str(error))
    message = diag.message_primary or ""
    if sqlstate == "PGRST":
        return _from_raised_pgrst(message, diag.message_detail)
    status = _status_of(sqlstate, message, anonymous=anonymous)
    return ApiError(
        status,
        sqlstate,
        message,
        details=diag.message_detail,
        hint=diag.message_hint,
        headers={"www-authenticate": "Bearer"} if status == 401 else None,
    )


def injected(sqlstate: str, *, anonymous: bool = False) -> ApiError:
    """Return the error that a statement failing with this SQLSTATE would have been answered with."""
    message = "injected fault"
    return ApiError(_status_of(sqlstate, message, anonymous=anonymous), sqlstate, message)


def unavailable(reason: str) -> ApiError:
    """Return the 503 of a database connection that broke while it was used."""
    return ApiError(503, "PGRST001", "Database client error. Retrying the connection.", details=reason)
