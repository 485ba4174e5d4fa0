"""Run a stand-in: in the foreground for the command line, or in a thread for tests."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn

from local.stripe.app import create_app
from local.stripe.world import StripeWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

    from local.stripe.clock import Clock
    from local.stripe.settings import Settings

# How long requests under way may hold up the end.
_SHUTDOWN_SECONDS = 2
# A machine that is busy with other tests may not let the thread run for a while.
_END_SECONDS = 60
# Clients keep connections; one that the server closes after a few idle seconds fails their next request.
_KEEP_ALIVE_SECONDS = 300


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ``OSError`` when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that say they are TCP; else each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


class StripeServer(uvicorn.Server):
    """uvicorn that says when it has started and lets hanging requests go when it stops."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                lifespan="on",
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        self._app = app
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the sockets."""
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the sockets and finish what is under way."""
        self._app.state.stopping.set()
        await super().shutdown(sockets)


@contextlib.contextmanager
def running(settings: Settings, clock: Clock | None = None) -> Iterator[tuple[str, StripeWorld]]:
    """Serve on a free port of this machine from a thread: yields the URL and the world."""
    world = StripeWorld(settings, clock)
    listener = bind("127.0.0.1", 0)
    server = StripeServer(create_app(settings, world))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        if not server.ready.wait(timeout=15):
            msg = "the Stripe stand-in did not start within 15 seconds"
            raise RuntimeError(msg)
        yield url_of(listener), world
    finally:
        server.should_exit = True
        thread.join(timeout=_END_SECONDS)
        if thread.is_alive():  # closing its socket now would only break it at another place
            msg = f"the Stripe stand-in did not end within {_END_SECONDS} seconds"
            raise RuntimeError(msg)
        listener.close()
