"""The stand-in as an ASGI application: `/rest/v1` (PostgREST), `/auth/v1` (Supabase Auth), `/_control`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TypeVar

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.supabase.auth import Auth
from local.supabase.auth_routes import auth_routes
from local.supabase.control import ConnectionDroppedError, Control, control_routes
from local.supabase.database import Catalogs, Pool, ReloadListener
from local.supabase.engine import Engine, Incoming
from local.supabase.errors import ApiError
from local.supabase.gateway import Gateway
from local.supabase.server import serving_in_thread
from local.supabase.settings import Settings
from local.supabase.tokens import TokenVerifier

T = TypeVar("T")

REST_PREFIX = "/rest/v1"
_AUTH_CONNECTIONS = 4
_THREADS = 64

_CORS_HEADERS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET,POST,PATCH,PUT,DELETE,OPTIONS,HEAD",
    "access-control-expose-headers": "Content-Range,Content-Location,Location,Preference-Applied",
    "access-control-max-age": "86400",
}


class Services:
    """What one stand-in is made of."""

    def __init__(self, settings: Settings) -> None:
        timeout = settings.pool_timeout_seconds
        url = settings.database_url
        verifier = TokenVerifier(
            jwt_secret=settings.jwt_secret, audience=settings.audience, signing_key=settings.signing_key
        )
        self.pool = Pool(url, size=settings.pool_size, timeout_seconds=timeout)
        self.auth_pool = Pool(url, size=_AUTH_CONNECTIONS, timeout_seconds=timeout, as_api_role=False)
        self.catalogs = Catalogs(self.pool, settings.schemas)
        self.listener = ReloadListener(url, self.catalogs)
        self.gateway = Gateway(verifier, publishable_key=settings.publishable_key, secret_key=settings.secret_key)
        self.engine = Engine(settings, self.pool, self.catalogs)
        self.auth = Auth(settings, self.auth_pool, verifier)
        self.control = Control() if settings.control else None
        self.executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="supabase")

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread: psycopg's waiting is quickest there."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)

    def close(self) -> None:
        """Stop threads and close connections."""
        self.listener.stop()
        pools = (self.pool, self.auth_pool)
        for pool in pools:
            pool.cancel_running()
        self.executor.shutdown(wait=True, cancel_futures=True)
        for pool in pools:
            pool.discard_idle()


async def drop_connection(scope: Scope, receive: Receive) -> None:
    """Break the caller's connection without an answer (see `local.supabase.server.DroppableProtocol`)."""
    scope["state"]["abort"]()
    while (await receive())["type"] != "http.disconnect":
        pass


class RestEndpoint:
    """`/rest/v1/…`: everything goes to the engine."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope=scope)
        body = await Request(scope, receive).body()
        try:
            response = await self._services.run(lambda: self._answer(scope, headers, body))
        except ConnectionDroppedError:
            await drop_connection(scope, receive)
            return
        await response(scope, receive, send)

    def _answer(self, scope: Scope, headers: Headers, body: bytes) -> Response:
        path: str = scope["path"]
        control = self._services.control
        flat = dict(reversed(headers.items()))  # of repeated headers the first counts
        try:
            incoming = Incoming(
                method=scope["method"],
                path=path.removeprefix(REST_PREFIX),
                raw_path=scope["raw_path"].decode("latin-1").partition("?")[0].removeprefix(REST_PREFIX),
                query_string=scope["query_string"].decode("latin-1"),
                headers=flat,
                prefer=tuple(headers.getlist("prefer")),
                body=body,
            )
            caller = self._services.gateway.identify(flat)
            if control is None:
                answer = self._services.engine.answer(incoming, caller)
            else:
                answer = self._services.engine.answer(incoming, caller, control.hook(path))
        except ApiError as error:
            return Response(error.body(), error.status, error.response_headers())
        return Response(answer.body, answer.status, answer.headers)


class CorsMiddleware:
    """Lets pages of any origin call, as a hosted project does: the keys protect, not the origin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer preflight requests, and add the origin's permission to all others that name one."""
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        if headers is None or "origin" not in headers:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            wanted = headers.get("access-control-request-headers", "*")
            preflight = {**_CORS_HEADERS, "access-control-allow-headers": wanted}
            await Response(status_code=200, headers=preflight)(scope, receive, send)
            return

        async def allowing(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in _CORS_HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}  # type: ignore[misc]  # its type leaves headers open
            await send(message)

        await self._app(scope, receive, allowing)  # type: ignore[arg-type]  # a dict is a mutable mapping


class ControlMiddleware:
    """Counts requests and lets faults strike before anything has happened."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless a fault is in the way."""
        control = self._services.control
        if control is None or scope["type"] != "http" or scope["path"].startswith("/_control/"):
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        control.count(scope["method"], path)
        try:
            await self._services.run(lambda: control.disturb(path, "before"))
        except ConnectionDroppedError:
            await drop_connection(scope, receive)
        except ApiError as error:
            await Response(error.body(), error.status, error.response_headers())(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the stand-in from a thread of this process, on a free port; yield its URL.

    `settings.url` need not be right: it is set to the URL.
    """
    with serving_in_thread(lambda url: create_app(replace(settings, url=url))) as url:
        yield url


def create_app(settings: Settings) -> Starlette:
    """Return the application; its lifespan starts and stops threads and closes connections."""
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        services.listener.start()
        try:
            yield
        finally:
            services.close()

    routes: list[BaseRoute] = [
        Route(REST_PREFIX + "/{path:path}", RestEndpoint(services)),
        *auth_routes(services.auth, services.gateway, services.run),
    ]
    middleware = [Middleware(CorsMiddleware)]
    if services.control is not None:
        routes.extend(control_routes(services.control))
        middleware.append(Middleware(ControlMiddleware, services=services))
    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan)
