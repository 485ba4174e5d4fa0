"""How what reconcile finds came to be open: answers that were lost, and time that has passed."""

from typing import Any

from tests.functions.reconcile.conftest import Tamper
from tests.support.aftermath import Wire
from tests.support.http import ok
from tests.support.travellers import Json, Traveller, in_time

PAYMENTS = "/v1/payment_intents$"
AFTER_THE_EFFECT = {"kind": "drop_after", "match": PAYMENTS}
BEFORE_THE_EFFECT = {"kind": "drop_before", "match": PAYMENTS}


def mine(lines: list[Json], booking: Json) -> list[Json]:
    """What a job said of a booking."""
    return [line for line in lines if line.get("booking_id") == booking["id"]]


def lose_the_answer(traveller: Traveller, wire: Wire, fault: Json, **campaign: Any) -> Json:
    """Charge while Stripe's answer and its webhooks get lost: a booking of which nobody knows what became."""
    opened = traveller.open_campaign(**campaign)
    offer = traveller.offer(expires_at=in_time(days=20))
    with wire.cut():
        traveller.stripe.fault(**fault)
        booking: Json = ok(traveller.charge(opened, offer), 202)
    assert booking["status"] == "charging"
    return booking


def age(tamper: Tamper, booking: Json, interval: str) -> None:
    """Let time have passed since the booking was begun."""
    for table, column_name in (("bookings", "id"), ("attempts", "booking_id")):
        changed = tamper(
            f"update public.{table} set created_at = created_at - %s::interval, updated_at = updated_at - %s::interval "  # noqa: S608 - names from the line above
            f"where {column_name} = %s",
            interval,
            interval,
            booking["id"],
        )
        assert changed
