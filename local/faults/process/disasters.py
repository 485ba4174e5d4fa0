"""What is done to the house, one disaster at a time, each undone at its end."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from local.faults.process.house import House


@dataclass
class Disaster:
    """One that happened: when it began and was undone (UTC), and what there is to say."""

    kind: str
    began: datetime
    undone: datetime
    remark: str = ""
    failures: int = 0
    """Calls that were answered with a 5xx or not at all meanwhile."""
    recovered_after_seconds: float | None = None
    """From its undoing until a booking that began after that was confirmed; None: the run ended before one was."""

    @property
    def out_seconds(self) -> float:
        """How long it lasted."""
        return (self.undone - self.began).total_seconds()


def postgres_killed(house: House, patience_seconds: float) -> str:
    """The machine that runs the database loses its processes; the disk stays."""
    house.kill_postgres()
    time.sleep(patience_seconds)
    house.resume_postgres()
    return f"kill -9, down {patience_seconds:.1f} s"


def gateway_killed(house: House, patience_seconds: float) -> str:
    """Every Lambda environment dies in the middle of what it does."""
    house.kill("local.gateway")
    time.sleep(patience_seconds)
    house.stack.restart("local.gateway")
    return f"kill -9, down {patience_seconds:.1f} s"


def queue_killed(house: House, patience_seconds: float) -> str:
    """The queue's worker dies, and here every message with it, as SQS lives in the same process."""
    house.kill("local.queue")
    time.sleep(patience_seconds)
    house.stack.restart("local.queue")
    return "kill -9, all messages lost"


def stripe_stalled(house: House, patience_seconds: float) -> str:
    """Stripe takes connections and answers nobody."""
    seconds = 4 * patience_seconds
    house.stall("local.stripe")
    try:
        time.sleep(seconds)
    finally:
        house.go_on("local.stripe")
    return f"no answers for {seconds:.1f} s"


def disk_full(house: House, patience_seconds: float) -> str:
    """Not a byte is left on the database's volume."""
    taken = house.fill_disk()
    try:
        time.sleep(3 * patience_seconds)
    finally:
        restarted = house.free_disk()
    return f"{taken // 2**20} MiB taken for {3 * patience_seconds:.1f} s" + (
        ", Postgres went down" if restarted else ""
    )


_ALL: tuple[Callable[[House, float], str], ...] = (
    postgres_killed,
    gateway_killed,
    stripe_stalled,
    queue_killed,
    disk_full,
)


def choose(house: House, chance: random.Random) -> list[Callable[[House, float], str]]:
    """One of each, in random order; no full disk where there is no volume of our own to fill."""
    possible = [each for each in _ALL if each is not disk_full or house.volume is not None]
    chance.shuffle(possible)
    return possible


def let_happen(house: House, disaster: Callable[[House, float], str], patience_seconds: float) -> Disaster:
    """Bring it about and undo it."""
    began = datetime.now(UTC)
    remark = disaster(house, patience_seconds)
    return Disaster(disaster.__name__.replace("_", " "), began, datetime.now(UTC), remark)
