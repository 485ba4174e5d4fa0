"""Playing many schedules, one process per core, each over a database of its own."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from local.faults.coverage import Coverage
from local.migrate import migrate
from local.postgres import Postgres, open_postgres
from local.supabase.bootstrap import apply_bootstrap

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

_TIDY_EVERY = 100
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Order:
    """What to play: seeds from `first` on, so many, or for so long."""

    first: int
    schedules: int
    minutes: float | None = None
    workers: int = 2
    mutation: str | None = None
    stops_early: bool = False
    """Whether the first breach is enough."""


@dataclass(frozen=True)
class Played:
    """What one schedule came to, small enough to be sent."""

    seed: int
    charges: int
    breaches: list[str]
    coverage: Coverage


@dataclass
class Total:
    """What all of them came to."""

    schedules: int = 0
    charges: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    failed: dict[int, list[str]] = field(default_factory=dict)

    def add(self, played: Played) -> None:
        """Count one more."""
        self.schedules += 1
        self.charges += played.charges
        self.coverage.add(played.coverage)
        if played.breaches:
            self.failed[played.seed] = played.breaches


@contextmanager
def databases(count: int, postgres: Postgres | None = None) -> Iterator[list[str]]:
    """URLs of so many migrated databases; dropped afterwards."""
    if postgres is None:
        with open_postgres() as opened, databases(count, opened) as urls:
            yield urls
        return
    prefix = f"faults_{uuid4().hex[:8]}"
    names = [f"{prefix}_{number}" for number in range(count)]
    try:
        first = postgres.create_database(names[0])
        apply_bootstrap(first)
        migrate(first)
        others = [postgres.create_database(name, template=names[0]) for name in names[1:]]
        yield [postgres.nearby(url) for url in (first, *others)]
    finally:
        for name in names:
            postgres.drop_database(name)


def play_all(order: Order) -> Iterator[Played]:
    """Play, giving each as it ends. Raises RuntimeError when a worker dies."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    counter = context.Value("q", order.first)
    ends_at = time.monotonic() + 60 * order.minutes if order.minutes is not None else None
    processes = [
        context.Process(target=_work, args=(order, processor, counter, ends_at, results), daemon=True)
        for processor in _processors(order.workers)
    ]
    for process in processes:
        process.start()
    working = len(processes)
    try:
        while working:
            try:
                played = results.get(timeout=_PATIENCE_SECONDS)
            except Empty:
                raise RuntimeError("no schedule has ended for two minutes") from None
            if isinstance(played, Played):
                yield played
                continue
            working -= 1
            if played is not None:
                raise RuntimeError(f"a worker ended: {played}")
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _processors(workers: int) -> list[int | None]:
    """One for each worker where they have the machine to themselves, else whichever is free."""
    usable = sorted(os.sched_getaffinity(0))
    return [*usable] if workers == len(usable) > 1 else [None] * workers


def _work(
    order: Order, processor: int | None, counter: "Synchronized[int]", ends_at: float | None, results: Any
) -> None:
    from local.faults.bench import open_bench
    from local.faults.schedule import plan
    from local.faults.simulation import Simulation

    if processor is not None:
        # With its own Postgres, which is started from here: the two take turns, and wake no other processor.
        os.sched_setaffinity(0, {processor})
    trouble: str | None = None
    try:
        with databases(1) as (url,), open_bench(url, mutation=order.mutation) as bench:
            for number in _seeds(order, counter, ends_at):
                result = Simulation(bench, plan(number)).play()
                results.put(Played(number, result.charges, result.breaches, result.coverage))
                if number % _TIDY_EVERY == 0:
                    bench.database.tidy()
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises
        trouble = repr(error)
    results.put(trouble)


def _seeds(order: Order, counter: "Synchronized[int]", ends_at: float | None) -> Iterator[int]:
    parent = multiprocessing.parent_process()
    while ends_at is None or time.monotonic() < ends_at:
        if parent is not None and not parent.is_alive():  # it was killed, and nobody reads what we play
            return
        with counter.get_lock():
            number = counter.value
            counter.value += 1
        if order.minutes is None and number >= order.first + order.schedules:
            return
        yield number
