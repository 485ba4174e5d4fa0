"""Serves the stand-in over HTTP, and starts it as a process of its own for tests and the stack."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

# Longer than any client keeps a connection: the side that closes first must be the one that sends.
_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 1
_START_TIMEOUT_SECONDS = 20


class DroppableProtocol(H11Protocol):
    """HTTP/1.1 whose connections the application can break: `scope["state"]["abort"]()`."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Hand the transport's abort to the application."""
        super().connection_made(cast("Transport", transport))
        self.app_state = {**self.app_state, "abort": cast("Transport", transport).abort}


class _Server(uvicorn.Server):
    """A server that ends with status 0 on SIGINT and SIGTERM, and when told to from another thread."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and let `settled` be known."""
        await super().startup(sockets)
        self.settled.set()

    def stop(self) -> None:
        """Let the server end; a second time at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off (40 ms per answer) only where the protocol is spelt out.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    bound.set_inheritable(False)
    return bound


def _stop_at_eof(stream: TextIO, server: _Server) -> None:
    with contextlib.suppress(OSError, ValueError):
        while stream.read(1024):
            pass
    server.stop()


def _server(app: ASGIApp) -> _Server:
    config = uvicorn.Config(
        app,
        http=DroppableProtocol,
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
    )
    return _Server(config)


def serve(app: ASGIApp, bound: socket.socket, *, parent_watch: bool = False) -> None:
    """Serve until SIGINT, SIGTERM or, with `parent_watch`, the end of stdin: a parent that dies closes it."""
    server = _server(app)
    if parent_watch:
        threading.Thread(target=_stop_at_eof, args=(sys.stdin, server), daemon=True).start()
    server.run(sockets=[bound])


@contextmanager
def serving_in_thread(make_app: Callable[[str], ASGIApp], *, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve the application that `make_app(url)` returns from a thread of this process; yield its URL.

    Raises `RuntimeError` when it does not come up.
    """
    with listen(host, 0) as bound:
        url = f"http://{host}:{bound.getsockname()[1]}"
        server = _server(make_app(url))

        def run() -> None:
            try:
                server.run(sockets=[bound])
            finally:
                server.settled.set()

        thread = threading.Thread(target=run, name=f"supabase {url}", daemon=True)
        thread.start()
        server.settled.wait(_START_TIMEOUT_SECONDS)
        if not server.started:
            raise RuntimeError(f"the Supabase stand-in did not start on {url}")
        try:
            yield url
        finally:
            server.stop()
            thread.join()


@contextmanager
def running(arguments: Sequence[str]) -> Iterator[str]:
    """Run `python -m local.supabase` with the arguments, yield its URL, and stop it.

    It also ends by itself when this process dies. Raises `RuntimeError` when it does not come up.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "local.supabase", "--parent-watch", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _announced_url(process)
    finally:
        stop(process)


def _announced_url(process: "subprocess.Popen[str]") -> str:
    timer = threading.Timer(_START_TIMEOUT_SECONDS, process.kill)
    timer.start()
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
    finally:
        timer.cancel()
    if not line:
        raise RuntimeError(f"the Supabase stand-in did not start (exit status {process.wait()})")
    return str(json.loads(line)["url"])


def stop(process: "subprocess.Popen[str]") -> None:
    """Ask the process to end, and make it when it does not."""
    process.terminate()
    try:
        process.wait(timeout=_GRACE_SECONDS + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
