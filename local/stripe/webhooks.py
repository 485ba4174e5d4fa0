"""Webhook endpoints and deliveries: what is owed to whom, signed, retried, and recorded.

This module decides; :mod:`local.stripe.courier` posts. An in-process driver may take :meth:`Webhooks.due` and
:meth:`Webhooks.request_for` and deliver by any means it likes.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.stripe.kinds import Json
    from local.stripe.settings import Settings


@dataclass
class Attempt:
    """One try to deliver: when (real time), and the status, or None when nothing answered."""

    at: float
    status: int | None


@dataclass
class Delivery:
    """One event owed to one endpoint."""

    id: str
    event: Json
    endpoint_id: str
    due: float
    api_version: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    state: str = "waiting"  # waiting, sending, delivered, failed, lost
    held: bool = False

    def record(self) -> Json:
        """How the control routes show a delivery."""
        return {
            "id": self.id,
            "event": self.event["id"],
            "type": self.event["type"],
            "endpoint": self.endpoint_id,
            "state": self.state,
            "held": self.held,
            "attempts": [{"at": each.at, "status": each.status} for each in self.attempts],
        }


@dataclass(frozen=True)
class WebhookRequest:
    """What to post."""

    url: str
    body: bytes
    headers: dict[str, str]


def sign(body: bytes, secrets: list[str], timestamp: int) -> str:
    """The ``Stripe-Signature`` header: one ``v1`` per secret (https://docs.stripe.com/webhooks#verify-manually)."""
    payload = f"{timestamp}.".encode() + body
    marks = [hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={mark}" for mark in marks)])


class Webhooks:
    """All endpoints and deliveries. Run under the world's lock; ``wake`` is called when something becomes due."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._numbers = itertools.count(1)
        self.endpoints: dict[str, Json] = {}
        self.secrets: dict[str, list[str]] = {}
        self.deliveries: dict[str, Delivery] = {}
        self._open: dict[str, Delivery] = {}
        self._by_event: dict[str, list[Delivery]] = {}
        self.holding = False
        self.wake: Callable[[], None] = lambda: None
        self.real_clock: Callable[[], float] = time.time

    def add_endpoint(self, endpoint: Json, secrets: list[str]) -> None:
        """Send events to an endpoint from now on, signed with each of the secrets."""
        self.endpoints[endpoint["id"]] = endpoint
        self.secrets[endpoint["id"]] = secrets

    def remove_endpoint(self, endpoint_id: str) -> None:
        """Send nothing more to an endpoint."""
        self.endpoints.pop(endpoint_id, None)
        self.secrets.pop(endpoint_id, None)
        for delivery in [each for each in self._open.values() if each.endpoint_id == endpoint_id]:
            self._close(delivery, "failed")

    def listeners(self, event_type: str) -> list[Json]:
        """The endpoints that want events of a type."""
        return [
            endpoint
            for endpoint in self.endpoints.values()
            if endpoint["status"] == "enabled" and {"*", event_type} & set(endpoint["enabled_events"])
        ]

    def enqueue(
        self, event: Json, endpoint: Json, *, delay_seconds: float = 0.0, api_version: str | None = None
    ) -> Delivery:
        """Owe an event to an endpoint."""
        delivery = Delivery(
            id=f"dlv_{next(self._numbers)}",
            event=event,
            endpoint_id=endpoint["id"],
            due=self.real_clock() + delay_seconds,
            api_version=api_version or endpoint["api_version"],
            held=self.holding,
        )
        self.deliveries[delivery.id] = self._open[delivery.id] = delivery
        self._by_event.setdefault(event["id"], []).append(delivery)
        self.wake()
        return delivery

    def due(self) -> list[Delivery]:
        """Deliveries to try now; they are marked as being sent."""
        now = self.real_clock()
        ready = [each for each in self._open.values() if each.state == "waiting" and not each.held and each.due <= now]
        for delivery in ready:
            delivery.state = "sending"
        return ready

    def seconds_to_next(self) -> float | None:
        """How long until the next delivery is due, or None when nothing waits."""
        times = [each.due for each in self._open.values() if each.state == "waiting" and not each.held]
        return max(0.0, min(times) - self.real_clock()) if times else None

    def request_for(self, delivery: Delivery) -> WebhookRequest:
        """The signed request of one attempt: every attempt is signed anew, as at Stripe."""
        endpoint = self.endpoints[delivery.endpoint_id]
        event = {**delivery.event}
        if delivery.api_version is not None:
            event["api_version"] = delivery.api_version
        body = json.dumps(event, indent=2).encode()
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "stripe-signature": sign(body, self.secrets[endpoint["id"]], int(self.real_clock())),
        }
        return WebhookRequest(endpoint["url"], body, headers)

    def is_open(self, delivery: Delivery) -> bool:
        """Whether a delivery is still owed: its endpoint may be gone, or the world begun anew."""
        return self._open.get(delivery.id) is delivery

    def finished(self, delivery: Delivery, status: int | None) -> None:
        """Record an attempt; without a 2xx the delivery is tried again until the schedule is used up."""
        delivery.attempts.append(Attempt(self.real_clock(), status))
        if not self.is_open(delivery):
            return
        if status is not None and 200 <= status < 300:
            self._close(delivery, "delivered")
            return
        failures = len(delivery.attempts)
        if failures > len(self._settings.webhook_retry_seconds):
            self._close(delivery, "failed")
            return
        delivery.state = "waiting"
        delivery.due = self.real_clock() + self._settings.webhook_retry_seconds[failures - 1]

    def _close(self, delivery: Delivery, state: str) -> None:
        delivery.state = state
        self._open.pop(delivery.id, None)
        if state == "delivered":
            delivery.event["pending_webhooks"] = max(0, delivery.event["pending_webhooks"] - 1)

    def lose(self, delivery: Delivery) -> None:
        """Never deliver it: what a firewall or a wrong URL does to a webhook."""
        self._close(delivery, "lost")

    def hold(self) -> None:
        """Keep back everything that becomes due from now on, and what still waits."""
        self.holding = True
        for delivery in self._open.values():
            delivery.held = True

    def release(self, delivery_ids: list[str] | None = None) -> int:
        """Let held deliveries go (all without ids), due at once; returns how many are on their way."""
        if delivery_ids is None:
            self.holding = False
        chosen = [each for each in self._open.values() if delivery_ids is None or each.id in delivery_ids]
        for delivery in chosen:
            delivery.held = False
            if delivery.state == "waiting":
                delivery.due = self.real_clock()
        self.wake()
        return len(chosen)

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way (what is held doesn't count)."""
        return all(each.held and each.state == "waiting" for each in self._open.values())

    def delivered_everywhere(self, event_id: str) -> bool:
        """What the events list's ``delivery_success`` asks."""
        return all(each.state == "delivered" for each in self._by_event.get(event_id, []))
