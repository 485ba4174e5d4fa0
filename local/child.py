"""Processes of the local stack: each announces itself with one line of JSON, and ends when its parent does."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GRACE_SECONDS = 5.0
_LOG_LINES_SHOWN = 30


class ChildFailedError(Exception):
    """A process of the stack did not come up; the message has the end of what it said."""


class Child:
    """A Python module that runs as a process of its own.

    Its standard input is a pipe that closes with this process, its standard output begins with the
    announcement, and all else that it says goes to the log file. It has a session of its own, so that
    Ctrl-C reaches only the parent, which then ends everything in order.
    """

    def __init__(
        self,
        module: str,
        arguments: "Sequence[str]",
        *,
        log: Path,
        environment: "Mapping[str, str] | None" = None,
        pass_fds: "Sequence[int]" = (),
    ) -> None:
        self.name = module
        self._log = log
        self._announcements: queue.Queue[bytes] = queue.Queue(maxsize=1)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=Path(__file__).resolve().parent.parent,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        threading.Thread(target=self._read, name=f"{module} output", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.closing(self._process.stdout) as output, self._log.open("ab", buffering=0) as log:
            self._announcements.put(output.readline())
            for line in output:
                log.write(line)

    def ended(self) -> int | None:
        """The exit status, or None while the process runs."""
        return self._process.poll()

    def tell(self, message: object) -> None:
        """Write the message as one line of JSON to the process's standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: `announced` says so, with its reason
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def announced(self, timeout_seconds: float = 30.0) -> dict[str, Any]:
        """What the process announced, waiting for it. Raises ChildFailedError."""
        try:
            line = self._announcements.get(timeout=timeout_seconds)
            announcement: dict[str, Any] = json.loads(line)
        except (queue.Empty, ValueError):
            with contextlib.suppress(subprocess.TimeoutExpired):  # its output ends a moment before it does
                self._process.wait(1)
            ended = self.ended()
            how = "said nothing in time" if ended is None else f"ended with status {ended}"
            said = self._log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES_SHOWN:]
            raise ChildFailedError("\n".join([f"{self.name} {how}; the end of {self._log}:", *said])) from None
        return announcement

    def end(self) -> None:
        """Have the process end as if we were gone, without waiting: all of them watch their standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def stop(self) -> None:
        """End the process, by force if it takes too long."""
        self.end()
        for insist in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                insist()
        self._process.wait()


def announce(**facts: object) -> None:
    """In a child: say that it is ready, and where."""
    print(json.dumps(facts), flush=True)


def end_with_parent(stream: IO[str] | None = None) -> None:
    """In a child: have SIGTERM sent to ourselves once standard input closes, that is when the parent is gone."""
    source = stream or sys.stdin

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while source.read(4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent watch", daemon=True).start()


def environment_from_parent() -> None:
    """In a child: take the settings that become known while it loads, one JSON object on one line of its input."""
    settings: dict[str, str] = json.loads(sys.stdin.readline())
    os.environ.update(settings)
