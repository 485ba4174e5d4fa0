"""Charges (https://docs.stripe.com/api/charges): made by PaymentIntents, read and searched here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.fields import changes, merged_metadata, refuse_unsupported, shipping
from local.stripe.resources import balance
from local.stripe.routing import Route, route
from local.stripe.searching import search

if TYPE_CHECKING:
    from local.stripe.issuer import Verdict
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_PREFIX = "AUTOBOOK"  # the account's statement descriptor prefix
_RISK_SCORES = {"normal": (1, 64), "elevated": (65, 74), "highest": (75, 99)}


def outcome_of(world: StripeWorld, verdict: Verdict, radar: str) -> Json:
    """``charge.outcome`` (https://docs.stripe.com/api/charges/object#charge_object-outcome)."""
    level = "highest" if verdict.answer == "block" or radar == "blocked" else radar
    reviewed = level == "elevated" and world.settings.radar_reviews_elevated_risk
    outcome: Json = {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": "elevated_risk_level" if reviewed else None,
        "risk_level": level,
        "risk_score": world.ids.between(*_RISK_SCORES[level]),
        "seller_message": "Payment complete.",
        "type": "manual_review" if reviewed else "authorized",
    }
    if reviewed:
        outcome["seller_message"] = (
            "Stripe evaluated this payment as having elevated risk, and placed it in your manual review queue."
        )
    if verdict.answer == "block":
        outcome |= {
            "network_status": "not_sent_to_network",
            "reason": "highest_risk_level",
            "seller_message": "Stripe blocked this payment as too risky.",
            "type": "blocked",
        }
    elif verdict.decline is not None:
        decline = verdict.decline
        outcome |= {
            "advice_code": decline.advice_code,
            "network_advice_code": decline.network_advice_code,
            "network_decline_code": decline.network_decline_code,
            "network_status": "declined_by_network",
            "reason": decline.reason,
            "seller_message": f"The bank returned the decline code `{decline.reason}`.",
            "type": "issuer_declined",
        }
    return outcome


def create_for(world: StripeWorld, intent: Json, method: Json, verdict: Verdict, *, off_session: bool) -> Json:
    """The charge of one attempt at a PaymentIntent: succeeded, failed or pending; its events are the caller's."""
    suffix = intent["statement_descriptor_suffix"]
    charge: Json = {
        "id": world.ids.new("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": dict(method["billing_details"]),
        "calculated_statement_descriptor": f"{_PREFIX}* {suffix}"[:22] if suffix else _PREFIX,
        "created": world.clock.timestamp(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "presentment_details": None,
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": suffix,
        "transfer_data": None,
        "transfer_group": intent["transfer_group"],
    }
    conclude(world, charge, intent, verdict, off_session=off_session)
    return world.charges.add(charge)


def conclude(world: StripeWorld, charge: Json, intent: Json, verdict: Verdict, *, off_session: bool) -> None:
    """Write the bank's answer into a charge, which is new or was pending."""
    method = world.payment_methods.at_path(charge["payment_method"])
    pending = verdict.answer == "process"
    paid = not pending and verdict.decline is None
    captured = paid and intent["capture_method"] != "manual"
    decline = None if pending else verdict.decline
    charge |= {
        "amount_captured": intent["amount"] if captured else 0,
        "captured": captured,
        "failure_code": None if decline is None else decline.code,
        "failure_message": None if decline is None else decline.message,
        "outcome": None if pending else outcome_of(world, verdict, world.cards[method["id"]].card.radar),
        "paid": paid,
        "payment_method_details": _details(world, intent, method, verdict, off_session=off_session),
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{world.ids.secret(32)}" if paid else None,
        "status": "pending" if pending else "succeeded" if paid else "failed",
    }


def _details(world: StripeWorld, intent: Json, method: Json, verdict: Verdict, *, off_session: bool) -> Json:
    card, amount = method["card"], intent["amount"]
    approved = verdict.decline is None and verdict.answer != "process"
    held = approved and intent["capture_method"] == "manual"
    details: Json = {
        "amount_authorized": amount if approved else None,
        "authorization_code": world.ids.digits(6) if approved else None,
        "brand": card["brand"],
        "checks": dict(card["checks"]),
        "country": card["country"],
        "exp_month": card["exp_month"],
        "exp_year": card["exp_year"],
        "extended_authorization": {"status": "disabled"},
        "fingerprint": card["fingerprint"],
        "funding": card["funding"],
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card["last4"],
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": world.ids.digits(15) if verdict.answer != "block" else None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": card["regulated_status"],
        "transaction_link_id": None,
        "three_d_secure": _three_d_secure(world) if verdict.authenticated else None,
        "wallet": card["wallet"],
    }
    if held:
        visa_alone = card["brand"] == "visa" and off_session
        seconds = world.settings.hold_seconds_visa_off_session if visa_alone else world.settings.hold_seconds
        details["capture_before"] = world.clock.timestamp() + seconds
    return {"card": details, "type": "card"}


def _three_d_secure(world: StripeWorld) -> Json:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": world.ids.new("3ds"),
        "version": "2.2.0",
    }


def book(world: StripeWorld, charge: Json) -> None:
    """Put a captured charge on the balance."""
    if charge["balance_transaction"] is None:
        transaction = balance.record(world, "charge", charge["amount_captured"], charge)
        charge["balance_transaction"] = transaction["id"]


def book_later(world: StripeWorld, charge: Json) -> None:
    """The same for asynchronous captures, the default: ``charge.updated`` brings the balance transaction.

    https://docs.stripe.com/payments/payment-intents/asynchronous-capture
    """

    def happen() -> None:
        book(world, charge)
        world.emit("charge.updated", charge, {"balance_transaction": None})

    world.schedule.after(0, happen)


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/charges/{}``."""
    return world.charges.at_path(call.id)


def update(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/charges/{}``: description, metadata, shipping, receipt, and the user's fraud report."""
    charge = world.charges.at_path(call.id)
    refuse_unsupported(call.params, {"description", "metadata", "receipt_email", "shipping", "fraud_details"})
    before = dict(charge)
    for name in ("description", "receipt_email"):
        charge[name] = call.params.get(name, charge[name]) or None
    charge["metadata"] = merged_metadata(charge["metadata"], call.params.get("metadata"))
    if "shipping" in call.params:
        charge["shipping"] = shipping(call.params["shipping"])
    if "fraud_details" in call.params:
        charge["fraud_details"] = dict(call.params["fraud_details"])
    if changed := changes(before, charge):
        world.emit("charge.updated", charge, changed)
    return charge


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/charges``."""
    filters = {"customer", "payment_intent"}
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", *filters})
    wanted = {name: call.params[name] for name in filters if name in call.params}

    def keep(row: Json) -> bool:
        return all(row[name] == value for name, value in wanted.items())

    return world.charges.page(call.params, "/v1/charges", keep)


def search_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/charges/search``."""
    fields = {"amount", "created", "currency", "customer", "disputed", "metadata", "payment_intent", "refunded"}
    return search(world, world.charges, call, {*fields, "status"}, "/v1/charges/search")


ROUTES: list[Route] = [
    route("GET", "/v1/charges", sdk.ChargeListParams, list_all),
    route("GET", "/v1/charges/search", sdk.ChargeSearchParams, search_all),
    route("GET", "/v1/charges/{}", sdk.ChargeRetrieveParams, retrieve),
    route("POST", "/v1/charges/{}", sdk.ChargeUpdateParams, update),
]
