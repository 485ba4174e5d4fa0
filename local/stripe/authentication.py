"""The cardholder's side of 3D Secure: answering the challenge of an intent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from local.stripe import attempts
from local.stripe.errors import StripeFault, missing_resource
from local.stripe.resources import setup_intents

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld

Outcome = Literal["succeed", "fail", "abandon"]


def find_intent(world: StripeWorld, intent_id: str) -> Json:
    """A PaymentIntent or SetupIntent by id; 404 without one."""
    intent = world.payment_intents.find(intent_id) or world.setup_intents.find(intent_id)
    if intent is None:
        raise missing_resource("intent", intent_id, "intent", in_path=True)
    return intent


def answer(world: StripeWorld, intent_id: str, outcome: Outcome) -> Json:
    """Answer the challenge as the cardholder: the intent afterwards. Abandoning leaves it requiring action.

    Raises 400 when the intent asks for nothing. A decline after a successful challenge is not an error here: it is
    in the intent's ``last_payment_error`` or ``last_setup_error``, as Stripe.js would find it.
    """
    with world.lock:
        intent = find_intent(world, intent_id)
        if intent["status"] != "requires_action":
            message = f"This intent has a status of {intent['status']}: there is no authentication to answer."
            raise StripeFault(message)
        if outcome == "abandon":
            return intent
        succeeded = outcome == "succeed"
        if intent["object"] == "payment_intent":
            attempts.finish_authentication(world, intent, succeeded=succeeded)
        else:
            _finish_setup(world, intent, succeeded=succeeded)
        return intent


def _finish_setup(world: StripeWorld, intent: Json, *, succeeded: bool) -> None:
    try:
        setup_intents.finish_authentication(world, intent, succeeded=succeeded)
    except StripeFault as refusal:
        if refusal.status != 402:
            raise
