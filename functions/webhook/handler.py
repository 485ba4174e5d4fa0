"""POST /webhook: Stripe tells what happened. Verify the raw bytes, store once, settle, 200.

Any 5xx makes Stripe send the event again, for up to three days, so nothing that could not be committed is lost.
"""

from functools import partial
from typing import Any

from pydantic import BaseModel

from functions.shared import charging, database, logs
from functions.shared.problems import Problem
from functions.shared.schemas import ProblemDocument
from functions.shared.settings import StripeSettings, SupabaseSettings, WebhookSettings, read
from functions.shared.stripe_gateway import gateway
from functions.shared.stripe_sdk import stripe
from functions.shared.web import Answer, Api, Call, NoQuery
from functions.webhook.event_table import HANDLED
from functions.webhook.verification import Event, SignatureInvalid, verified_event

api = Api("webhook")
for group in (SupabaseSettings, StripeSettings, WebhookSettings):
    api.needs(partial(read, group))


class Receipt(BaseModel):
    """What became of an event; Stripe looks at the status only."""

    id: str
    status: str
    result: str
    duplicate: bool


@api.operation("POST", "/webhook", who="stripe", answers={200: Receipt, 400: ProblemDocument, 503: ProblemDocument})
def webhook(call: Call[None, NoQuery]) -> Answer:
    """Take one event."""
    event = _verified(call)
    with logs.bound(event_id=event.id, event_type=event.type):
        rows = database.service(call.request_id)
        applied: dict[str, Any] = rows.call("receive_event", p_event=_to_store(event))
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


def _to_store(event: Event) -> dict[str, Any]:
    """The event as SQL takes it: the envelope, its family and facts, and whether it is not to be trusted blindly."""
    flag = None
    if event.livemode != read(StripeSettings).livemode:
        flag = "wrong_livemode"
    elif event.api_version != stripe.api_version and event.type in HANDLED:
        flag = "wrong_api_version"
    family = HANDLED.get(event.type)
    return {
        "id": event.id,
        "type": event.type,
        "api_version": event.api_version,
        "livemode": event.livemode,
        "created": event.created,
        "object_id": event.data.object.get("id"),
        "handler": family.name if family else None,
        "facts": family.read(event) if family and not flag else {},
        "flag": flag,
    }


handler = api.handler()
