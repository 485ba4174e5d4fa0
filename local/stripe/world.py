"""The whole state of one stand-in account, and the services that resources use."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.stripe.clock import Clock
from local.stripe.faults import Faults
from local.stripe.idempotency import IdempotencyKeys
from local.stripe.ids import Ids
from local.stripe.schedule import Schedule
from local.stripe.store import Table
from local.stripe.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.stripe.issuer import CardState
    from local.stripe.kinds import Json
    from local.stripe.settings import Settings


# A stack that runs for days must not grow with every request.
_REMEMBERED_REQUESTS = 20_000


@dataclass(frozen=True)
class Call:
    """One request that a resource handles: validated parameters and the ids in its path."""

    params: Json = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    path: str = ""
    client: bool = False  # made with the publishable key, as Stripe.js does
    base_url: str = ""
    request_id: str | None = None
    idempotency_key: str | None = None

    @property
    def id(self) -> str:
        """The first id in the path."""
        return self.ids[0]


class StripeWorld:
    """Customers, intents, charges and everything else of one account.

    ``lock`` guards all of it: :mod:`local.stripe.gate` takes it for each request, and so must whoever reads or
    changes a world from another thread.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        self.lock = threading.RLock()
        self._begin(wake=lambda: None)

    def reset(self) -> None:
        """Forget everything, as if just started; only the clock goes on."""
        with self.lock:
            self._begin(wake=self.webhooks.wake)

    def _begin(self, wake: Callable[[], None]) -> None:
        settings = self.settings
        self.ids = Ids(settings.seed)
        self.schedule = Schedule(self.clock)
        self.idempotency = IdempotencyKeys(self.clock, settings.idempotency_ttl_seconds)
        self.faults = Faults(settings.seed)
        self.webhooks = Webhooks(settings)
        self.webhooks.wake = wake
        self.requests: deque[Json] = deque(maxlen=_REMEMBERED_REQUESTS)
        self.call = Call()
        self.cards: dict[str, CardState] = {}

        self.customers = Table("customer", "cus", "id")
        self.payment_methods = Table("PaymentMethod", "pm", "payment_method")
        self.setup_intents = Table("setupintent", "seti", "intent")
        self.setup_attempts = Table("setupattempt", "setatt", "id")
        self.payment_intents = Table("payment_intent", "pi", "intent")
        self.charges = Table("charge", "ch", "charge")
        self.refunds = Table("refund", "re", "refund")
        self.disputes = Table("dispute", "du", "dispute")
        self.early_fraud_warnings = Table("early fraud warning", "issfr", "early_fraud_warning")
        self.reviews = Table("review", "prv", "review")
        self.mandates = Table("mandate", "mandate", "mandate")
        self.balance_transactions = Table("balance transaction", "txn", "id")
        self.events = Table("event", "evt", "id")
        self.webhook_endpoints = Table("webhook endpoint", "we", "webhook_endpoint")
        for target in settings.webhooks:
            self._listen(target.url, target.secret, target.enabled_events)

    @property
    def tables(self) -> dict[str, Table]:
        """Every table by attribute name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Table)}

    def _listen(self, url: str, secret: str, enabled_events: tuple[str, ...]) -> None:
        same = [row for row in self.webhook_endpoints if row["url"] == url]
        if same:  # one URL with several secrets: a secret being rotated, signed with each
            self.webhooks.secrets[same[0]["id"]].append(secret)
            return
        endpoint = self.webhook_endpoints.add(self.new_endpoint(url, list(enabled_events), None))
        self.webhooks.add_endpoint(endpoint, [secret])

    def new_endpoint(self, url: str, enabled_events: list[str], api_version: str | None) -> Json:
        """A webhook endpoint object."""
        return {
            "id": self.ids.new("we"),
            "object": "webhook_endpoint",
            "api_version": api_version,
            "application": None,
            "created": self.clock.timestamp(),
            "description": None,
            "enabled_events": enabled_events,
            "livemode": False,
            "metadata": {},
            "status": "enabled",
            "url": url,
        }

    def find(self, object_id: str) -> Json | None:
        """Any object by its id: the prefix says its kind."""
        prefix = object_id.split("_", 1)[0]
        for table in self.tables.values():
            if table.prefix == prefix:
                return table.find(object_id)
        return None

    def emit(self, kind: str, subject: Json, previous: Json | None = None) -> Json:
        """Record an event with a copy of its object and owe it to every endpoint that wants its type."""
        data: dict[str, Any] = {"object": json.loads(json.dumps(subject))}
        if previous is not None:
            data["previous_attributes"] = json.loads(json.dumps(previous))
        listeners = self.webhooks.listeners(kind)
        event = self.events.add(
            {
                "id": self.ids.new("evt"),
                "object": "event",
                "api_version": self.settings.api_version,
                "created": self.clock.timestamp(),
                "data": data,
                "livemode": False,
                "pending_webhooks": len(listeners),
                "request": {"id": self.call.request_id, "idempotency_key": self.call.idempotency_key},
                "type": kind,
            }
        )
        for endpoint in listeners:
            self._send(event, endpoint)
        return event

    def _send(self, event: Json, endpoint: Json) -> None:
        rule = self.faults.for_webhook(event["type"])
        if rule is None:
            self.webhooks.enqueue(event, endpoint)
            return
        match rule.kind:
            case "webhook_duplicate":
                for copy in range(rule.copies + 1):
                    self.webhooks.enqueue(event, endpoint, delay_seconds=rule.seconds if copy else 0.0)
            case "webhook_delay":
                self.webhooks.enqueue(event, endpoint, delay_seconds=rule.seconds)
            case "webhook_reorder":
                self.webhooks.enqueue(event, endpoint, delay_seconds=self.faults.part_of(rule.seconds))
            case "webhook_api_version":
                self.webhooks.enqueue(event, endpoint, api_version=rule.api_version)
            case _:
                self.webhooks.lose(self.webhooks.enqueue(event, endpoint))

    def tick(self) -> int:
        """Do what the simulated clock has made due; returns how many things happened. Takes the lock."""
        with self.lock:
            self.call = Call()
            return self.schedule.run_due()

    def advance(self, seconds: float) -> int:
        """Move the clock forward and do what becomes due on the way."""
        with self.lock:
            self.clock.advance(seconds)
            return self.tick()
