"""A schedule calls its function again and again, whatever the last call did."""

import threading

from local.lambda_runtime import LambdaFunction
from local.schedule import Schedule

PATIENCE_SECONDS = 10


def test_a_schedule_goes_on_after_an_error() -> None:
    calls: list[float] = []
    enough = threading.Event()

    def fails(event: object, context: object) -> None:
        assert event == {}
        assert context is not None
        calls.append(1)
        if len(calls) == 3:
            enough.set()
        raise RuntimeError("this call fails")

    stop = Schedule(LambdaFunction("fails", fails), 0.01).start()

    assert enough.wait(PATIENCE_SECONDS)
    stop.set()
