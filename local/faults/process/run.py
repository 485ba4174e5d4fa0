"""A run: load and disasters, then rest, then everything compared."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import boto3
import httpx
import psycopg

from local.faults.checker import Breach, Snapshot, breaches, read_snapshot
from local.faults.process.acknowledged import Record, losses
from local.faults.process.disasters import Disaster, choose, let_happen
from local.faults.process.house import House
from local.faults.process.load import Traveller

_ROUNDS = 12
"""Reconcile finds something again and again only if something keeps going wrong: that is a breach."""
_JOIN_SECONDS = 60.0
_WEBHOOK_FAULTS = {"webhook_lose": 0.05, "webhook_duplicate": 0.05, "webhook_reorder": 0.2}
_NOTHING_IS_FRESH = timedelta(minutes=11)
"""The checker forgives what is younger than ten minutes, as reconcile has had no turn. Here it had."""

Say = Callable[[str], None]


class NeverAtRestError(Exception):
    """Reconcile keeps finding something."""


@dataclass
class Report:
    """What was done and what came of it."""

    seconds: float
    rest_seconds: float
    rounds: int
    disasters: list[Disaster]
    answers: Counter[str]
    bookings: Counter[str]
    charges: int
    events: int
    promises: int
    """How many acknowledged things were looked for."""
    has_volume: bool
    breaches: list[Breach] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)


def run(
    seconds: float,
    *,
    travellers: int = 4,
    calm_seconds: float = 3.0,
    patience_seconds: float = 1.0,
    seed: int = 0,
    say: Say = lambda _: None,
) -> Report:
    """Load for so many seconds with a disaster every `calm_seconds`, then rest and compare.

    Every kind of disaster happens at least once, however short the run. Raises NeverAtRestError, and whatever a
    traveller's own code raised.
    """
    chance = random.Random(seed)
    record, stop = Record(), threading.Event()
    with House.open() as house:
        people = [Traveller(house.stack, record, stop, seed * 1000 + number) for number in range(travellers)]
        began = time.monotonic()
        _lossy_webhooks(house)
        try:
            for person in people:
                person.start()
            happened = _disasters(house, chance, seconds, calm_seconds, patience_seconds, say)
        finally:
            stop.set()
            for person in people:
                person.join(_JOIN_SECONDS)
        loaded = time.monotonic() - began
        for person in people:
            if person.failure is not None:
                raise person.failure
            assert not person.is_alive(), f"{person.name} does not end"
        say("load has stopped; reconcile runs to rest")
        rounds = _rest(house, say)
        snapshot = _read(house)
    _measure(happened, record, snapshot)
    return Report(
        seconds=loaded,
        rest_seconds=time.monotonic() - began - loaded,
        rounds=rounds,
        disasters=happened,
        answers=record.answers,
        bookings=Counter(row["status"] for row in snapshot.rows["bookings"]),
        charges=len(snapshot.stripe["charges"]),
        events=len(snapshot.rows["stripe_events"]),
        promises=len(record.offers) + len(record.matches) + len(record.rows) + len(record.pairs) + len(record.refunds),
        has_volume=house.volume is not None,
        breaches=breaches(snapshot),
        losses=losses(record, snapshot),
    )


def _lossy_webhooks(house: House) -> None:
    """Some are lost, some come twice, some out of order, as long as the load lasts."""
    with httpx.Client(base_url=f"{house.stack.stripe_url}/_control", timeout=10, trust_env=False) as control:
        for kind, probability in _WEBHOOK_FAULTS.items():
            control.post("/faults", json={"kind": kind, "probability": probability}).raise_for_status()


def _disasters(
    house: House, chance: random.Random, seconds: float, calm_seconds: float, patience_seconds: float, say: Say
) -> list[Disaster]:
    happened: list[Disaster] = []
    ahead = choose(house, chance)
    ends = time.monotonic() + seconds
    first_round = True
    while first_round or time.monotonic() < ends:
        time.sleep(calm_seconds * chance.uniform(0.7, 1.3))
        happened.append(let_happen(house, ahead.pop(), patience_seconds * chance.uniform(0.5, 1.5)))
        say(f"{happened[-1].kind}: {happened[-1].remark}")
        if not ahead:
            first_round = False
            ahead = choose(house, chance)
    time.sleep(calm_seconds)
    return happened


def _rest(house: House, say: Say) -> int:
    """Deliver what is on its way and reconcile until nothing is found: how many rounds that took."""
    control = httpx.Client(base_url=f"{house.stack.stripe_url}/_control", timeout=120, trust_env=False)
    with control, psycopg.connect(house.server.url(), autocommit=True) as connection:
        control.delete("/faults").raise_for_status()
        for number in range(1, _ROUNDS + 1):
            control.post("/webhooks/flush", json={"timeout_seconds": 60}).raise_for_status()
            _wait_for_queue(house)
            # Whoever held a lease is dead or done: nobody needs to wait for it to run out.
            connection.execute("update public.bookings set leased_until = null where leased_until is not null")
            found = {job: len(lines) for job, lines in house.reconcile().items() if lines}
            waiting = connection.execute("select count(*) from public.matches where state = 'waiting'").fetchone()
            say(f"reconcile, round {number}: {found or 'nothing'}, {waiting[0] if waiting else 0} matches waiting")
            if not found and waiting == (0,):
                control.post("/webhooks/flush", json={"timeout_seconds": 60}).raise_for_status()
                return number
    raise NeverAtRestError(f"after {_ROUNDS} rounds reconcile still finds {found}, {waiting} matches wait")


def _wait_for_queue(house: House, timeout_seconds: float = 60.0) -> None:
    sqs = boto3.client(
        "sqs",
        endpoint_url=house.stack.queue_endpoint,
        region_name="eu-central-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - moto takes any
    )
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        found = sqs.get_queue_attributes(
            QueueUrl=house.stack.queue_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        if not any(map(int, found.values())):
            return
        time.sleep(0.1)
    raise NeverAtRestError(f"the queue still holds messages after {timeout_seconds:.0f} s")


def _read(house: House) -> Snapshot:
    books = httpx.get(f"{house.stack.stripe_url}/_control/books", timeout=120, trust_env=False).json()
    with psycopg.connect(house.server.url()) as connection:
        return read_snapshot(connection, books, now=datetime.now(UTC) + _NOTHING_IS_FRESH)


def _measure(happened: list[Disaster], record: Record, snapshot: Snapshot) -> None:
    automatic = {row["id"] for row in snapshot.rows["campaigns"] if row["auto_book"]}
    confirmed = sorted(
        (datetime.fromisoformat(row["confirmed_at"]), datetime.fromisoformat(row["created_at"]), row["campaign_id"])
        for row in snapshot.rows["bookings"]
        if row["confirmed_at"] is not None and row["capture"] == "automatic"
    )
    for disaster in happened:
        by_queue = disaster.kind == "queue killed"
        ends = (
            at - disaster.undone
            for at, began, campaign in confirmed
            if began > disaster.undone and (campaign in automatic or not by_queue)
        )
        first = next(ends, None)
        disaster.recovered_after_seconds = None if first is None else first.total_seconds()
        disaster.failures = sum(disaster.began <= at <= disaster.undone for at in record.failures)
