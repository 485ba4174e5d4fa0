"""Calls scheduled Lambdas as EventBridge Scheduler does, oftener: nobody who tries things out waits five minutes."""

import logging
import threading
from dataclasses import dataclass

from local.lambda_runtime import FunctionError, LambdaFunction

_logger = logging.getLogger(__name__)
TIMEOUT_SECONDS = 60.0
"""What a scheduled function may take; its next call waits for it."""


@dataclass(frozen=True)
class Schedule:
    """A function and how long to wait between two of its calls."""

    function: LambdaFunction
    every_seconds: float

    def start(self) -> threading.Event:
        """Call it until the event that this gives is set, on a thread that does not keep the process alive."""
        stop = threading.Event()
        threading.Thread(target=self._run, args=[stop], name=self.function.name, daemon=True).start()
        return stop

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self.every_seconds):
            try:
                self.function.invoke({})
            except FunctionError:
                _logger.warning("%s failed; it is called again", self.function.name)
