"""The stand-in as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Mount, Route

from local.stripe.control import control_routes
from local.stripe.courier import Courier
from local.stripe.gate import Gate, Request
from local.stripe.idempotency import Answer
from local.stripe.pages import page_routes
from local.stripe.world import StripeWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request as HttpRequest
    from starlette.types import Receive, Scope, Send

    from local.stripe.settings import Settings

_METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH"]


class ConnectionDroppedError(Exception):
    """A fault closed the connection where no real one exists, as under a test client."""


class StripeApp(Starlette):
    """Starlette that remembers the connection of a request, so that a fault can cut it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        # uvicorn's `send` is a method of its request cycle, which holds the transport.
        scope["autobook.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


def create_app(settings: Settings, world: StripeWorld | None = None) -> Starlette:
    """The application for some settings; ``app.state.world`` is its state.

    Setting ``app.state.stopping`` ends the waits of faults, so that a server can stop.
    A world may be given, to share it with a test or a driver that works on it directly.
    """
    state = world or StripeWorld(settings)
    gate = Gate(state)
    courier = Courier(state)

    async def api(request: HttpRequest) -> Response:
        return await _serve(gate, request)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        delivering = asyncio.create_task(courier.run())
        delivering.add_done_callback(_tell)
        try:
            yield
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    routes: list[Any] = [*page_routes(state)]
    if settings.control:
        routes.append(Mount("/_control", routes=control_routes(state, courier)))
    routes.append(Route("/{path:path}", api, methods=_METHODS))
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    app = StripeApp(routes=routes, lifespan=lifespan, middleware=[cors])
    app.state.world = state
    app.state.stopping = asyncio.Event()
    return app


def _tell(task: asyncio.Task[None]) -> None:
    """Deliveries that stop because of a mistake in here must not stop silently."""
    if not task.cancelled() and task.exception() is not None:
        logging.getLogger(__name__).error("webhook deliveries stopped", exc_info=task.exception())


async def _serve(gate: Gate, http: HttpRequest) -> Response:
    request = Request(
        method=http.method,
        path=http.url.path,
        query=http.url.query,
        body=await http.body(),
        headers=http.headers,
        base_url=str(http.base_url).rstrip("/"),
    )
    admitted = gate.open(request)
    if isinstance(admitted, Answer):
        return _response(admitted)
    plan = admitted.plan
    if plan.drop == "before":
        gate.abandon(admitted)
        await _wait(http, plan.wait_before_seconds)
        return await _drop(http)
    await _wait(http, plan.wait_before_seconds)
    answer = gate.run(admitted)
    if plan.drop == "after":
        await _wait(http, plan.wait_after_seconds)
        return await _drop(http)
    return _response(answer)


async def _wait(http: HttpRequest, seconds: float) -> None:
    """Let real time pass, but not longer than the server lives."""
    if seconds > 0:
        stopping: asyncio.Event = http.app.state.stopping
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)


def _response(answer: Answer) -> Response:
    return Response(answer.body, status_code=answer.status, headers=answer.headers)


async def _drop(http: HttpRequest) -> Response:
    """Close the connection without an answer."""
    transport = http.scope["autobook.transport"]
    if transport is None:
        raise ConnectionDroppedError(http.url.path)
    transport.abort()
    await http.receive()  # answers http.disconnect once the server has noticed; before, it would log a missing answer
    return Response(status_code=499)
