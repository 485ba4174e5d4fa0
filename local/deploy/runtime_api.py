"""Boots a packaged function as Lambda does: unpacked in a clean directory, under awslambdaric, against a Runtime API.

    with BootedFunction(zip_file, "functions.webhook.handler.handler", environment) as function:
        answer = function.invoke(event)

The process sees the zip's files, Lambda's own runtime client and Python's standard library, and nothing else that is
installed here. The API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from uuid import uuid4

import psutil

from local.deploy.functions import ROOT
from local.deploy.packages import find_uv
from local.lambda_runtime import ACCOUNT, HTTP_TIMEOUT_SECONDS, REGION

_NEXT: Final = "/2018-06-01/runtime/invocation/next"
_RESTORED: Final = "/2018-06-01/runtime/restore/next"
_BOOT_SECONDS: Final = 30.0


class BootError(Exception):
    """The function did not come up, or an invocation failed; the message has what it said."""


class _Api(ThreadingHTTPServer):
    """The Runtime API of one function: hands out invocations, and takes their answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.invocations: queue.Queue[tuple[str, bytes, float]] = queue.Queue()
        self.answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        """What the process said: `ready`, `response` or `error`, with its body."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a process that is ended breaks its connections."""


class _Handler(BaseHTTPRequestHandler):
    server: _Api
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        # Without this each answer waits some 40 ms for the acknowledgement of its headers.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        if self.path == _RESTORED:  # with SnapStart: asked for when the copy may be made, answered when it was
            self._send(200, {})
            return
        if self.path != _NEXT:
            self._send(404, {})
            return
        self.server.answers.put(("ready", None))
        request_id, event, seconds = self.server.invocations.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:booted",
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid4().hex[:24]};Sampled=0",
        }
        self._send(200, headers, event)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        kind = "response" if self.path.endswith("/response") else "error"
        self.server.answers.put((kind, json.loads(body)))
        self._send(202, {})

    def _send(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: what matters is raised."""


class BootedFunction:
    """A zip, unpacked and started, or a directory as one would be.

    Enter it to boot; leaving it ends the process and removes what was unpacked.
    """

    PASSED_ON: ClassVar = ("PATH", "NO_PROXY", "no_proxy")

    def __init__(self, archive: Path, handler: str, environment: Mapping[str, str]) -> None:
        self.archive, self.handler = archive, handler
        self._given = dict(environment)
        self.boot_seconds = 0.0
        """From the process's start to its asking for work: what Lambda calls the init phase."""

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="autobook-task-"))
        self.log = self._home / "log"
        try:
            if self.archive.is_dir():
                self.task = self.archive
            else:
                self.task = self._home / "task"
                with zipfile.ZipFile(self.archive) as archive:
                    archive.extractall(self.task)
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def start(self) -> None:
        """Start a process over the unpacked zip, which is one cold start. Raises BootError."""
        self.stop()
        self._api = _Api()
        threading.Thread(target=self._api.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        environment = {name: os.environ[name] for name in self.PASSED_ON if name in os.environ}
        environment |= {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_address[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": self.archive.stem,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.archive.stem}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "booted",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "LAMBDA_TASK_ROOT": str(self.task),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            # /var/task cannot be written in Lambda.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{self.task}{os.pathsep}{runtime_client()}",
            **self._given,
        }
        with self.log.open("ab") as log:
            started = time.perf_counter()
            # -S: no site-packages. Python finds its standard library, PYTHONPATH and nothing else.
            command = [sys.executable, "-S", "-m", "awslambdaric", self.handler]
            self._process = subprocess.Popen(command, env=environment, cwd=self.task, stdout=log, stderr=log)
        kind, body = self._heard(_BOOT_SECONDS)
        self.boot_seconds = time.perf_counter() - started
        if kind != "ready":
            raise BootError(f"{self.archive.name} did not come up: {body}\n{self.said()}")

    def invoke(self, event: Any, timeout_seconds: float = HTTP_TIMEOUT_SECONDS) -> Any:
        """The answer to an event. Raises BootError for an error, or none in time."""
        self._api.invocations.put((str(uuid4()), json.dumps(event).encode(), timeout_seconds))
        while True:
            kind, body = self._heard(timeout_seconds)
            if kind == "response":
                return body
            if kind == "error":
                raise BootError(
                    f"{self.archive.name}: {body.get('errorType')}: {body.get('errorMessage')}\n{self.said()}"
                )

    def cpu_seconds(self) -> float:
        """How long the process has been on a processor so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        """The memory that the process holds."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def said(self) -> str:
        """What the process has printed."""
        return self.log.read_text("utf-8", "replace")

    def _heard(self, seconds: float) -> tuple[str, Any]:
        end = time.monotonic() + seconds
        while True:
            try:
                return self._api.answers.get(timeout=0.2)
            except queue.Empty:
                if self._process.poll() is not None or time.monotonic() > end:
                    status = self._process.poll()
                    how = "did not answer in time" if status is None else f"ended with status {status}"
                    raise BootError(f"{self.archive.name} {how}:\n{self.said()}") from None

    def stop(self) -> None:
        """End the process, if there is one."""
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.wait()
        if hasattr(self, "_api"):
            self._api.invocations.put(("", b"{}", 1.0))  # its thread waits for one
            self._api.shutdown()
            self._api.server_close()
            del self._api

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


def runtime_client() -> Path:
    """Where Lambda's runtime client is installed, apart from all else. Raises BootError."""
    wanted = (ROOT / "uv.lock").read_bytes()
    directory = ROOT / "build" / "runtime-client"
    stamp = directory / ".uv.lock"
    if stamp.is_file() and stamp.read_bytes() == wanted:
        return directory
    draft = Path(tempfile.mkdtemp(prefix="runtime-client-", dir=_made(ROOT / "build")))
    uv, requirements = str(find_uv()), str(draft / ".requirements.txt")
    export = ["--frozen", "--only-group", "runtime-client", "--no-header", "--quiet", "--output-file", requirements]
    target = ["--require-hashes", "--quiet", "--python", sys.executable, "--target", str(draft)]
    for command in (
        [uv, "export", "--project", str(ROOT), *export],
        [uv, "pip", "install", *target, "--requirements", requirements],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            raise BootError(f"the runtime client can't be installed:\n{done.stderr.strip()}")
    (draft / ".uv.lock").write_bytes(wanted)
    shutil.rmtree(directory, ignore_errors=True)
    draft.rename(directory)
    return directory


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
