"""What we read out of Stripe's objects: plain facts, the same whether an answer, an error or an event brought them.

SQL takes these facts (sql/0024_settle_payment.sql) and stores those of events, so they hold no personal data: ids,
amounts in minor units, statuses and codes only.
"""

from datetime import UTC, datetime
from typing import Any

from functions.shared import metrics
from functions.shared.declines import Decline, classify
from functions.shared.logs import WARNING, log

Facts = dict[str, Any]


def payment_intent_facts(intent: Facts) -> Facts:
    """Facts of a PaymentIntent (https://docs.stripe.com/api/payment_intents/object), as a plain dict."""
    error = intent.get("last_payment_error") or {}
    charge = intent.get("latest_charge")
    refused = intent["status"] in ("requires_payment_method", "requires_action") and bool(error)
    metadata = intent.get("metadata") or {}
    facts: Facts = {
        "payment_intent_id": intent["id"],
        "status": intent["status"],
        "amount_minor": intent["amount"],
        "amount_received_minor": intent.get("amount_received"),
        "currency": intent["currency"],
        "stripe_customer_id": _id_of(intent.get("customer")),
        "booking_id": metadata.get("booking_id"),
        "cancellation_reason": intent.get("cancellation_reason"),
        "stripe_payment_method_id": _id_of(intent.get("payment_method")),
        "charge_id": _id_of(charge),
    }
    if isinstance(charge, dict):
        facts["charge"] = charge_facts(charge)["charge"]
    if refused:
        facts["charge_id"] = error.get("charge") or None
        facts["stripe_payment_method_id"] = _id_of(error.get("payment_method")) or facts["stripe_payment_method_id"]
        facts["decline"] = decline_facts(error, facts.get("charge"))
    return {name: value for name, value in facts.items() if value is not None}


def charge_facts(charge: Facts) -> Facts:
    """Facts of a Charge (https://docs.stripe.com/api/charges/object): outcome, risk, network codes, fee, hold's end."""
    outcome = charge.get("outcome") or {}
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    fee = charge.get("balance_transaction")
    told = {
        "outcome_type": outcome.get("type"),
        "outcome_reason": outcome.get("reason"),
        "network_status": outcome.get("network_status"),
        "network_decline_code": outcome.get("network_decline_code"),
        "network_advice_code": outcome.get("network_advice_code"),
        "advice_code": outcome.get("advice_code"),
        "risk_level": outcome.get("risk_level"),
        "risk_score": outcome.get("risk_score"),
        "capture_before": _timestamp(card.get("capture_before")),
        "fee_minor": fee.get("fee") if isinstance(fee, dict) else None,
    }
    return {
        "charge_id": charge["id"],
        "payment_intent_id": _id_of(charge.get("payment_intent")),
        "charge": {name: value for name, value in told.items() if value is not None},
    }


def decline_facts(error: Facts, charge: Facts | None = None) -> Facts:
    """What a `last_payment_error` or an error body means, with the charge's outcome where it is known."""
    charge = charge or {}
    card = (_expanded(error.get("payment_method")) or {}).get("card") or {}
    return _facts_of(
        classify(
            outcome_type=charge.get("outcome_type"),
            outcome_reason=charge.get("outcome_reason"),
            advice_code=error.get("advice_code") or charge.get("advice_code"),
            network_advice_code=error.get("network_advice_code") or charge.get("network_advice_code"),
            decline_code=error.get("decline_code"),
            code=error.get("code"),
            network=card.get("brand"),
        )
    )


def setup_intent_facts(intent: Facts) -> Facts:
    """Facts of a SetupIntent with `payment_method` expanded (https://docs.stripe.com/api/setup_intents/object)."""
    method = _expanded(intent.get("payment_method"))
    error = intent.get("last_setup_error")
    facts: Facts = {
        "setup_intent_id": intent["id"],
        "status": intent["status"],
        "stripe_customer_id": _id_of(intent.get("customer")),
        "terms_version": (intent.get("metadata") or {}).get("terms_version"),
        "card": card_facts(method) if method and _id_of(method.get("customer")) else None,
        "error": None,
    }
    if error and intent["status"] != "succeeded":
        decline = decline_facts(error)
        facts["error"] = {"code": decline["code"], "user_message": decline["user_message"]}
    return {name: value for name, value in facts.items() if value is not None}


def card_facts(method: Facts) -> Facts | None:
    """The little that we keep of a card, None for a payment method that is none."""
    card = method.get("card")
    if not card:
        return None
    return {
        "id": method["id"],
        "brand": card["brand"],
        "last4": card["last4"],
        "exp_month": card["exp_month"],
        "exp_year": card["exp_year"],
        "funding": card["funding"],
        "country": card.get("country"),
        "wallet": (card.get("wallet") or {}).get("type"),
    }


def _facts_of(decline: Decline) -> Facts:
    if not decline.is_known:
        metrics.add("UnknownDeclineCodes")
        log(WARNING, "a decline code that no table knows", decline_code=decline.code, unknown=decline.unknown_codes)
    facts: Facts = {
        "code": decline.code,
        "source": decline.source,
        "category": decline.category.value,
        "user_message": decline.user_message,
        "is_fraud": decline.is_fraud,
        "blocks_card": decline.blocks_card,
    }
    if decline.retry_after_seconds is not None:
        facts["retry_after_seconds"] = decline.retry_after_seconds
    return facts


def _id_of(value: Any) -> str | None:
    """The id of a field that Stripe sends as an id or, expanded, as an object."""
    return value.get("id") if isinstance(value, dict) else value


def _expanded(value: Any) -> Facts | None:
    return value if isinstance(value, dict) else None


def _timestamp(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
