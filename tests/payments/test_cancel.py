"""Calling off: in every state, twice, too late, and while nobody knows what happened."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.payments.giving_back import money, refund, settled
from tests.support.aftermath import RELEASED, RESERVED, SPENT, Reconcile, Wire
from tests.support.http import ok, refused
from tests.support.story import Scene
from tests.support.travellers import Json
from tests.support.waiting import until

CREATE = "/v1/payment_intents$"


def cancel(scene: Scene) -> Any:
    """The user calls the booking off."""
    return scene.traveller.api.post(f"/bookings/{scene.booking['id']}/cancel")


def lose_the_answer(scene: Scene, kind: str) -> None:
    """Charge while Stripe's answer gets lost: nobody knows what became of it."""
    scene.set_up()
    scene.traveller.stripe.hold()
    scene.traveller.stripe.fault(kind, match=CREATE)
    scene.booking = ok(scene.traveller.charge(scene.campaign, scene.traveller.offer()), 202)
    assert scene.booking["status"] == "charging"


NOTHING_TAKEN: dict[str, Json] = {
    "requires_action": {"behaviour": {"behaviour": "authentication_required"}},
    "retry_scheduled": {"behaviour": {"behaviour": "insufficient_funds"}},
    "authorized": {"capture": "manual"},
}


@pytest.mark.parametrize("status", NOTHING_TAKEN)
def test_cancelling_what_is_not_made_yet(scene: Scene, status: str) -> None:
    scene.set_up(**NOTHING_TAKEN[status])
    scene.charge()
    assert scene.traveller.booking(scene.booking)["status"] == status

    done = ok(cancel(scene))

    assert done["status"] == "cancelled"
    assert "cancelled this booking" in done["user_message"]
    ended = settled(scene)
    assert (ended.booking, ended.intent, ended.ledger) == ("cancelled", "canceled", (RESERVED, RELEASED))
    assert (ended.reserved_and_spent, ended.told) == ((0, 0), ("booking_cancelled",))
    assert ended.campaign == ("active", None), "who calls off one booking may want the next"
    assert scene.traveller.stripe.taken(scene.traveller.customer_id) == [] or ended.charges == ("uncaptured",)


def test_cancelling_twice_is_cancelling_once(scene: Scene) -> None:
    scene.set_up(capture="manual")
    scene.charge()

    first, second = ok(cancel(scene)), ok(cancel(scene))

    assert first == second
    assert settled(scene).told == ("booking_cancelled",)


def test_a_booking_that_was_made_is_not_cancelled_but_refunded(scene: Scene) -> None:
    scene.set_up()
    scene.charge()

    refused(cancel(scene), 409, "booking_not_cancellable")
    ok(refund(scene))
    refused(cancel(scene), 409, "booking_not_cancellable")

    assert settled(scene).booking == "refunded"


def test_a_booking_that_failed_is_not_cancelled(scene: Scene) -> None:
    scene.set_up(behaviour={"behaviour": "generic_decline"})
    scene.charge()

    refused(cancel(scene), 409, "booking_not_cancellable")

    assert settled(scene).booking == "failed"


@pytest.mark.parametrize("kind", ["drop_after", "error_after"])
def test_cancelling_a_charge_that_succeeded_unseen_refunds_it(scene: Scene, reconcile: Reconcile, kind: str) -> None:
    lose_the_answer(scene, kind)

    cancel(scene)
    reconcile.due(scene.booking)

    ended = settled(scene)
    assert money(scene) == ("refunded", 12_000, 12_000, (0, 0))
    assert ended.ledger == (RESERVED, SPENT, ("refund", 12_000))
    assert ended.attempts == ("succeeded",)
    assert ended.campaign == ("active", None)


def test_cancelling_a_charge_that_never_arrived_charges_nothing(scene: Scene, reconcile: Reconcile) -> None:
    lose_the_answer(scene, "drop_before")

    cancel(scene)
    reconcile.due(scene.booking)

    ended = settled(scene)
    assert (ended.booking, ended.attempts, ended.ledger) == ("cancelled", ("voided",), (RESERVED, RELEASED))
    assert (ended.intent, ended.charges, ended.told) == (None, (), ("booking_cancelled",))
    assert "You cancelled" in scene.traveller.booking(scene.booking)["user_message"]


def test_cancelling_while_the_charge_is_at_stripe(scene: Scene, reconcile: Reconcile) -> None:
    """The charging function is in its call when the user cancels: it is not disturbed, and its money goes back."""
    scene.set_up()
    offer = scene.traveller.offer()
    scene.traveller.stripe.fault("latency", match=CREATE, seconds=0.8)
    with ThreadPoolExecutor(1) as threads:
        charging = threads.submit(scene.traveller.charge, scene.campaign, offer)
        (scene.booking,) = until(scene.traveller.bookings)
        waiting = ok(cancel(scene), 202)
        charged = charging.result()
    assert waiting["status"] == "charging"
    assert charged.status_code in (201, 202)
    reconcile.due(scene.booking)

    assert money(scene) == ("refunded", 12_000, 12_000, (0, 0))


def test_cancelling_while_the_bank_takes_its_time(scene: Scene, reconcile: Reconcile) -> None:
    """A payment that is processing at a card's bank can be cancelled, and then takes nothing."""
    scene.set_up(behaviour={"behaviour": "processing", "seconds": 3_600})
    scene.charge()

    ok(cancel(scene))
    reconcile.due(scene.booking)

    ended = settled(scene)
    assert (ended.booking, ended.intent, ended.reserved_and_spent) == ("cancelled", "canceled", (0, 0))


def test_cancelling_is_finished_by_reconcile_when_stripe_is_away(scene: Scene, reconcile: Reconcile) -> None:
    scene.set_up(behaviour={"behaviour": "authentication_required"})
    scene.charge()
    scene.traveller.stripe.fault("error_before", match="/cancel$", remember=False)

    waiting = ok(cancel(scene), 202)
    assert waiting["status"] == "requires_action", "no end before Stripe has said it"
    assert settled(scene).reserved_and_spent == (12_000, 0)
    reconcile.due(scene.booking)

    assert (settled(scene).booking, settled(scene).intent) == ("cancelled", "canceled")


def test_cancelling_against_a_cardholder_who_just_succeeded(scene: Scene, wire: Wire) -> None:
    """Stripe had the success before it had the cancellation: the booking was made, and its money goes back."""
    scene.set_up(behaviour={"behaviour": "authentication_required"})
    scene.charge()
    scene.live = False
    with wire.cut():
        scene.authenticate("succeed")
        ok(cancel(scene))

    assert money(scene) == ("refunded", 12_000, 12_000, (0, 0))


def test_cancelling_and_authenticating_at_once(scene: Scene, reconcile: Reconcile) -> None:
    scene.set_up(behaviour={"behaviour": "authentication_required"})
    scene.charge()
    assert scene.page.confirm(scene.traveller, scene.booking, scene.card) == "requires_action"
    intent_id = scene.intent_id

    with ThreadPoolExecutor(2) as threads:
        cancelling = threads.submit(cancel, scene)
        answering = threads.submit(scene.traveller.stripe._control.post, "/authenticate", json={"intent": intent_id})
        cancelling.result()
        answering.result()
    scene.traveller.stripe.flush()
    reconcile.due(scene.booking)

    ended = settled(scene)
    assert (ended.booking, ended.intent) in {("cancelled", "canceled"), ("refunded", "succeeded")}
    assert ended.reserved_and_spent == (0, 0)
