"""Stripe in a simulation: the stand-in's world and clock, its webhooks carried by hand, its cardholders and banks."""

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from functions.shared.stripe_events.table import HANDLED
from local.faults.lambdas import STRIPE_KEY, STRIPE_PUBLISHABLE_KEY, WEBHOOK_SECRET, Context
from local.faults.stage import Invocation
from local.stripe.clock import Clock
from local.stripe.gate import Gate, Request
from local.stripe.settings import Settings, WebhookTarget
from local.stripe.webhooks import sign
from local.stripe.world import StripeWorld

if TYPE_CHECKING:
    from local.faults.draws import Draws
    from local.faults.simulation import Simulation
    from local.stripe.webhooks import Delivery

_RETRY_SECONDS = (60.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0, 43200.0, 43200.0, 43200.0)
"""Stripe's own are not published beyond "up to three days with an exponential back off"."""


def new_world(seed: int, draws: "Draws", begins_at: float) -> StripeWorld:
    """An empty account, its clock standing still until the simulation moves it."""
    hold_hours = draws.weighted(((30, 6.0), (114, 1.0), (168, 0.5)), "hold")
    settings = Settings(
        secret_key=STRIPE_KEY,
        publishable_key=STRIPE_PUBLISHABLE_KEY,
        webhooks=(WebhookTarget(url="http://webhook.invalid", secret=WEBHOOK_SECRET, enabled_events=tuple(HANDLED)),),
        seed=seed,
        webhook_retry_seconds=_RETRY_SECONDS,
        hold_seconds=hold_hours * 3600,
        hold_seconds_visa_off_session=hold_hours * 3600,
        refund_delay_seconds=draws.seconds(1, 7200, "refund delay"),
        aftermath_delay_seconds=draws.seconds(0, 3600, "aftermath delay"),
        radar_reviews_elevated_risk=True,
    )
    clock = Clock(frozen_at=begins_at + draws.between(0, 23, "hour") * 3600)
    world = StripeWorld(settings, clock)
    world.webhooks.real_clock = clock.now
    return world


def as_page(simulation: "Simulation", path: str, params: dict[str, str]) -> dict[str, Any]:
    """What Stripe.js on the cardholder's page asks, with the publishable key: the answer, an error's too."""
    request = Request(
        "POST", path, "", urlencode(params).encode(), {"authorization": f"Bearer {STRIPE_PUBLISHABLE_KEY}"}
    )
    answer: dict[str, Any] = json.loads(Gate(simulation.world).call(request).body)
    return answer


def deliver_due(simulation: "Simulation", most: int) -> int:
    """Send webhooks that are due, at most so many; how many there were."""
    webhooks = simulation.world.webhooks
    simulation.world.tick()
    due = webhooks.due()
    for later in due[most:]:
        later.state = "waiting"
    for delivery in due[:most]:
        _deliver(simulation, delivery)
    return len(due[:most])


def _deliver(simulation: "Simulation", delivery: "Delivery") -> None:
    webhooks = simulation.world.webhooks
    kind = delivery.event["type"]
    number = len(delivery.attempts) + 1
    place = f"{delivery.id}#{number}"
    lag = simulation.schedule.webhook_lag_seconds
    if lag and number == 1 and not simulation.is_calm and delivery.id not in simulation.lagging:
        simulation.lagging.add(delivery.id)
        delivery.state = "waiting"
        delivery.due = simulation.now() + simulation.draws.seconds(0, lag, place, "lag")
        return
    fault = simulation.fault_at(place, f"webhook {kind}")
    if fault is not None:
        simulation.tell(f"{delivery.id} {delivery.event['id']}", f"webhook {kind}", fault)
    match fault:
        case "lost":
            webhooks.lose(delivery)
            return
        case "delayed" | "reordered":
            delivery.state = "waiting"
            hours = (0.1, 12.0) if fault == "delayed" else (0.0005, 0.02)
            delivery.due = simulation.now() + 3600 * simulation.draws.seconds(*hours, place, fault)
            return
        case "wrong_version":
            delivery.api_version = "2019-02-11"
        case "doubled_later":
            endpoint = webhooks.endpoints[delivery.endpoint_id]
            later = simulation.draws.seconds(60, 20000, place, fault)
            webhooks.enqueue(delivery.event, endpoint, delay_seconds=later)
        case _:
            pass
    _post(simulation, delivery, answer_lost=fault == "answer_lost")
    if fault == "doubled":
        _post(simulation, delivery, answer_lost=False)


def _post(simulation: "Simulation", delivery: "Delivery", *, answer_lost: bool) -> None:
    webhooks = simulation.world.webhooks
    event = delivery.event | ({"api_version": delivery.api_version} if delivery.api_version else {})
    body = json.dumps(event).encode()  # the stand-in's own indents it, which takes ten times as long
    signature = {"stripe-signature": sign(body, webhooks.secrets[delivery.endpoint_id], int(simulation.now()))}

    def work(invocation: Invocation) -> Any:
        context = Context(f"{invocation.name}-000", simulation.now, invocation.started_at + invocation.timeout_seconds)
        return simulation.lambdas.http("POST", "/webhook", body, signature, context)

    def done(invocation: Invocation) -> None:
        status = None if invocation.failed or answer_lost else int(invocation.result[0])
        webhooks.finished(delivery, status)

    name = f"{delivery.id}:{delivery.event['type']}"
    simulation.invoke(simulation.name(name), "http webhook", work, done)
