"""Answers with what came in."""

import asyncio
import threading
import time
from typing import Any

from mangum import Mangum
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_meeting = threading.Barrier(32)


async def _event(request: Request) -> Response:
    context: Any = request.scope["aws.context"]
    return JSONResponse(
        {
            "event": request.scope["aws.event"],
            "body": (await request.body()).hex(),
            "remaining_ms": context.get_remaining_time_in_millis(),
            "function": context.function_name,
            "arn": context.invoked_function_arn,
            "request_id": context.aws_request_id,
        }
    )


async def _bytes(_: Request) -> Response:
    return Response(bytes(range(256)), media_type="application/octet-stream")


async def _cookies(_: Request) -> Response:
    response = Response(status_code=201)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def _meet(_: Request) -> Response:
    """Comes back only once thirty-two requests are here at the same time."""
    await asyncio.to_thread(_meeting.wait, 20)
    return Response(status_code=204)


async def _slow(_: Request) -> Response:
    time.sleep(1)  # noqa: ASYNC251 - a handler that hangs is what is wanted
    return Response("late")


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


_ROUTES = {
    "/echo": _event,
    "/echo/bytes": _bytes,
    "/echo/cookies": _cookies,
    "/echo/health": _health,
    "/echo/meet": _meet,
    "/echo/slow": _slow,
    "/echo/{rest:path}": _event,
}
_METHODS = ["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"]

handler = Mangum(
    Starlette(routes=[Route(path, run, methods=_METHODS) for path, run in _ROUTES.items()]), lifespan="off"
)
