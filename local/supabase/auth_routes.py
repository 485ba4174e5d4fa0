"""The routes of `/auth/v1`: HTTP in, `local.supabase.auth` behind."""

from collections.abc import Awaitable, Callable

import psycopg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from local.supabase.auth import Auth, AuthError
from local.supabase.errors import ApiError, from_database
from local.supabase.gateway import Gateway

Body = dict[str, object]
Work = Callable[[Request, Body], Response]
RunInThread = Callable[[Callable[[], Response]], Awaitable[Response]]


def _refuse(error: AuthError, request: Request) -> Response:
    body, headers = error.answer(request.headers)
    return JSONResponse(body, error.status, headers)


class _AuthEndpoint:
    """Reads a JSON body, checks the API key, and runs blocking work in a thread."""

    def __init__(self, gateway: Gateway, run_in_thread: RunInThread, work: Work) -> None:
        self._gateway = gateway
        self._run_in_thread = run_in_thread
        self._work = work

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        try:
            body = await request.json() if await request.body() else {}
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return _refuse(AuthError(400, "bad_json", "Could not parse request body as JSON"), request)
        return await self._run_in_thread(lambda: self._answer(request, body))

    def _answer(self, request: Request, body: Body) -> Response:
        try:
            self._gateway.check_api_key(request.headers)
            return self._work(request, body)
        except AuthError as error:
            return _refuse(error, request)
        except ApiError as error:
            return Response(error.body(), error.status, error.response_headers())
        except psycopg.Error as error:
            failed = from_database(error, anonymous=False)
            return Response(failed.body(), 500, failed.response_headers())


def auth_routes(auth: Auth, gateway: Gateway, run_in_thread: RunInThread) -> list[BaseRoute]:
    """Return the routes; `run_in_thread` runs blocking work."""

    def token(request: Request, body: Body) -> Response:
        return JSONResponse(auth.token(request.query_params.get("grant_type", ""), body))

    def user(request: Request, _body: Body) -> Response:
        return JSONResponse(auth.user(request.headers))

    def logout(request: Request, _body: Body) -> Response:
        auth.logout(request.headers, request.query_params.get("scope", "global"))
        return Response(status_code=204)

    async def jwks(_request: Request) -> Response:
        return JSONResponse(auth.jwks(), headers={"cache-control": "public, max-age=600"})

    async def health(_request: Request) -> Response:
        return JSONResponse({"name": "GoTrue", "version": "local", "description": "Supabase stand-in"})

    def guarded(path: str, method: str, work: Work) -> Route:
        return Route(path, _AuthEndpoint(gateway, run_in_thread, work).answer, methods=[method])

    return [
        guarded("/auth/v1/token", "POST", token),
        guarded("/auth/v1/user", "GET", user),
        guarded("/auth/v1/logout", "POST", logout),
        Route("/auth/v1/.well-known/jwks.json", jwks, methods=["GET"]),
        Route("/auth/v1/health", health, methods=["GET"]),
    ]
