"""API Gateway on a laptop: HTTP in, each function's real `handler(event, context)` called, its answer out.

    python -m local.gateway --port 0

A request goes to the function named by its first path segment, in a worker thread with an event loop of its
own (what Mangum expects to find). `GET /health` asks every function. What API Gateway answers itself is
answered here: unknown paths, preflights, bodies over its limit, handlers that raise or take too long.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn

from local import child
from local.http_events import Request, Response, from_result, to_event
from local.lambda_runtime import FunctionError, LambdaFunction, http_functions

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WORKERS = 48
"""Invocations at once. Most of their time is waiting for Stripe and Postgres."""

_BODY_LIMIT_BYTES = 10 * 1024 * 1024  # "Payload size 10 MB", http-api-quotas
_KEEP_ALIVE_SECONDS = 75  # longer than clients keep a connection, so that none is closed under a request
_ANY_ORIGIN = [
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "x-request-id"),
]
_PREFLIGHT = [
    *_ANY_ORIGIN,
    ("access-control-allow-methods", "GET,POST,PATCH,DELETE"),
    ("access-control-allow-headers", "authorization,content-type,idempotency-key,x-request-id"),
    ("access-control-max-age", "3600"),
]

_logger = logging.getLogger(__name__)


class Gateway:
    """An ASGI app in front of Lambda functions."""

    def __init__(self, functions: dict[str, LambdaFunction]) -> None:
        self._functions = functions
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._workers = ThreadPoolExecutor(WORKERS, "lambda", initializer=self._give_thread_a_loop)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; lifespan and websockets are not for us."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the gateway serves HTTP, not {scope['type']}")
        body = await _read_body(receive)
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        request = Request(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=body or b"",
            source_ip=scope["client"][0] if scope["client"] else "127.0.0.1",
            scheme=scope["scheme"],
            protocol=f"HTTP/{scope['http_version']}",
        )
        response = await self._answer(request) if body is not None else _message(413, "Request Entity Too Large")
        if request.header("origin") and not _is_preflight(request):
            # API Gateway ignores what the integration itself says of CORS (developer guide, http-api-cors).
            kept = [pair for pair in response.headers if not pair[0].startswith("access-control-")]
            response = Response(response.status, [*kept, *_ANY_ORIGIN], response.body)
        await _send(send, response, head=request.method == "HEAD")

    def close(self) -> None:
        """Wait for what is under way, and let go of the workers."""
        self._workers.shutdown()
        for loop in self._loops:
            loop.close()

    def _give_thread_a_loop(self) -> None:
        loop = asyncio.new_event_loop()
        self._loops.append(loop)
        asyncio.set_event_loop(loop)

    async def _answer(self, request: Request) -> Response:
        if _is_preflight(request):
            return Response(204, _PREFLIGHT, b"")
        if request.path == "/health":
            return await self._health(request)
        segment = request.path.split("/", 2)[1] if request.path.startswith("/") else ""
        function = self._functions.get(segment)
        return _not_found() if function is None else await self._invoke(function, to_event(request, segment))

    async def _invoke(self, function: LambdaFunction, event: dict[str, Any]) -> Response:
        work = asyncio.get_running_loop().run_in_executor(self._workers, function.invoke, event)
        try:
            # Lambda would end the function; a thread can't be ended, so it goes on, unheard.
            response = from_result(await asyncio.wait_for(asyncio.shield(work), function.timeout_seconds))
        except (FunctionError, ValueError):
            response = _message(500, "Internal Server Error")
        except TimeoutError:
            _logger.error("%s: timed out after %s s", function.name, function.timeout_seconds)  # noqa: TRY400 - where it hangs, this stack doesn't show
            response = _message(500, "Internal Server Error")
        request_id = ("apigw-requestid", event["requestContext"]["requestId"])
        return Response(response.status, [*response.headers, request_id], response.body)

    async def _health(self, request: Request) -> Response:
        """Every function's own health, as one: 200 if each answers 200, else 503."""

        async def ask(segment: str, function: LambdaFunction) -> int:
            asked = Request("GET", f"/{segment}/health", "", request.headers, b"", request.source_ip)
            return (await self._invoke(function, to_event(asked, segment))).status

        statuses = await asyncio.gather(*(ask(*entry) for entry in self._functions.items()))
        well = bool(statuses) and all(status == 200 for status in statuses)
        report = {"status": "ok" if well else "failing", "functions": dict(zip(self._functions, statuses, strict=True))}
        return _json(200 if well else 503, report)


def _is_preflight(request: Request) -> bool:
    asks = request.header("origin") and request.header("access-control-request-method")
    return request.method == "OPTIONS" and bool(asks)


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when it is over the limit (it is read to its end all the same: clients send first)."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= _BODY_LIMIT_BYTES:
            chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks) if size <= _BODY_LIMIT_BYTES else None


async def _send(send: Send, response: Response, *, head: bool) -> None:
    # Some headers are the connection's, not the function's to set.
    headers = [
        pair for pair in response.headers if pair[0] not in ("content-length", "transfer-encoding", "connection")
    ]
    if response.status not in (204, 304):
        headers.append(("content-length", str(len(response.body))))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head else response.body})


def _json(status: int, content: object, media_type: str = "application/json") -> Response:
    return Response(status, [("content-type", media_type)], json.dumps(content).encode())


def _message(status: int, message: str) -> Response:
    """An answer of API Gateway's own."""
    return _json(status, {"message": message})


def _not_found() -> Response:
    problem = {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "No function serves this path.",
        "code": "not_found",
    }
    return _json(404, problem, "application/problem+json")


def listen(port: int = 0) -> socket.socket:
    """A socket that accepts connections on 127.0.0.1, if only into its queue until a server takes them."""
    # asyncio switches Nagle's algorithm off, worth 40 ms an answer, only where the protocol is spelt out.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    bound.listen(2048)
    return bound


def main() -> int:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m local.gateway", description="API Gateway for the functions.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--fd", type=int, help="a listening socket inherited from the parent, instead of a port")
    parser.add_argument("--package", default="functions", help="the package whose sub-packages are the functions")
    parser.add_argument("--settings-from-stdin", action="store_true", help="take more environment as a line of JSON")
    parser.add_argument("--parent-watch", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    bound = listen(options.port) if options.fd is None else socket.socket(fileno=options.fd)
    functions = http_functions(options.package)
    if options.settings_from_stdin:  # loading the functions took longest, and needs no settings
        child.environment_from_parent()
    if options.parent_watch:
        child.end_with_parent()
    server = uvicorn.Server(
        uvicorn.Config(
            Gateway(functions),
            access_log=False,
            lifespan="off",
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=3,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            ws="none",
        )
    )
    child.announce(url=f"http://127.0.0.1:{bound.getsockname()[1]}", functions=sorted(functions))
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has stopped
        server.run(sockets=[bound])
    return 0


if __name__ == "__main__":
    sys.exit(main())
