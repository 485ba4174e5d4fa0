"""The background work of a running server: deliver webhooks in parallel, and let time do its work."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from local.stripe.webhooks import Delivery
    from local.stripe.world import StripeWorld

# How often the simulated clock is looked at when nothing is known to be due.
_IDLE_SECONDS = 0.5


class Courier:
    """Posts what :class:`local.stripe.webhooks.Webhooks` says is due, until cancelled."""

    def __init__(self, world: StripeWorld) -> None:
        self._world = world
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(world.settings.webhook_parallel)
        self._sending: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()

    async def run(self) -> None:
        """Deliver for ever; cancel to stop, which also stops what is being sent."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server is stopping
                loop.call_soon_threadsafe(self._wake.set)

        self._world.webhooks.wake = wake
        # A webhook must reach its receiver, not a proxy of this machine.
        async with httpx.AsyncClient(timeout=self._world.settings.webhook_timeout_seconds, trust_env=False) as client:
            try:
                while True:
                    self._wake.clear()
                    self._start_due(client)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), self._pause_seconds())
            finally:
                self._world.webhooks.wake = lambda: None
                for task in self._sending:
                    task.cancel()
                await asyncio.gather(*self._sending, return_exceptions=True)

    def _start_due(self, client: httpx.AsyncClient) -> None:
        with self._world.lock:
            self._world.tick()
            due = self._world.webhooks.due()
        for delivery in due:
            task = asyncio.create_task(self._send(client, delivery))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _pause_seconds(self) -> float:
        with self._world.lock:
            waits = (self._world.webhooks.seconds_to_next(), self._world.schedule.seconds_to_next())
        return min([_IDLE_SECONDS, *(wait for wait in waits if wait is not None)])

    async def _send(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        async with self._slots:
            with self._world.lock:
                if not self._world.webhooks.is_open(delivery):
                    return
                request = self._world.webhooks.request_for(delivery)
            status: int | None = None
            try:
                response = await client.post(request.url, content=request.body, headers=request.headers)
                status = response.status_code
            except httpx.HTTPError:
                status = None  # nothing answered: recorded as such, and tried again
            with self._world.lock:
                self._world.webhooks.finished(delivery, status)
        self._wake.set()
        self._progress.set()

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until nothing is on its way any more; False when that takes too long."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not self._idle():
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    def _idle(self) -> bool:
        with self._world.lock:
            return self._world.webhooks.idle
