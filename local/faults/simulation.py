"""One schedule, played: the real functions on the simulated stage, then rest, then the books are compared."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.faults.acts import Acts
from local.faults.catalogue import SLOW_COMMIT_RATE, SLOW_COMMIT_RATES, kinds_of, strike_rate
from local.faults.checker import breaches, read_snapshot
from local.faults.coverage import Coverage
from local.faults.draws import Draws
from local.faults.lambdas import Lambdas
from local.faults.queue import Queue
from local.faults.rest import come_to_rest
from local.faults.stage import Invocation, Killed, Stage, current
from local.faults.story import Line
from local.faults.stripe_side import deliver_due, new_world

if TYPE_CHECKING:
    from time_machine import Traveller

    from local.faults.database_side import SimulatedDatabase
    from local.faults.schedule import Schedule
    from local.faults.wires import Wires

BEGINS_AT = 1_796_000_000.0
"""A Monday in November 2026; each seed begins at its own hour after it."""
MOST_AT_ONCE = 5
_AT_FIRST = 0.3
"""A fault strikes so much less often while cards are saved and campaigns made: without them nothing happens."""


@dataclass
class Result:
    """What became of a schedule."""

    schedule: "Schedule"
    breaches: list[str]
    story: list[Line]
    coverage: Coverage
    charges: int
    faults: list[str]
    simulated_seconds: float
    books: list[str]
    """What both sides' books say at the end, a booking a line."""


@dataclass
class Bench:
    """What a process keeps from one schedule to the next: threads, connections, the functions, the clock."""

    database: "SimulatedDatabase"
    wires: "Wires"
    stage: Stage
    lambdas: Lambdas
    traveller: "Traveller"
    complaints: "Complaints"


_TRUE_WHILE_FAULTS_LAST = {"BREACH event_not_applied_for_an_hour"}


class Complaints(logging.Handler):
    """What the functions log as unexpected, and breaches that reconcile reports: no fault of ours may cause one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was unexpected, with its place."""
        fields = getattr(record, "fields", {})
        what = str(fields.get("what", ""))
        if what.startswith("BREACH") and what not in _TRUE_WHILE_FAULTS_LAST:
            self.found.append(f"reconcile reports a {what} of {fields.get('subject')}")
        if record.exc_info and record.exc_info[1] is not None:
            if isinstance(record.exc_info[1], Killed):
                return
            where = traceback.extract_tb(record.exc_info[2])[-1]
            self.found.append(
                f"{record.getMessage()}: {record.exc_info[1]!r} at {where.filename.rpartition('/')[2]}:{where.lineno}"
            )


class Simulation:
    """The state of one schedule under way."""

    def __init__(self, bench: Bench, schedule: "Schedule") -> None:
        self.bench = bench
        self.schedule = schedule
        self.draws = Draws(schedule.seed)
        self.world = new_world(schedule.seed, self.draws, BEGINS_AT)
        self.stage = bench.stage
        self.database = bench.database
        self.lambdas = bench.lambdas
        self.queue = Queue(self)
        self.mails: list[dict[str, Any]] = []
        self.coverage = Coverage()
        self.story: list[Line] = []
        self.struck: list[str] = []
        self.charges = 0
        self.is_calm = False
        self.lagging: set[str] = set()
        """Webhooks that have been late already."""
        self._ended_at: dict[str, float] = {}
        self._names: dict[str, int] = {}
        self._ticks = 0
        self.acts = Acts(self)

    # --- time --------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The simulated time."""
        return self.world.clock.now()

    def pass_time(self, seconds: float) -> None:
        """Let time go on, and Stripe do what is due."""
        self.world.advance(seconds)
        self._set_clock(getattr(self, "_running", None))

    def _set_clock(self, invocation: Invocation | None) -> None:
        self.bench.traveller.move_to(self.now() + (invocation.clock_skew_seconds if invocation else 0.0))

    # --- boundaries: called by the wires, in an invocation's thread --------------------------------------------------

    def arrive(self, boundary: str) -> str | None:
        """A call is about to be made: others may run first. Gives the fault that is to befall the call."""
        invocation = current()
        if invocation.killed:
            raise Killed
        invocation.passages += 1
        self.world.clock.advance(self.draws.seconds(0.002, 0.09, "pause", invocation.name, invocation.passages))
        if not invocation.is_alone:
            self.stage.give_way(invocation)
        if self.now() - invocation.started_at > invocation.timeout_seconds:
            self.tell(invocation.name, "is ended by Lambda: its time is over", boundary)
            invocation.killed = True
            raise Killed
        fault = self.fault_at(f"{invocation.name}#{invocation.passages}", boundary)
        self.tell(invocation.name, boundary, fault or "")
        if fault == "killed_before":
            invocation.killed = True
            raise Killed
        return fault

    def arrive_again(self, invocation: Invocation) -> None:
        """In the midst of a call: let others run."""
        invocation.is_alone = False
        self.stage.give_way(invocation)

    def hold_back(self, invocation: Invocation) -> None:
        """The call's transaction is executed, its commit waits while others run."""
        invocation.is_alone = False
        self.tell(invocation.name, "holds its commit back", "")
        self.stage.give_way(invocation, "holding")
        self.tell(invocation.name, "commits", "")

    def fault_at(self, place: str, boundary: str) -> str | None:
        """The fault that strikes at a place, if any; counted."""
        fault = None
        chosen = self.schedule.faults
        if not self.is_calm and self.schedule.fault_rate and (chosen is None or place in chosen):
            theme = self.schedule.theme
            factor = theme.strikes.get(boundary, 1.0) * (_AT_FIRST if self._is_setting_up else 1.0)
            if self.draws.chance(strike_rate(boundary, self.schedule.fault_rate, factor), "fault", place):
                preferred = theme.kinds.get(boundary)
                kinds = preferred if preferred and self.draws.chance(0.6, "dwells", place) else kinds_of(boundary)
                fault = self.draws.pick(kinds, "kind", place)
            elif len(self.stage.active) > 1 and boundary.startswith("db "):
                rate = min(0.9, SLOW_COMMIT_RATES.get(boundary, SLOW_COMMIT_RATE) * theme.slow_commits)
                fault = "slow_commit" if self.draws.chance(rate, "slow", place) else None
        if fault is not None:
            self.struck.append(place)
        self.coverage.passed(boundary, fault)
        return fault

    # --- invocations -------------------------------------------------------------------------------------------------

    def name(self, family: str) -> str:
        """A name that nothing else in this run has."""
        self._names[family] = self._names.get(family, 0) + 1
        return f"{family}-{self._names[family]}"

    def invoke(
        self,
        name: str,
        boundary: str,
        work: Callable[[Invocation], Any],
        then: Callable[[Invocation], None] | None = None,
        *,
        timeout_seconds: float = 29.0,
    ) -> Invocation:
        """Put a call of a function on the stage."""
        invocation = Invocation(name, boundary, lambda: None, self.now(), timeout_seconds, then)
        invocation.work = lambda: work(invocation)
        fault = self.fault_at(f"{name}#start", boundary)
        self.tell(name, f"starts {boundary}", fault or "")
        skew = self.draws.seconds(1, 200, name, "skew")
        match fault:
            case "clock_ahead":
                invocation.clock_skew_seconds = skew
            case "clock_behind":
                invocation.clock_skew_seconds = -skew
            case "database_clock_ahead":
                invocation.database_skew_seconds = skew
            case "database_clock_behind":
                invocation.database_skew_seconds = -skew
            case "hardly_any_time":
                invocation.timeout_seconds = self.draws.seconds(3, 25, name, "time")
            case _:
                pass
        invocation.is_alone = not self.stage.active and not self.draws.chance(self.schedule.overlap, name, "alone")
        for other in self.stage.active:
            other.is_alone = False
        self.stage.start(invocation)
        if fault == "twice_at_once":
            self.invoke(self.name(name), boundary, work, then, timeout_seconds=timeout_seconds)
        return invocation

    def resume(self, invocation: Invocation) -> None:
        """Let one go on to its next boundary."""
        self.world.clock.advance(self.draws.seconds(0.002, 0.15, "pause", self._ticks))
        self._running = invocation
        self._set_clock(invocation)
        self.stage.resume(invocation)
        self._running = None
        for done in [each for each in (invocation, *self._watched) if each.state == "done"]:
            self._end(done)
        self._watched = [each for each in self.stage.active if each.state == "blocked"]

    _is_setting_up = False
    _watched: list[Invocation] = []  # noqa: RUF012 - replaced, never changed
    _running: Invocation | None = None

    def _end(self, invocation: Invocation) -> None:
        self._ended_at[invocation.name] = self.now()
        if invocation.killed:
            self.tell(invocation.name, "is dead", "")
        elif invocation.error is not None:
            self.tell(invocation.name, f"failed: {invocation.error!r}", "")
        if self.stage.active or invocation.then is None:
            self._set_clock(None)
        if invocation.then is not None:
            then, invocation.then = invocation.then, None
            then(invocation)

    def tick(self) -> None:
        """Something happens: one of those on the stage goes on, or a message arrives."""
        self._ticks += 1
        active = self.stage.active
        if len(active) < MOST_AT_ONCE and self.draws.chance(0.4, "arrivals", self._ticks):
            deliver_due(self, 1)
            if len(active) < MOST_AT_ONCE:
                self.queue.deliver_due()
        able = [each for each in active if each.state != "blocked"]
        blocked = len(able) < len(active)
        holder = self.stage.holder
        if holder is not None and (blocked or len(able) == 1 or self.draws.chance(0.25, "commit", self._ticks)):
            self.resume(holder)
        elif able:
            others = [each for each in able if each is not holder]
            self.resume(self.draws.pick(others, "next", self._ticks))

    def _go_on(self, number: int) -> None:
        """Between two steps: who is on the stage goes on, and messages arrive, or all of it would come at rest."""
        for turn in range(40):
            if self.stage.active:
                if self.draws.chance(self.schedule.overlap * 0.25, "on", number, turn):
                    return
                self.tick()
            elif self.draws.chance(0.25, "quiet", number, turn) or not self._something_arrives():
                return

    def _something_arrives(self) -> bool:
        return self.queue.deliver_due() or deliver_due(self, 1) > 0

    def finish(self) -> None:
        """Play on until nobody is on the stage."""
        while self.stage.active:
            self.tick()

    def settle_down(self) -> None:
        """Let everything that is due arrive, and end."""
        while True:
            self.finish()
            if not deliver_due(self, MOST_AT_ONCE) and not self.queue.deliver_due():
                return

    # --- the whole ---------------------------------------------------------------------------------------------------

    def play(self) -> Result:
        """Play the schedule, come to rest, compare the books."""
        self.database.begin(self.schedule.seed, self.now)
        self.bench.wires.simulation = self
        self.bench.complaints.found.clear()
        self._set_clock(None)
        self.acts.move_in()
        for step in self.schedule.steps:
            self._is_setting_up = step.act in ("save_card", "create_campaign")
            self.tell("step", str(step), "")
            self.acts.play(step)
            self._go_on(step.number)
        unrest = come_to_rest(self)
        found = [str(each) for each in self._compare()] + unrest
        found += [f"unexpected: {what}" for what in self.bench.complaints.found]
        return Result(
            self.schedule,
            found,
            self.story,
            self.coverage,
            self.charges,
            self.struck,
            self.now() - BEGINS_AT,
            self._books(),
        )

    def _compare(self) -> list[Any]:
        self.database.observe()
        books = {name: list(table) for name, table in self.world.tables.items()}
        mails = [mail | self._sender_of(mail["sender"]) for mail in self.mails]
        return list(breaches(read_snapshot(self.database.observer, books, mails)))

    def _sender_of(self, sender: Invocation) -> dict[str, Any]:
        """Who sent a mail, and until when it was at it; None where the database's clock was off, as its lease was."""
        ends_at = sender.started_at + sender.timeout_seconds
        until = None if sender.database_skew_seconds else min(ends_at, self._ended_at.get(sender.name, ends_at))
        return {"sender": sender.name, "sender_until": until}

    def _books(self) -> list[str]:
        ours = self.database.rows(
            "select b.id::text, b.status::text, b.closing_as::text, b.amount_minor, b.currency, "
            "b.amount_captured_minor as captured, b.amount_refunded_minor as refunded, "
            "b.stripe_payment_intent_id as intent, "
            "(select string_agg(a.status::text, ', ' order by a.ordinal) from public.attempts as a "
            "where a.booking_id = b.id) as attempts from public.bookings as b order by b.created_at, b.id"
        )
        lines = []
        for row in ours:
            intent = self.world.payment_intents.find(row["intent"]) or {}
            lines.append(
                f"booking {row['id'][:8]} {row['status']} (attempts: {row['attempts']}) {row['amount_minor']} "
                f"{row['currency']}, captured {row['captured']}, refunded {row['refunded']}; Stripe: {row['intent']} "
                f"{intent.get('status')}, received {intent.get('amount_received')}"
            )
        return lines

    def tell(self, who: str, what: str, fault: str) -> None:
        """Keep a line of the story."""
        self.story.append(Line(self.now() - BEGINS_AT, who, what, fault))
