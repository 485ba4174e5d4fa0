"""Giving money back, and what the books say afterwards."""

from typing import Any

from tests.support.aftermath import Books, books
from tests.support.story import Scene


def refund(scene: Scene, amount: int | None = None, key: str | None = None) -> Any:
    """Fulfilment gives money back."""
    body = {} if amount is None else {"amount_minor": amount}
    headers = {} if key is None else {"idempotency_key": key}
    return scene.machine.post(f"/bookings/{scene.booking['id']}/refund", body, **headers)


def settled(scene: Scene) -> Books:
    """The books once every webhook has arrived."""
    scene.traveller.stripe.flush()
    return books(scene.traveller, scene.booking)


def money(scene: Scene) -> tuple[str, int, int, tuple[int, int]]:
    """The booking's status, what was refunded by us and at Stripe, and the campaign's reserved and spent."""
    ended = settled(scene)
    (charge,) = scene.traveller.stripe.taken(scene.traveller.customer_id)
    shown = scene.traveller.booking(scene.booking)
    return ended.booking, shown["amount_refunded_minor"], charge["amount_refunded"], ended.reserved_and_spent
