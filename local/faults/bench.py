"""What one process needs to play schedules: opened once, used for thousands."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import time_machine

from functions.shared.surroundings import enter
from local.faults.database_side import SimulatedDatabase
from local.faults.lambdas import JWT_SECRET, Lambdas
from local.faults.mutations import planted
from local.faults.simulation import BEGINS_AT, Bench, Complaints
from local.faults.stage import Stage
from local.faults.wires import Wires


@contextmanager
def open_bench(database_url: str, *, mutation: str | None = None) -> Iterator[Bench]:
    """Prepare a migrated database for simulations, and this process: its environment, its clock, its AWS session.

    The process is not good for anything else afterwards.
    """
    database = SimulatedDatabase(database_url, jwt_secret=JWT_SECRET)
    wires = Wires()
    stage = Stage(database.waits_for_lock)
    complaints = Complaints()
    with time_machine.travel(BEGINS_AT, tick=False) as traveller, enter(wires.surroundings):
        wires.connect_aws()
        lambdas = Lambdas()
        logger = logging.getLogger("autobook")
        logger.handlers[:] = [complaints]
        logger.setLevel(logging.ERROR)
        # What lives as long as the process is not looked through again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        try:
            with planted(mutation, database):
                yield Bench(database, wires, stage, lambdas, traveller, complaints)
        finally:
            stage.close()
            database.close()
