"""PaymentIntents (https://docs.stripe.com/api/payment_intents)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe import attempts, holds
from local.stripe.currencies import check_amount, check_currency, shown
from local.stripe.errors import StripeFault, invalid_param, unexpected_state
from local.stripe.fields import merged_metadata, refuse_unsupported, shipping
from local.stripe.intents import check_return_url, client_secret, payment_method_settings
from local.stripe.lookup import customer_in_param
from local.stripe.resources import charges, payment_methods, refunds
from local.stripe.routing import Route, route
from local.stripe.searching import search

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_CONFIRM = {"capture_method", "error_on_requires_action", "off_session", "payment_method", "payment_method_data"}
_CONFIRM |= {"payment_method_options", "receipt_email", "return_url", "setup_future_usage", "shipping"}
_CONFIRM |= {"use_stripe_sdk", "mandate_data", "radar_options"}
_DESCRIBE = {"amount", "currency", "customer", "description", "metadata", "statement_descriptor_suffix"}
_DESCRIBE |= {"transfer_group"}
_CREATE = {*_CONFIRM, *_DESCRIBE, "allowed_payment_method_types", "automatic_payment_methods", "confirm"}
_CREATE |= {"confirmation_method"}
_UPDATE = {*_DESCRIBE, "capture_method", "payment_method", "payment_method_data", "payment_method_options"}
_UPDATE |= {"receipt_email", "setup_future_usage", "shipping"}

_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing")


def create(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_intents``, confirmed at once with ``confirm``."""
    given = call.params
    refuse_unsupported(given, _CREATE)
    currency = check_currency(given["currency"])
    check_amount(given["amount"], currency)
    if not given.get("confirm"):
        for name in ("off_session", "error_on_requires_action", "return_url", "mandate_data"):
            if given.get(name):
                message = f"You can only pass in `{name}` when `confirm` is true."
                raise invalid_param(message, name)
    intent_id = world.ids.new("pi")
    intent: Json = {
        "id": intent_id,
        "object": "payment_intent",
        **payment_method_settings(given),
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": client_secret(world, intent_id),
        "confirmation_method": given.get("confirmation_method", "automatic"),
        "created": world.clock.timestamp(),
        "currency": currency,
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "managed_payments": {"enabled": False},
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": _card_options({})},
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
    _apply(world, intent, given)
    if given.get("confirm"):
        _check_confirm(world, intent, call)
    world.payment_intents.add(intent)
    world.emit("payment_intent.created", intent)
    if given.get("confirm"):
        attempts.attempt(world, intent, call)
    return intent


def _card_options(given: Json) -> Json:
    card = given.get("payment_method_options", {}).get("card", {}) or {}
    refuse_unsupported(card, {"request_three_d_secure", "setup_future_usage", "capture_method"})
    return {
        "installments": None,
        "mandate_options": None,
        "network": None,
        "request_three_d_secure": card.get("request_three_d_secure", "automatic"),
    }


def _apply(world: StripeWorld, intent: Json, given: Json) -> None:
    """Take over what create, update and confirm have in common."""
    if "customer" in given:
        intent["customer"] = customer_in_param(world, given["customer"])["id"]
    for name in ("description", "receipt_email", "setup_future_usage", "transfer_group"):
        if name in given:
            intent[name] = given[name] or None
    if "capture_method" in given:
        intent["capture_method"] = given["capture_method"] or "automatic_async"
    if "shipping" in given:
        intent["shipping"] = shipping(given["shipping"])
    if "statement_descriptor_suffix" in given:
        intent["statement_descriptor_suffix"] = _descriptor(given["statement_descriptor_suffix"])
    if "payment_method_options" in given:
        intent["payment_method_options"] = {"card": _card_options(given)}
        card = given["payment_method_options"].get("card") or {}
        if card.get("capture_method") == "manual":
            intent["capture_method"] = "manual"
        if card.get("setup_future_usage"):
            intent["setup_future_usage"] = card["setup_future_usage"]
    intent["metadata"] = merged_metadata(intent["metadata"], given.get("metadata"))
    _choose_method(world, intent, given)


def _descriptor(suffix: str) -> str:
    """https://docs.stripe.com/get-started/account/statement-descriptors#set-dynamic-suffix."""
    if len(suffix) > 22 or re.search(r"[<>\\'\"*]", suffix) or not re.search(r"[A-Za-z]", suffix):
        message = (
            "Invalid statement descriptor suffix: use up to 22 characters, at least one letter, and none of "
            "< > \\ ' \" *."
        )
        raise invalid_param(message, "statement_descriptor_suffix")
    return suffix


def _choose_method(world: StripeWorld, intent: Json, given: Json) -> None:
    if "payment_method_data" in given:
        method = payment_methods.from_data(world, given["payment_method_data"], "payment_method_data")
    elif "payment_method" in given:
        method = payment_methods.resolve(world, given["payment_method"], "payment_method")
    else:
        return
    unattended = bool(given.get("off_session")) and intent["customer"] is not None
    payment_methods.check_usable(world, method, intent["customer"], must_be_attached=unattended)
    intent["payment_method"] = method["id"]
    if intent["status"] in {"requires_payment_method", "requires_action"}:
        intent["status"] = "requires_confirmation"
        intent["next_action"] = None


def _check_confirm(world: StripeWorld, intent: Json, call: Call) -> None:
    """400 for a confirmation that can't begin."""
    if intent["payment_method"] is None:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken."
        )
        raise unexpected_state(message, intent, key="payment_intent")
    check_return_url(intent, call, "Payment Intent")
    method = world.payment_methods.at_path(intent["payment_method"])
    unattended = bool(call.params.get("off_session")) and intent["customer"] is not None
    payment_methods.check_usable(world, method, intent["customer"], must_be_attached=unattended)


def confirm(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_intents/{}/confirm``, by either key; again after a decline, with the same or another card."""
    intent = world.payment_intents.at_path(call.id)
    refuse_unsupported(call.params, _CONFIRM)
    if intent["status"] not in _CONFIRMABLE:
        raise unexpected_state(_cannot("confirm", intent), intent, key="payment_intent")
    if call.client and (call.params.get("off_session") or intent["confirmation_method"] == "manual"):
        message = "You cannot confirm this PaymentIntent with a publishable key: it is confirmed on the server."
        raise StripeFault(message, code="payment_intent_invalid_parameter")
    draft = dict(intent)
    _apply(world, draft, call.params)
    _check_confirm(world, draft, call)
    intent.update(draft)
    attempts.attempt(world, intent, call)
    return intent


def _cannot(verb: str, intent: Json) -> str:
    status = intent["status"]
    if verb == "confirm" and status == "succeeded":
        return (
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."
        )
    done, allowed = {
        "confirm": ("confirmed", _CONFIRMABLE),
        "cancel": ("canceled", _CANCELABLE),
        "capture": ("captured", ("requires_capture",)),
    }[verb]
    return (
        f"This PaymentIntent could not be {done} because it has a status of {status}. Only a PaymentIntent with one "
        f"of the following statuses may be {done}: {', '.join(allowed)}."
    )


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/payment_intents/{}``, by either key."""
    return world.payment_intents.at_path(call.id)


def update(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_intents/{}``."""
    intent = world.payment_intents.at_path(call.id)
    given = call.params
    refuse_unsupported(given, _UPDATE)
    free = {"metadata", "description", "receipt_email", "transfer_group", "expand"}
    if intent["status"] not in _CONFIRMABLE and set(given) - free:
        named = sorted(set(given) - free)[0]
        message = f"This PaymentIntent's {named} could not be updated because it has a status of {intent['status']}."
        raise unexpected_state(message, intent, key="payment_intent")
    draft = dict(intent)
    if "currency" in given:
        draft["currency"] = check_currency(given["currency"])
    draft["amount"] = given.get("amount", draft["amount"])
    check_amount(draft["amount"], draft["currency"])
    _apply(world, draft, given)
    intent.update(draft)
    return intent


def capture(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_intents/{}/capture``: all, or a part with the rest released."""
    intent = world.payment_intents.at_path(call.id)
    refuse_unsupported(call.params, {"amount_to_capture", "metadata", "statement_descriptor_suffix", "final_capture"})
    if intent["status"] != "requires_capture":
        raise unexpected_state(_cannot("capture", intent), intent, key="payment_intent")
    amount: int = (
        call.params["amount_to_capture"] if "amount_to_capture" in call.params else intent["amount_capturable"]
    )
    if not 1 <= amount <= intent["amount_capturable"]:
        most = shown(intent["amount_capturable"], intent["currency"])
        message = f"Amount to capture must be at least 1 and no more than the capturable amount of {most}."
        code = "amount_too_large" if amount > 1 else "amount_too_small"
        raise StripeFault(message, code=code, param="amount_to_capture")
    charge = world.charges.at_path(intent["latest_charge"])
    intent["metadata"] = merged_metadata(intent["metadata"], call.params.get("metadata"))
    if "statement_descriptor_suffix" in call.params:
        intent["statement_descriptor_suffix"] = _descriptor(call.params["statement_descriptor_suffix"])
    charge |= {"captured": True, "amount_captured": amount}
    charge["payment_method_details"]["card"].pop("capture_before", None)
    refunds.release(world, charge, charge["amount"] - amount)
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": amount}
    world.emit("charge.captured", charge)
    world.emit("payment_intent.succeeded", intent)
    charges.book_later(world, charge)
    return intent


def cancel(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/payment_intents/{}/cancel``: a hold is released."""
    intent = world.payment_intents.at_path(call.id)
    refuse_unsupported(call.params, {"cancellation_reason"})
    if intent["status"] not in _CANCELABLE:
        raise unexpected_state(_cannot("cancel", intent), intent, key="payment_intent")
    holds.void(world, intent, call.params.get("cancellation_reason"))
    return intent


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/payment_intents``."""
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", "customer"})
    wanted = call.params.get("customer")

    def keep(row: Json) -> bool:
        return wanted is None or row["customer"] == wanted

    return world.payment_intents.page(call.params, "/v1/payment_intents", keep)


def search_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/payment_intents/search`` (https://docs.stripe.com/search#query-fields-for-payment-intents)."""
    fields = {"amount", "created", "currency", "customer", "metadata", "status"}
    return search(world, world.payment_intents, call, fields, "/v1/payment_intents/search")


ROUTES: list[Route] = [
    route("POST", "/v1/payment_intents", sdk.PaymentIntentCreateParams, create),
    route("GET", "/v1/payment_intents", sdk.PaymentIntentListParams, list_all),
    route("GET", "/v1/payment_intents/search", sdk.PaymentIntentSearchParams, search_all),
    route("GET", "/v1/payment_intents/{}", sdk.PaymentIntentRetrieveParams, retrieve, client=True),
    route("POST", "/v1/payment_intents/{}", sdk.PaymentIntentUpdateParams, update),
    route("POST", "/v1/payment_intents/{}/confirm", sdk.PaymentIntentConfirmParams, confirm, client=True),
    route("POST", "/v1/payment_intents/{}/capture", sdk.PaymentIntentCaptureParams, capture),
    route("POST", "/v1/payment_intents/{}/cancel", sdk.PaymentIntentCancelParams, cancel),
]
