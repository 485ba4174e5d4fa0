"""POST /webhook: Stripe tells what happened. Verify the raw bytes, store once, settle, 200.

Any 5xx makes Stripe send the event again, for up to three days, so nothing that could not be committed is lost.
"""

from functools import partial

from pydantic import BaseModel

from functions.shared import charging, database, logs, metrics
from functions.shared.problems import Problem
from functions.shared.schemas import ProblemDocument
from functions.shared.settings import StripeSettings, WebhookSettings, function_settings, read
from functions.shared.stripe_events.event import Event
from functions.shared.stripe_events.inbox import receive
from functions.shared.stripe_gateway import gateway
from functions.shared.web import Answer, Api, Call, NoQuery
from functions.webhook.verification import SignatureInvalid, verified_event

api = Api("webhook")
for group in (StripeSettings, WebhookSettings):
    api.needs(partial(read, group))
api.needs(partial(function_settings, "webhook"))


class Receipt(BaseModel):
    """What became of an event; Stripe looks at the status only."""

    id: str
    status: str
    result: str
    duplicate: bool


@api.operation("POST", "/webhook", who="stripe", answers={200: Receipt, 400: ProblemDocument, 503: ProblemDocument})
@metrics.timed("WebhookProcessing")
def webhook(call: Call[None, NoQuery]) -> Answer:
    """Take one event."""
    event = _verified(call)
    with logs.bound(event_id=event.id, event_type=event.type):
        rows = database.as_function("webhook", call.request_id)
        applied = receive(rows, event)
        logs.log(
            logs.INFO,
            "event",
            status=applied["status"],
            result=applied["result"],
            booking_id=applied.get("booking_id"),
        )
        if applied["status"] == "failed":
            raise Problem("event_not_applied")
        step = applied.get("next")
        if step and step["do"] in charging.STRIPE_STEPS:
            charging.take_steps(rows, gateway(), call.deadline, step)
    return Answer(
        200,
        {
            "id": event.id,
            "status": applied["status"],
            "result": applied["result"],
            "duplicate": applied["duplicate"],
        },
    )


def _verified(call: Call[None, NoQuery]) -> Event:
    try:
        return verified_event(
            call.raw_body, call.headers.get("stripe-signature"), read(WebhookSettings).stripe_webhook_secrets
        )
    except SignatureInvalid as reason:
        raise Problem("invalid_signature", str(reason)) from None


handler = api.handler()
