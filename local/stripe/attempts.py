"""One attempt to pay a PaymentIntent: ask the bank, make the charge, move the intent, tell the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.stripe import holds
from local.stripe.errors import StripeFault, doc_url
from local.stripe.intents import challenge
from local.stripe.issuer import APPROVED, Verdict, judge_payment
from local.stripe.refusals import card_error, error_fields
from local.stripe.resources import aftermath, charges, payment_methods

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_FAILED_AUTHENTICATION = (
    "We are unable to authenticate your payment method. Please choose a different payment method and try again."
)
_ACTION_REFUSED = (
    "This payment required an authentication action to complete, but `error_on_requires_action` was set. When you're "
    "ready, you can upgrade your integration to handle actions at "
    "https://stripe.com/docs/payments/payment-intents/upgrade-to-handle-actions."
)


def attempt(world: StripeWorld, intent: Json, call: Call) -> None:
    """Confirm a PaymentIntent that has a usable payment method; raises the 402 of a decline."""
    off_session = bool(call.params.get("off_session", False))
    intent |= {"last_payment_error": None, "next_action": None}
    verdict = _ask(world, intent, off_session=off_session, authenticated=False)
    if verdict.answer == "challenge":
        if call.params.get("error_on_requires_action"):
            _refuse_action(world, intent)
        intent["status"] = "requires_action"
        intent["next_action"] = challenge(intent, call)
        world.emit("payment_intent.requires_action", intent)
    elif verdict.answer == "process":
        _process(world, intent, verdict, off_session=off_session)
    else:
        settle(world, intent, verdict, off_session=off_session)


def _ask(world: StripeWorld, intent: Json, *, off_session: bool, authenticated: bool) -> Verdict:
    return judge_payment(
        world.cards[intent["payment_method"]],
        off_session=off_session,
        authenticated=authenticated,
        request_three_d_secure=intent["payment_method_options"]["card"]["request_three_d_secure"],
        blocks_highest_risk=world.settings.radar_blocks_highest_risk,
    )


def settle(
    world: StripeWorld, intent: Json, verdict: Verdict, *, off_session: bool, pending: Json | None = None
) -> None:
    """Make the charge that a verdict calls for, or conclude the pending one.

    A decline raises its 402 once everything is recorded.
    """
    method = world.payment_methods.at_path(intent["payment_method"])
    if pending is None:
        charge = charges.create_for(world, intent, method, verdict, off_session=off_session)
    else:
        charge = pending
        charges.conclude(world, charge, intent, verdict, off_session=off_session)
    intent["latest_charge"] = charge["id"]
    intent["next_action"] = intent["processing"] = None
    if verdict.decline is not None:
        fields = error_fields(verdict.decline, charge=charge["id"], payment_method=method)
        world.emit("charge.failed", charge)
        _back_to_start(world, intent, fields)
        raise card_error(verdict.decline, charge=charge["id"], payment_method=method, payment_intent=intent)
    _keep_method(world, intent, method, authenticated=verdict.authenticated)
    if intent["capture_method"] == "manual":
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        world.emit("charge.succeeded", charge)
        world.emit("payment_intent.amount_capturable_updated", intent)
        holds.plan_expiry(world, intent, charge)
    else:
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        at_once = intent["capture_method"] == "automatic"
        if at_once:
            charges.book(world, charge)
        world.emit("charge.succeeded", charge)
        world.emit("payment_intent.succeeded", intent)
        if not at_once:
            charges.book_later(world, charge)
    aftermath.after_charge(world, intent, charge, authenticated=verdict.authenticated)


def _back_to_start(world: StripeWorld, intent: Json, error: Json) -> None:
    intent |= {
        "last_payment_error": error,
        "next_action": None,
        "payment_method": None,
        "processing": None,
        "status": "requires_payment_method",
    }
    world.emit("payment_intent.payment_failed", intent)


def _keep_method(world: StripeWorld, intent: Json, method: Json, *, authenticated: bool) -> None:
    """``setup_future_usage`` saves the card; without a customer a card can be used once."""
    state = world.cards[method["id"]]
    if intent["setup_future_usage"] is not None and intent["customer"] is not None:
        payment_methods.attach_to(world, method, intent["customer"])
        if authenticated and intent["setup_future_usage"] == "off_session":
            state.set_up = True
    elif method["customer"] is None:
        state.consumed = True


def _refuse_action(world: StripeWorld, intent: Json) -> None:
    method = world.payment_methods.at_path(intent["payment_method"])
    code = "authentication_required"
    error = {
        "code": code,
        "decline_code": code,
        "doc_url": doc_url(code),
        "message": _ACTION_REFUSED,
        "payment_method": method,
        "type": "card_error",
    }
    _back_to_start(world, intent, error)
    extra = {**error, "payment_intent": intent}
    raise StripeFault(_ACTION_REFUSED, status=402, kind="card_error", code=code, extra=extra)


def _process(world: StripeWorld, intent: Json, verdict: Verdict, *, off_session: bool) -> None:
    """The bank takes its time: a pending charge now, the answer later and by events alone."""
    method = world.payment_methods.at_path(intent["payment_method"])
    charge = charges.create_for(world, intent, method, verdict, off_session=off_session)
    intent |= {"latest_charge": charge["id"], "status": "processing", "processing": {"type": "card"}}
    world.emit("charge.pending", charge)
    world.emit("payment_intent.processing", intent)

    def finish() -> None:
        if intent["status"] == "processing":
            outcome = APPROVED if verdict.decline is None else Verdict("decline", verdict.decline)
            _quietly(world, intent, outcome, off_session=off_session, pending=charge)

    world.schedule.after(verdict.seconds, finish)


def _quietly(
    world: StripeWorld, intent: Json, verdict: Verdict, *, off_session: bool, pending: Json | None = None
) -> None:
    """Settle where no request waits for the answer: a decline is told by events alone."""
    try:
        settle(world, intent, verdict, off_session=off_session, pending=pending)
    except StripeFault as refusal:
        if refusal.status != 402:
            raise


def finish_authentication(world: StripeWorld, intent: Json, *, succeeded: bool) -> None:
    """The cardholder has answered the challenge of a PaymentIntent that requires action."""
    if succeeded:
        verdict = _ask(world, intent, off_session=False, authenticated=True)
        verdict = Verdict(verdict.answer, verdict.decline, authenticated=True)
        _quietly(world, intent, verdict, off_session=False)
        return
    code = "payment_intent_authentication_failure"
    error = {
        "code": code,
        "doc_url": doc_url(code),
        "message": _FAILED_AUTHENTICATION,
        "payment_method": world.payment_methods.at_path(intent["payment_method"]),
        "type": "invalid_request_error",
    }
    _back_to_start(world, intent, error)
