"""Watches and disturbs the stand-in from outside: which requests came in, and faults on demand.

Routes, only there when the stand-in is started with `--control`:

- `GET /_control/requests` → `[{"method", "path", "count"}]` since the last reset: no bodies, tokens or query strings.
- `POST /_control/reset` forgets the counts.
- `POST /_control/faults` with a list of `{"match", "when", "action", "times"}` adds faults; `GET` lists what is left of
  them; `DELETE` removes all.

`match` is a path's beginning or, starting with `^`, a regular expression. `when` is `before` (nothing has
happened yet), `before_commit` or `after_commit` (the latter two for `/rest/v1` only). `action` is
`drop_connection`, `http_503`, `error:<SQLSTATE>` or `delay_ms:<n>`. `times` (1 unless said, null for ever) counts
down with every request it hits.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.supabase.engine import Hook, Moment
from local.supabase.errors import injected, unavailable

When = Literal["before", "before_commit", "after_commit"]
_MOMENTS: tuple[When, ...] = get_args(When)
_ACTION = re.compile(r"drop_connection|http_503|error:[0-9A-Z]{5}|delay_ms:[0-9]{1,6}")


class ConnectionDroppedError(Exception):
    """The caller is to see its connection break, without an answer."""


@dataclass(slots=True)
class Fault:
    """One rule; `times` is None for ever."""

    match: str
    when: When
    action: str
    times: int | None

    @classmethod
    def parse(cls, rule: object) -> "Fault":
        """Read a rule. Raises `ValueError` saying what is wrong with it."""
        match rule:
            case {"match": str(path), "action": str(action), **rest} if _ACTION.fullmatch(action):
                when, times = rest.get("when", "before"), rest.get("times", 1)
            case _:
                raise ValueError(
                    "a fault has a match and an action (drop_connection, http_503, error:<SQLSTATE>, delay_ms:<n>)"
                )
        moment = next((known for known in _MOMENTS if known == when), None)
        if moment is None:
            raise ValueError(f"when is one of {', '.join(_MOMENTS)}")
        if times is not None and not (isinstance(times, int) and times >= 1):
            raise ValueError("times is a positive number, or null")
        re.compile(path)
        return cls(path, moment, action, times)

    def fits(self, path: str, when: When) -> bool:
        """Say whether it is for this path and moment."""
        if self.when != when:
            return False
        return bool(re.search(self.match, path)) if self.match.startswith("^") else path.startswith(self.match)

    def as_json(self) -> dict[str, object]:
        """Return the rule as it is left."""
        return {"match": self.match, "when": self.when, "action": self.action, "times": self.times}


class Control:
    """Counts requests and keeps the faults; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._faults: list[Fault] = []

    def count(self, method: str, path: str) -> None:
        """Note a request."""
        with self._lock:
            self._counts[method, path] += 1

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the requests since the last reset, by method and path."""
        with self._lock:
            return dict(self._counts)

    def reset(self) -> None:
        """Forget the requests."""
        with self._lock:
            self._counts.clear()

    def add(self, faults: Iterable[Fault]) -> None:
        """Add faults behind those that are there."""
        with self._lock:
            self._faults.extend(faults)

    def faults(self) -> list[dict[str, object]]:
        """Return what is left of the faults."""
        with self._lock:
            return [fault.as_json() for fault in self._faults]

    def clear(self) -> None:
        """Remove every fault."""
        with self._lock:
            self._faults.clear()

    def _take(self, path: str, when: When) -> str | None:
        with self._lock:
            fault = next((f for f in self._faults if f.fits(path, when)), None)
            if fault is None:
                return None
            if fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    self._faults.remove(fault)
            return fault.action

    def disturb(self, path: str, when: When) -> None:
        """Do what a fault wants at this moment; blocks for delays.

        Raises `ConnectionDroppedError` or `ApiError` when that is what it wants.
        """
        action = self._take(path, when)
        if action is None:
            return
        kind, _, value = action.partition(":")
        match kind:
            case "drop_connection":
                raise ConnectionDroppedError
            case "http_503":
                raise unavailable("injected fault")
            case "error":
                raise injected(value)
            case _:
                time.sleep(int(value) / 1000)

    def hook(self, path: str) -> Hook | None:
        """Return what the engine is to call around its commit; None while nothing is to be disturbed."""
        if not self._faults:
            return None

        def at(moment: Moment) -> None:
            self.disturb(path, moment)

        return at


def control_routes(control: Control) -> list[Route]:
    """Return the routes under `/_control/`."""

    async def requests(_request: Request) -> Response:
        return JSONResponse(
            [
                {"method": method, "path": path, "count": count}
                for (method, path), count in sorted(control.counts().items())
            ]
        )

    async def reset(_request: Request) -> Response:
        control.reset()
        return Response(status_code=204)

    async def faults(request: Request) -> Response:
        if request.method == "DELETE":
            control.clear()
        elif request.method == "POST":
            try:
                rules = await request.json()
                added = [Fault.parse(rule) for rule in (rules if isinstance(rules, list) else [rules])]
            except (ValueError, re.error) as error:
                return JSONResponse({"message": str(error)}, status_code=400)
            control.add(added)
        return JSONResponse(control.faults())

    return [
        Route("/_control/requests", requests, methods=["GET"]),
        Route("/_control/reset", reset, methods=["POST"]),
        Route("/_control/faults", faults, methods=["GET", "POST", "DELETE"]),
    ]
