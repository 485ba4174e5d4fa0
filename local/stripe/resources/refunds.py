"""Refunds (https://docs.stripe.com/api/refunds), full, partial, pending and failing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.currencies import shown
from local.stripe.errors import StripeFault, invalid_param, missing_param
from local.stripe.fields import merged_metadata, refuse_unsupported
from local.stripe.resources import balance, radar
from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld


def create(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/refunds`` of a charge or a PaymentIntent."""
    given = call.params
    refuse_unsupported(given, {"charge", "payment_intent", "amount", "reason", "metadata"})
    charge = _charge_of(world, given)
    left = charge["amount_captured"] - (charge["amount_refunded"] - _released(world, charge))
    amount = given.get("amount", left)
    if amount < 1 and "amount" in given:
        raise invalid_param("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if charge["disputed"] and _charged_back(world, charge):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise StripeFault(message, code="charge_disputed")
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise StripeFault(message, code="charge_already_refunded")
    if amount > left:
        currency = charge["currency"]
        message = (
            f"Refund amount ({shown(amount, currency)}) is greater than unrefunded amount on charge "
            f"({shown(left, currency)})"
        )
        raise StripeFault(message, param="amount")
    way = world.cards[charge["payment_method"]].card.refund
    refund = _new(world, charge, amount, "pending" if way == "pending_then_succeeded" else "succeeded")
    refund["reason"] = given.get("reason")
    refund["metadata"] = merged_metadata({}, given.get("metadata"))
    transaction = balance.record(world, "refund", -amount, refund)
    refund["balance_transaction"] = transaction["id"]
    _count(charge, amount)
    world.emit("refund.created", refund)
    world.emit("charge.refunded", charge)
    radar.settle_warnings(world, charge)
    if charge["refunded"]:
        fraud = refund["reason"] == "fraudulent"
        radar.close_reviews_of(world, charge, "refunded_as_fraud" if fraud else "refunded")
    if way == "pending_then_succeeded":
        world.schedule.after(world.settings.refund_delay_seconds, lambda: succeed(world, refund))
    elif way == "succeeded_then_failed":
        world.schedule.after(world.settings.refund_delay_seconds, lambda: fail(world, refund))
    return refund


def _charge_of(world: StripeWorld, given: Json) -> Json:
    if "charge" in given and "payment_intent" in given:
        message = "You can only pass in one of the following parameters: charge, payment_intent."
        raise StripeFault(message, param="payment_intent", remembered=False)
    if "charge" in given:
        charge = world.charges.in_param(given["charge"], "charge")
        if charge["status"] != "succeeded" or not charge["captured"]:
            message = f"Charge {charge['id']} has not been captured or did not succeed, so it can't be refunded."
            raise StripeFault(message, param="charge")
        return charge
    if "payment_intent" not in given:
        raise missing_param("charge")
    intent = world.payment_intents.in_param(given["payment_intent"], "payment_intent")
    charge_or_none = world.charges.find(intent["latest_charge"])
    if charge_or_none is None or intent["status"] != "succeeded":
        message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise StripeFault(message, param="payment_intent")
    return charge_or_none


def _charged_back(world: StripeWorld, charge: Json) -> bool:
    """A dispute holds the money unless it was won or is only an inquiry."""
    open_states = {"needs_response", "under_review", "lost"}
    return any(row["charge"] == charge["id"] and row["status"] in open_states for row in world.disputes)


def _released(world: StripeWorld, charge: Json) -> int:
    """What ``amount_refunded`` holds that was never captured."""
    return int(charge["amount"] - charge["amount_captured"]) if charge["captured"] else 0


def _new(world: StripeWorld, charge: Json, amount: int, status: str) -> Json:
    reversal = not charge["captured"] or amount == 0
    card: Json = {"type": "reversal" if reversal else "refund"}
    if not reversal:
        card |= {"reference_status": "pending", "reference_type": "acquirer_reference_number"}
    refund: Json = {
        "id": world.ids.new("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": world.clock.timestamp(),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {"card": card, "type": "card"},
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    if status == "pending":
        refund["pending_reason"] = "processing"
    return world.refunds.add(refund)


def _count(charge: Json, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] >= charge["amount"]


def release(world: StripeWorld, charge: Json, amount: int) -> None:
    """Give back an uncaptured part of a hold.

    "Any additional amount is automatically refunded" (https://docs.stripe.com/api/charges/capture): it counts in
    ``amount_refunded`` and makes a refund object, but moves no balance.
    """
    if amount > 0:
        _new(world, charge, amount, "succeeded")["destination_details"]["card"] = {"type": "reversal"}
        _count(charge, amount)


def succeed(world: StripeWorld, refund: Json) -> None:
    """A pending refund goes through."""
    if refund["status"] == "pending":
        refund["status"] = "succeeded"
        del refund["pending_reason"]
        _updated(world, refund, {"status": "pending", "pending_reason": "processing"})


def fail(world: StripeWorld, refund: Json, reason: str = "unknown") -> None:
    """The bank sends a refund back: the money returns to the balance and the charge counts it no more."""
    if refund["status"] not in {"pending", "succeeded"}:
        return
    before = {"status": refund["status"]}
    charge = world.charges.at_path(refund["charge"])
    _count(charge, -refund["amount"])
    refund.pop("pending_reason", None)
    refund |= {"status": "failed", "failure_reason": reason}
    transaction = balance.record(world, "refund_failure", refund["amount"], refund)
    refund["failure_balance_transaction"] = transaction["id"]
    world.emit("refund.failed", refund)
    _updated(world, refund, before)


def _updated(world: StripeWorld, refund: Json, previous: Json) -> None:
    world.emit("refund.updated", refund, previous)
    world.emit("charge.refund.updated", refund, previous)


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/refunds/{}``."""
    return world.refunds.at_path(call.id)


def update(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/refunds/{}``: metadata only."""
    refund = world.refunds.at_path(call.id)
    refuse_unsupported(call.params, {"metadata"})
    before = refund["metadata"]
    refund["metadata"] = merged_metadata(before, call.params.get("metadata"))
    if refund["metadata"] != before:
        _updated(world, refund, {"metadata": before})
    return refund


def cancel(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/refunds/{}/cancel``: only refunds that require action can be, which card refunds never do."""
    refund = world.refunds.at_path(call.id)
    message = (
        f"Refund {refund['id']} could not be canceled because it has a status of {refund['status']}. Only refunds "
        "with a status of requires_action can be canceled."
    )
    raise StripeFault(message, param="refund")


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/refunds`` and ``GET /v1/charges/{}/refunds``."""
    filters = {"charge", "payment_intent"}
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", *filters})
    wanted = {name: call.params[name] for name in filters if name in call.params}
    if call.ids:
        wanted["charge"] = world.charges.at_path(call.id)["id"]

    def keep(row: Json) -> bool:
        return all(row[name] == value for name, value in wanted.items())

    return world.refunds.page(call.params, call.path, keep)


ROUTES: list[Route] = [
    route("POST", "/v1/refunds", sdk.RefundCreateParams, create),
    route("GET", "/v1/refunds", sdk.RefundListParams, list_all),
    route("GET", "/v1/refunds/{}", sdk.RefundRetrieveParams, retrieve),
    route("POST", "/v1/refunds/{}", sdk.RefundUpdateParams, update),
    route("POST", "/v1/refunds/{}/cancel", sdk.RefundCancelParams, cancel),
    route("GET", "/v1/charges/{}/refunds", sdk.ChargeListRefundsParams, list_all),
]
