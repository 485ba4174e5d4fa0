"""HTTP for the functions: what every endpoint shares, so that a handler holds its own story only.

`Api` collects operations, each with its typed body, query and answers; from them come the ASGI app, the Lambda handler
(through Mangum) and the OpenAPI description. An operation is a plain function from `Call` to `Answer`.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar
from uuid import uuid4

from mangum import Mangum
from mangum.types import LambdaContext, LambdaEvent
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from functions.shared import logs, metrics
from functions.shared.clock import Deadline
from functions.shared.problems import Problem
from functions.shared.settings import SettingsError

BODY_LIMIT_BYTES = 256 * 1024
"""Four times the largest body that an honest caller sends (a batch of offers); API Gateway itself stops at 10 MB."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._=-]{8,128}")
_BodyModel = TypeVar("_BodyModel")
_QueryModel = TypeVar("_QueryModel")


class Body(BaseModel):
    """A JSON body: unknown fields are refused, and values are not bent into shape ("1" is no number)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Query(BaseModel):
    """Query parameters: unknown ones are refused; all are strings on the wire, so numbers are read from strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoQuery(Query):
    """The query of an operation that takes none."""


@dataclass(frozen=True)
class Call(Generic[_BodyModel, _QueryModel]):
    """One request as an operation sees it."""

    read_body: Callable[[], _BodyModel]
    query: _QueryModel
    raw_body: bytes
    headers: dict[str, str]
    path: dict[str, str]
    request_id: str
    deadline: Deadline

    @cached_property
    def body(self) -> _BodyModel:
        """The checked body. Raises Problem; read it after `auth` has let the caller in, who learns nothing before."""
        return self.read_body()

    @property
    def idempotency_key(self) -> str | None:
        """The caller's Idempotency-Key, None without one. Raises Problem for one that is no key."""
        key = self.headers.get("idempotency-key")
        if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
            raise Problem("invalid_request", "Idempotency-Key must be 1 to 255 visible ASCII characters.")
        return key


@dataclass(frozen=True)
class Answer:
    """Status and JSON body of an answer."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One method of one path, with all that the OpenAPI description says of it."""

    method: str
    path: str
    run: Callable[[Call[Any, Any]], Answer]
    body: type[Body] | None
    query: type[Query]
    answers: dict[int, Any]
    who: str


_Run = Callable[[Call[Any, Any]], Answer]


class Api:
    """The operations of one function."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.operations: list[Operation] = []
        self._ready: list[Callable[[], object]] = []

    def operation(
        self,
        method: str,
        path: str,
        *,
        who: str,
        answers: dict[int, Any],
        body: type[Body] | None = None,
        query: type[Query] = NoQuery,
    ) -> Callable[[_Run], _Run]:
        """Register a function from Call to Answer. `who` is user, machine, either, stripe or anyone."""

        def register(run: _Run) -> _Run:
            self.operations.append(Operation(method, path, run, body, query, answers, who))
            return run

        return register

    def needs(self, check: Callable[[], object]) -> None:
        """Something that must work for the function to be healthy, such as its settings being readable."""
        self._ready.append(check)

    def app(self) -> Starlette:
        """The ASGI app."""
        routes = [
            Route("/health", self._health, methods=["GET"]),
            Route(f"/{self.name}/health", self._health, methods=["GET"]),
        ]
        routes += [
            Route(operation.path, _endpoint(operation), methods=[operation.method]) for operation in self.operations
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _http_exception})
        app.router.redirect_slashes = False  # it would send callers to the host that they named themselves
        return app

    def handler(self) -> Mangum:
        """The Lambda handler for API Gateway HTTP API events. Lifespan is off: Mangum would run it on every call."""
        logs.set_up()
        return _Handler(self)

    async def _health(self, request: Request) -> Response:
        try:
            for check in self._ready:
                check()
        except SettingsError:
            logs.logger.exception("settings are not fit to run with")
            return _json(503, {"status": "unhealthy", "function": self.name}, _request_id(request))
        return _json(200, {"status": "ok", "function": self.name}, _request_id(request))


class _Handler(Mangum):
    """Mangum, which raises for an event whose body is not the base64 that it is said to be; and the one exit."""

    def __init__(self, api: Api) -> None:
        super().__init__(api.app(), lifespan="off", text_mime_types=["application/json", "application/problem+json"])
        self._function = api.name

    def __call__(self, event: LambdaEvent, context: LambdaContext) -> dict[str, Any]:
        """The answer to an event. Lambda counts no error of ours, as each is answered with a 5xx: we do."""
        with metrics.invocation(self._function):
            answer = self._answer(event, context)
            metrics.add("ServerErrors", int(answer["statusCode"] >= 500))
            return answer

    def _answer(self, event: LambdaEvent, context: LambdaContext) -> dict[str, Any]:
        try:
            return super().__call__(event, context)
        except ValueError:  # nothing else raises: an endpoint answers whatever happens
            logs.log(logging.WARNING, "an event holds a body that cannot be read")
            answer = _problem(Problem("malformed_json"), uuid4().hex)
            return {
                "statusCode": answer.status_code,
                "headers": dict(answer.headers),
                "body": bytes(answer.body).decode(),
                "isBase64Encoded": False,
            }


def _endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        # Blocking work in the event loop is right here: a Lambda environment serves one request at a time, and a
        # thread for each would cost half a millisecond.
        request_id = _request_id(request)
        with logs.bound(request_id=request_id, operation=f"{operation.method} {operation.path}"):
            try:
                raw_body = await request.body()
                answer = operation.run(_call(operation, request, raw_body, request_id))
                response = _json(answer.status, answer.body, request_id, answer.headers)
            except Problem as problem:
                logs.log(
                    logging.ERROR if problem.kind.status >= 500 else logging.INFO,
                    "answered with a problem",
                    status=problem.kind.status,
                    code=problem.code,
                )
                return _problem(problem, request_id)
            except Exception:  # noqa: BLE001 - the last resort: the caller gets a problem, the log gets where it was
                logs.logger.exception("unexpected error")
                return _problem(Problem("internal_error"), request_id)
            logs.log(logging.INFO, "answered", status=answer.status)
            return response

    return endpoint


def _call(operation: Operation, request: Request, raw_body: bytes, request_id: str) -> Call[Any, Any]:
    headers = {name: value for name, value in request.headers.items()}  # noqa: C416 - the last of a doubled header
    return Call(
        read_body=lambda: _parse_body(operation.body, raw_body, headers) if operation.body else None,
        query=_validate(operation.query.model_validate, _query(request), "query"),
        raw_body=raw_body,
        headers=headers,
        path=dict(request.path_params),
        request_id=request_id,
        deadline=Deadline.of_lambda(request.scope.get("aws.context")),
    )


def _query(request: Request) -> dict[str, str]:
    items = request.query_params.multi_items()
    if len({name for name, _ in items}) != len(items):
        raise Problem("invalid_request", "A query parameter was given twice.")
    return dict(items)


def _parse_body(model: type[Body], raw_body: bytes, headers: dict[str, str]) -> Body:
    if len(raw_body) > BODY_LIMIT_BYTES:
        raise Problem("body_too_large", f"At most {BODY_LIMIT_BYTES} bytes are taken.")
    if not raw_body:
        try:
            return model()  # for those whose every field may be left out
        except ValidationError:
            raise Problem("missing_body") from None
    if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Problem("unsupported_media_type")
    try:
        return model.model_validate_json(raw_body)
    except ValidationError as error:
        raise _invalid(error, "body") from None


def _validate(validate: Callable[[dict[str, str]], Any], values: dict[str, str], where: str) -> Any:
    try:
        return validate(values)
    except ValidationError as error:
        raise _invalid(error, where) from None


def _invalid(error: ValidationError, where: str) -> Problem:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if any(fault["type"] == "json_invalid" for fault in faults):
        return Problem("malformed_json")
    return Problem(
        "invalid_request",
        f"{len(faults)} thing(s) in the {where} are not as they should be.",
        errors=[
            {
                "where": [where, *(_shown(part) for part in fault["loc"])],
                "what": fault["type"],
                "message": fault["msg"],
            }
            for fault in faults[:20]
        ],
    )


def _shown(part: int | str) -> str:
    """A place in a request; a name that no field of ours could have may be anything, a card's number too."""
    return str(part) if isinstance(part, int) or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", part) else "…"


def _request_id(request: Request) -> str:
    event = request.scope.get("aws.event") or {}
    given = event.get("requestContext", {}).get("requestId")
    return given if isinstance(given, str) and _REQUEST_ID.fullmatch(given) else uuid4().hex


def _json(status: int, body: Any, request_id: str, headers: dict[str, str] | None = None) -> Response:
    return Response(
        b"" if status == 204 else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(),
        status,
        {"X-Request-Id": request_id, "Cache-Control": "no-store"} | (headers or {}),
        "application/json",
    )


def _problem(problem: Problem, request_id: str) -> Response:
    response = _json(problem.kind.status, problem.document(), request_id, problem.headers)
    response.headers["content-type"] = "application/problem+json"
    return response


async def _http_exception(request: Request, exception: Exception) -> Response:
    status = exception.status_code if isinstance(exception, HTTPException) else 500
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "internal_error")
    headers = {"Allow": ", ".join(_methods_of(request))} if status == 405 else {}
    return _problem(Problem(code, headers=headers), _request_id(request))


def _methods_of(request: Request) -> list[str]:
    """All methods of a path, as RFC 9110 section 10.2.1 wants them; Starlette names those of one route only."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    fitting = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in fitting for method in route.methods or ()})
