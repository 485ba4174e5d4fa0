"""Who runs when: every invocation of a function is a thread that runs only while it holds the baton.

An invocation gives the baton back at every boundary, which is a call that it makes to the database, to Stripe or to
AWS. There the simulation may let another one run, kill it, or let the call fail. As nothing else runs meanwhile, a run
is repeated exactly by deciding the same.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Literal

_LOCKED_AFTER_SECONDS = 0.0015
"""How long a call may take, while another holds its commit back, before we ask Postgres whether it waits for that."""


class Killed(BaseException):
    """The Lambda is gone: no `except Exception` of ours sees it."""


def _taken() -> "threading.Lock":
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class Invocation:
    """One call of one handler."""

    name: str
    function: str
    work: Callable[[], Any]
    started_at: float
    timeout_seconds: float
    then: Callable[["Invocation"], None] | None = None
    clock_skew_seconds: float = 0.0
    database_skew_seconds: float = 0.0
    is_alone: bool = False
    passages: int = 0
    state: Literal["ready", "running", "holding", "blocked", "done"] = "ready"
    killed: bool = False
    result: Any = None
    error: BaseException | None = None
    backend_pid: int = 0
    fault_on_the_way: str | None = None
    """What befalls the call to AWS that is about to be sent."""
    go: "threading.Lock" = field(default_factory=_taken)
    """Released once for each turn, by whoever hands over the baton."""

    @property
    def failed(self) -> bool:
        """Whether its caller got no answer."""
        return self.killed or self.error is not None


_here = threading.local()


def current() -> Invocation:
    """The invocation whose thread this is."""
    invocation: Invocation = _here.invocation
    return invocation


class _Member(threading.Thread):
    """A thread with an event loop, as Mangum wants one, that takes one invocation after the other."""

    def __init__(self, came: "SimpleQueue[Invocation]") -> None:
        super().__init__(daemon=True, name="lambda")
        self.inbox: SimpleQueue[Invocation | None] = SimpleQueue()
        self._came = came

    def run(self) -> None:
        """Work until told to end."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        while (invocation := self.inbox.get()) is not None:
            _here.invocation = invocation
            invocation.go.acquire()
            try:
                invocation.result = invocation.work()
            except Killed:
                invocation.killed = True
            except BaseException as error:  # noqa: BLE001 - Lambda reports whatever a handler raises
                invocation.error = error
            invocation.state = "done"
            self._came.put(invocation)
        loop.close()


class Stage:
    """The threads and the baton."""

    def __init__(self, waits_for_lock: Callable[[int, int], bool]) -> None:
        self._waits_for_lock = waits_for_lock
        self._came: SimpleQueue[Invocation] = SimpleQueue()
        self._members: list[_Member] = []
        self._idle: list[_Member] = []
        self._at_work: dict[int, _Member] = {}
        self.active: list[Invocation] = []

    def close(self) -> None:
        """End the threads."""
        for member in self._members:
            member.inbox.put(None)
        for member in self._members:
            member.join(timeout=5)

    @property
    def holder(self) -> Invocation | None:
        """The one whose commit is being held back."""
        return next((each for each in self.active if each.state == "holding"), None)

    # --- the simulation's side ---------------------------------------------------------------------------------------

    def start(self, invocation: Invocation) -> None:
        """Put an invocation on the stage; it runs when `resume` lets it."""
        if not self._idle:
            member = _Member(self._came)
            member.start()
            self._members.append(member)
            self._idle.append(member)
        member = self._idle.pop()
        self._at_work[id(invocation)] = member
        self.active.append(invocation)
        member.inbox.put(invocation)

    def resume(self, invocation: Invocation) -> None:
        """Let it run to its next boundary, to its end, or until it waits for the lock of a held transaction."""
        awaited = {id(invocation)}
        if invocation.state == "holding":  # its commit lets those go on who wait for it
            awaited |= {id(each) for each in self.active if each.state == "blocked"}
        holder = None if invocation.state == "holding" else self.holder
        invocation.state = "running"
        invocation.go.release()
        while awaited:
            try:
                came = self._came.get(timeout=_LOCKED_AFTER_SECONDS if holder is not None else None)
            except Empty:
                assert holder is not None
                if invocation.backend_pid and self._waits_for_lock(invocation.backend_pid, holder.backend_pid):
                    invocation.state = "blocked"
                    return
                continue
            awaited.discard(id(came))
            if came.state == "done":
                self._leave(came)

    def _leave(self, invocation: Invocation) -> None:
        self.active.remove(invocation)
        self._idle.append(self._at_work.pop(id(invocation)))

    # --- the invocation's side ---------------------------------------------------------------------------------------

    def give_way(self, invocation: Invocation, state: Literal["ready", "holding"] = "ready") -> None:
        """Give the baton back and wait to get it again."""
        invocation.state = state
        self._came.put(invocation)
        invocation.go.acquire()

    def rejoin(self, invocation: Invocation) -> None:
        """After a call that waited for another's lock: wait for the baton, which has gone on meanwhile."""
        if invocation.state == "blocked":
            self.give_way(invocation)
