"""Acting as everybody who isn't the integration: the cardholder, the bank, the card network, Radar.

The control routes call these with their bodies; a driver in the same process may call them directly, holding
``world.lock``. Each returns the object it changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict

from local.stripe import authentication
from local.stripe.declines import DECLINES, Decline
from local.stripe.errors import StripeFault, invalid_param
from local.stripe.fields import changes
from local.stripe.issuer import Behaviour
from local.stripe.resources import disputes, mandates, radar, refunds

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import StripeWorld

_STRICT = ConfigDict(extra="forbid")


@dataclass
class Authenticate:
    """The cardholder answers 3D Secure, or closes the window."""

    intent: str
    outcome: Literal["succeed", "fail", "abandon"] = "succeed"
    __pydantic_config__ = _STRICT


@dataclass
class CardChange:
    """What a card does from now on.

    ``behaviour`` is ``heal`` (approve everything), ``document`` (back to what its number is documented to do), a
    decline code, ``decline`` (with any ``code`` and ``decline_code``, known or not), ``radar_block``,
    ``authentication_required``, ``challenge``, ``processing`` (with ``seconds``, and ``then`` as the
    decline it ends in), ``expire`` (declines, and its date has passed), or ``network_update`` (new expiry or digits
    come from the network, and a blocked card works again). ``times`` uses a behaviour up.
    """

    behaviour: str
    times: int | None = None
    code: str = "card_declined"
    decline_code: str | None = None
    advice_code: Literal["confirm_card_data", "do_not_try_again", "try_again_later"] | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    seconds: float = 1.0
    then: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None
    last4: str | None = None
    __pydantic_config__ = _STRICT


@dataclass
class OpenDispute:
    """A bank disputes a charge, by its id or its PaymentIntent's."""

    charge: str | None = None
    payment_intent: str | None = None
    reason: str = "fraudulent"
    inquiry: bool = False
    amount: int | None = None
    __pydantic_config__ = _STRICT


@dataclass
class EndDispute:
    """The bank decides."""

    outcome: Literal["win", "lose", "escalate"]
    __pydantic_config__ = _STRICT


@dataclass
class Warn:
    """A bank reports fraud early."""

    charge: str | None = None
    payment_intent: str | None = None
    fraud_type: str = "made_with_stolen_card"
    __pydantic_config__ = _STRICT


@dataclass
class OpenReview:
    """Somebody puts a payment into the review queue."""

    charge: str | None = None
    payment_intent: str | None = None
    reason: Literal["manual", "rule"] = "manual"
    __pydantic_config__ = _STRICT


@dataclass
class CloseReview:
    """A review ends."""

    reason: Literal["approved", "refunded", "refunded_as_fraud", "disputed", "canceled"] = "approved"
    __pydantic_config__ = _STRICT


@dataclass
class SettleRefund:
    """A bank takes a refund, or sends it back."""

    outcome: Literal["succeed", "fail"]
    reason: str = "unknown"
    __pydantic_config__ = _STRICT


@dataclass
class RevokeMandate:
    """A consent is taken back."""

    status: Literal["inactive"] = "inactive"
    __pydantic_config__ = _STRICT


def authenticate(world: StripeWorld, _: str, wanted: Authenticate) -> Json:
    """Answer an intent's challenge; 400 when it asks for none."""
    return authentication.answer(world, wanted.intent, wanted.outcome)


def change_card(world: StripeWorld, method_id: str, wanted: CardChange) -> Json:
    """Change a card's behaviour or its facts: the payment method."""
    method = world.payment_methods.at_path(method_id)
    state = world.cards[method_id]
    match wanted.behaviour:
        case "document":
            state.behaviour = None
        case "expire":
            state.behaviour = _behaviour(replace(wanted, behaviour="expired_card"))
            _refresh(world, method, {"exp_month": 1, "exp_year": 2020}, "payment_method.automatically_updated")
        case "network_update":
            state.behaviour = Behaviour("approve")
            given = {"exp_month": wanted.exp_month, "exp_year": wanted.exp_year, "last4": wanted.last4}
            facts = {name: value for name, value in given.items() if value is not None}
            later = {"exp_year": method["card"]["exp_year"] + 4}
            _refresh(world, method, facts or later, "payment_method.automatically_updated")
        case _:
            state.behaviour = _behaviour(wanted)
    return method


def _refresh(world: StripeWorld, method: Json, facts: Json, event: str) -> None:
    before = dict(method)
    method["card"] = {**method["card"], **facts}
    if method["customer"] is not None:
        world.emit(event, method, changes(before, method))


def _behaviour(wanted: CardChange) -> Behaviour:
    match wanted.behaviour:
        case "heal" | "approve":
            return Behaviour("approve", times=wanted.times)
        case "challenge":
            return Behaviour("challenge", times=wanted.times)
        case "radar_block":
            return Behaviour("radar_block", times=wanted.times)
        case "authentication_required":
            return Behaviour("authentication_required", times=wanted.times)
        case "processing":
            ending = _decline(wanted.then, wanted) if wanted.then is not None else None
            return Behaviour("processing", ending, wanted.times, wanted.seconds)
        case code:
            return Behaviour("decline", _decline(code, wanted), wanted.times)


def _decline(code: str, wanted: CardChange) -> Decline:
    base = DECLINES.get(code)
    if code == "decline":
        base = Decline(wanted.code, wanted.decline_code, "Your card was declined.")
    if base is None:
        message = f"Unknown behaviour {code!r}: neither a verb nor one of {', '.join(sorted(DECLINES))}."
        raise invalid_param(message, "behaviour")
    given = {
        "advice_code": wanted.advice_code,
        "network_advice_code": wanted.network_advice_code,
        "network_decline_code": wanted.network_decline_code,
    }
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def _charge_of(world: StripeWorld, charge: str | None, payment_intent: str | None) -> Json:
    if charge is not None:
        found = world.charges.in_param(charge, "charge")
    elif payment_intent is not None:
        intent = world.payment_intents.in_param(payment_intent, "payment_intent")
        found = world.charges.in_param(str(intent["latest_charge"]), "payment_intent")
    else:
        raise invalid_param("Name a charge or a payment_intent.", "charge")
    if found["status"] != "succeeded":
        raise StripeFault(f"Charge {found['id']} did not succeed.")
    return found


def open_dispute(world: StripeWorld, _: str, wanted: OpenDispute) -> Json:
    """Open a dispute on a captured charge."""
    charge = _charge_of(world, wanted.charge, wanted.payment_intent)
    if not charge["captured"]:
        raise StripeFault(f"Charge {charge['id']} has not been captured: there is nothing to dispute.")
    reason = wanted.reason
    return disputes.open_dispute(world, charge, reason=reason, inquiry=wanted.inquiry, amount=wanted.amount)


def end_dispute(world: StripeWorld, dispute_id: str, wanted: EndDispute) -> Json:
    """Win, lose or escalate a dispute."""
    dispute = world.disputes.at_path(dispute_id)
    if wanted.outcome == "escalate":
        disputes.escalate(world, dispute)
    else:
        disputes.end(world, dispute, won=wanted.outcome == "win")
    return dispute


def warn(world: StripeWorld, _: str, wanted: Warn) -> Json:
    """Send an early fraud warning."""
    return radar.warn(world, _charge_of(world, wanted.charge, wanted.payment_intent), wanted.fraud_type)


def open_review(world: StripeWorld, _: str, wanted: OpenReview) -> Json:
    """Open a review."""
    return radar.open_review(world, _charge_of(world, wanted.charge, wanted.payment_intent), wanted.reason)


def close_review(world: StripeWorld, review_id: str, wanted: CloseReview) -> Json:
    """Close a review."""
    review = world.reviews.at_path(review_id)
    radar.close_review(world, review, wanted.reason)
    return review


def settle_refund(world: StripeWorld, refund_id: str, wanted: SettleRefund) -> Json:
    """Let a refund go through or fail."""
    refund = world.refunds.at_path(refund_id)
    if wanted.outcome == "succeed":
        refunds.succeed(world, refund)
    else:
        refunds.fail(world, refund, wanted.reason)
    return refund


def revoke_mandate(world: StripeWorld, mandate_id: str, _: RevokeMandate) -> Json:
    """Make a mandate inactive."""
    mandate = world.mandates.at_path(mandate_id)
    mandates.deactivate(world, mandate)
    return mandate
