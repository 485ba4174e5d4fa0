"""Remembers the Postgres servers that we started, and ends those whose watchdog is gone.

The watchdog does this by itself; what is left for here is a watchdog that was killed where the system can't
tell the server (anything but Linux). One small file per server stands in `.local/run`. A process counts as
ours only if both its number and the moment it was started are those in the file, so that nobody else's
process is ever ended.
"""

import contextlib
import json
import shutil
import signal
from pathlib import Path

import psutil

STATE = Path(__file__).resolve().parent.parent / ".local" / "run"
PREFIX = "autobook-pg-"
"""How the temporary directories of our servers begin; nothing else is ever removed."""

_SAME_MOMENT_SECONDS = 1.0  # the system's boot time, from which start times are reckoned, is adjusted now and then
_PATIENCE_SECONDS = 10.0


def record(watchdog_pid: int, server_pid: int, home: Path, *, state: Path = STATE) -> Path | None:
    """Write down a server with its watchdog. Returns the file, None if one of the two has ended already."""
    try:
        entry = {
            "watchdog": _identity(psutil.Process(watchdog_pid)),
            "server": _identity(psutil.Process(server_pid)),
            "home": str(home),
        }
    except psutil.NoSuchProcess:
        return None
    state.mkdir(parents=True, exist_ok=True)
    path = state / f"postgres-{server_pid}.json"
    path.write_text(json.dumps(entry), "utf-8")
    return path


def sweep(*, state: Path = STATE) -> list[int]:
    """End every recorded server whose watchdog is gone, and remove its temporary files.

    Returns the process ids of the servers that had to be ended.
    """
    ended = []
    for path in state.glob("postgres-*.json"):
        try:
            entry = json.loads(path.read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            continue  # removed, or being written, by the run it belongs to
        if _running(entry["watchdog"]) is not None:
            continue
        server = _running(entry["server"])
        if server is not None:
            _end(server)
            ended.append(server.pid)
        home = Path(entry["home"])
        if home.name.startswith(PREFIX):
            shutil.rmtree(home, ignore_errors=True)
        path.unlink(missing_ok=True)
    return ended


def _identity(process: psutil.Process) -> dict[str, float]:
    return {"pid": process.pid, "started": process.create_time()}


def _running(identity: dict[str, float]) -> psutil.Process | None:
    try:
        process = psutil.Process(int(identity["pid"]))
        same = abs(process.create_time() - identity["started"]) < _SAME_MOMENT_SECONDS
    except psutil.NoSuchProcess:
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def _end(server: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        server.send_signal(signal.SIGQUIT)
        try:
            server.wait(_PATIENCE_SECONDS)
        except psutil.TimeoutExpired:
            server.kill()
