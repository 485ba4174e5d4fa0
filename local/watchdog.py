"""Keeps one server process no longer than whoever asked for it.

Started as `python -I -S watchdog.py TASK` with a pipe on its standard input. When the parent ends, in
whatever way, the system closes that pipe, and the watchdog stops the server and removes its files. A parent
that wants the files kept writes a `k` before it closes the pipe.

TASK is JSON: `command` (list), `user` and `group` (numeric, or null to stay who we are), `log` (path that the
server's output goes to), `stop_signal` (number), `patience_seconds` before the server is killed, and `remove`
(directory to delete at the end, or null). The watchdog prints the server's process id and returns its exit
status. Every start of Postgres waits for these imports, so they are few and from the standard library.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    """Run the server until it ends or the parent does, and return the server's exit status."""
    task: dict[str, Any] = json.loads(sys.argv[1])
    # Ctrl-C in a terminal reaches the whole group; it is for the parent to decide when the server stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals = _signals_as_bytes(signal.SIGCHLD, signal.SIGTERM)
    server = _launch(task)
    print(server.pid, flush=True)
    sys.stdout.close()

    remove = None  # of a server that ends by itself the files stay: its log says why
    keep = False
    while server.poll() is None:
        ready, _, _ = select.select([0, signals], [], [])
        word = os.read(0, 1) if 0 in ready else None
        if word == b"k":
            keep = True
        elif word == b"" or (signals in ready and signal.SIGTERM in os.read(signals, 64)):
            _stop(server, task["stop_signal"], task["patience_seconds"])
            remove = None if keep else task["remove"]
    if remove is not None:
        shutil.rmtree(remove, ignore_errors=True)
    return server.returncode


def _signals_as_bytes(*numbers: signal.Signals) -> int:
    """A file descriptor on which each of these signals arrives as a byte, for `select` to wait for."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return readable


def _launch(task: dict[str, Any]) -> "subprocess.Popen[bytes]":
    def follow_us_down() -> None:
        # Should the watchdog itself be killed, Linux tells the server; elsewhere the next start sweeps it up.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, task["stop_signal"])

    identity = {"user": task["user"], "group": task["group"], "extra_groups": []} if task["user"] is not None else {}
    with open(task["log"], "ab") as log:  # noqa: PTH123 - pathlib would be the slowest import of this file
        return subprocess.Popen(
            task["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            preexec_fn=follow_us_down,  # noqa: PLW1509 - safe here: the watchdog has a single thread
            **identity,
        )


def _stop(server: "subprocess.Popen[bytes]", stop_signal: int, patience_seconds: float) -> None:
    for number in (stop_signal, signal.SIGQUIT, signal.SIGKILL):
        server.send_signal(number)
        try:
            server.wait(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            continue
        return


if __name__ == "__main__":
    sys.exit(main())
