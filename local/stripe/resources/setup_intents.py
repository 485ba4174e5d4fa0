"""SetupIntents (https://docs.stripe.com/api/setup_intents): saving a card for off-session use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe import params as sdk

from local.stripe.errors import StripeFault, doc_url, unexpected_state
from local.stripe.fields import changes, merged_metadata, refuse_unsupported
from local.stripe.intents import challenge, check_return_url, client_secret, payment_method_settings
from local.stripe.issuer import Verdict, judge_setup
from local.stripe.lookup import customer_in_param
from local.stripe.refusals import card_error, error_fields
from local.stripe.resources import mandates, payment_methods
from local.stripe.routing import Route, route

if TYPE_CHECKING:
    from local.stripe.kinds import Json
    from local.stripe.world import Call, StripeWorld

_BOTH = {"payment_method", "payment_method_data", "payment_method_options", "return_url", "mandate_data"}
_BOTH |= {"use_stripe_sdk", "client_secret"}
_CREATE = _BOTH | {"customer", "description", "metadata", "usage", "confirm", "attach_to_self"}
_CREATE |= {"allowed_payment_method_types", "automatic_payment_methods"}
_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_FAILED_AUTHENTICATION = (
    "We are unable to authenticate your payment method. Please choose a different payment method and try again."
)


def create(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/setup_intents``."""
    given = call.params
    refuse_unsupported(given, _CREATE)
    if "return_url" in given and not given.get("confirm"):
        message = "You can only pass in a `return_url` when confirming: set `confirm` to true."
        raise StripeFault(message, param="return_url", remembered=False)
    if "customer" in given:
        customer_in_param(world, given["customer"])
    intent_id = world.ids.new("seti")
    intent: Json = {
        "id": intent_id,
        "object": "setup_intent",
        "application": None,
        **payment_method_settings(given),
        "cancellation_reason": None,
        "client_secret": client_secret(world, intent_id),
        "created": world.clock.timestamp(),
        "customer": given.get("customer"),
        "customer_account": None,
        "description": given.get("description"),
        "excluded_payment_method_types": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": merged_metadata({}, given.get("metadata")),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": _card_options(given)},
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": given.get("usage", "off_session"),
    }
    _choose_method(world, intent, given)
    if given.get("confirm"):
        _check_confirm(intent, call)
    world.setup_intents.add(intent)
    world.emit("setup_intent.created", intent)
    if given.get("confirm"):
        _confirm(world, intent, call)
    return intent


def _card_options(given: Json) -> Json:
    card = given.get("payment_method_options", {}).get("card", {}) or {}
    refuse_unsupported(card, {"request_three_d_secure"})
    return {
        "mandate_options": None,
        "network": None,
        "request_three_d_secure": card.get("request_three_d_secure", "automatic"),
    }


def _choose_method(world: StripeWorld, intent: Json, given: Json) -> None:
    if "payment_method_data" in given:
        method = payment_methods.from_data(world, given["payment_method_data"], "payment_method_data")
    elif "payment_method" in given:
        method = payment_methods.resolve(world, given["payment_method"], "payment_method")
    else:
        return
    payment_methods.check_usable(world, method, intent["customer"], must_be_attached=False)
    intent["payment_method"] = method["id"]
    if intent["status"] == "requires_payment_method":
        intent["status"] = "requires_confirmation"


def confirm(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/setup_intents/{}/confirm``, by either key."""
    intent = world.setup_intents.at_path(call.id)
    refuse_unsupported(call.params, _BOTH)
    if intent["status"] not in _OPEN:
        message = (
            f"You cannot confirm this SetupIntent because it has a status of {intent['status']}. Only a SetupIntent "
            "with one of the following statuses may be confirmed: requires_payment_method, requires_confirmation, "
            "requires_action."
        )
        if intent["status"] == "succeeded":
            message = "You cannot confirm this SetupIntent because it has already succeeded."
        raise unexpected_state(message, intent, key="setup_intent")
    _choose_method(world, intent, call.params)
    if "payment_method_options" in call.params:
        intent["payment_method_options"] = {"card": _card_options(call.params)}
    _check_confirm(intent, call)
    _confirm(world, intent, call)
    return intent


def _check_confirm(intent: Json, call: Call) -> None:
    """400 for a confirmation that can't begin."""
    if intent["payment_method"] is None:
        message = (
            "You cannot confirm this SetupIntent because it's missing a payment method. Update the SetupIntent with a "
            "payment method and then confirm it again."
        )
        raise unexpected_state(message, intent, key="setup_intent")
    check_return_url(intent, call, "Setup Intent")


def _confirm(world: StripeWorld, intent: Json, call: Call) -> None:
    intent["last_setup_error"] = intent["next_action"] = None
    if "mandate_data" in call.params:
        intent["mandate"] = mandates.create(world, intent, call.params["mandate_data"])["id"]
    verdict = judge_setup(
        world.cards[intent["payment_method"]],
        authenticated=False,
        request_three_d_secure=intent["payment_method_options"]["card"]["request_three_d_secure"],
    )
    _start_attempt(world, intent)
    if verdict.answer == "challenge":
        intent["status"] = "requires_action"
        intent["next_action"] = challenge(intent, call)
        world.setup_attempts.at_path(intent["latest_attempt"])["status"] = "requires_action"
        world.emit("setup_intent.requires_action", intent)
        return
    _settle(world, intent, verdict)


def _start_attempt(world: StripeWorld, intent: Json) -> None:
    method = world.payment_methods.at_path(intent["payment_method"])
    shown = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4", "wallet")
    card = {name: method["card"][name] for name in shown}
    attempt = world.setup_attempts.add(
        {
            "id": world.ids.new("setatt"),
            "object": "setup_attempt",
            "application": None,
            "created": world.clock.timestamp(),
            "customer": intent["customer"],
            "customer_account": None,
            "flow_directions": None,
            "livemode": False,
            "on_behalf_of": None,
            "payment_method": method["id"],
            "payment_method_details": {
                "card": {**card, "network": card["brand"], "three_d_secure": None},
                "type": "card",
            },
            "setup_error": None,
            "setup_intent": intent["id"],
            "status": "processing",
            "usage": intent["usage"],
        }
    )
    intent["latest_attempt"] = attempt["id"]


def _settle(world: StripeWorld, intent: Json, verdict: Verdict) -> None:
    attempt = world.setup_attempts.at_path(intent["latest_attempt"])
    method = world.payment_methods.at_path(intent["payment_method"])
    if verdict.decline is not None:
        fields = error_fields(verdict.decline, charge=None, payment_method=method)
        _fail(world, intent, attempt, fields)
        raise card_error(verdict.decline, payment_method=method, setup_intent=intent)
    attempt["status"] = "succeeded"
    if verdict.authenticated:
        attempt["payment_method_details"]["card"]["three_d_secure"] = {
            "authentication_flow": "challenge",
            "electronic_commerce_indicator": "05",
            "result": "authenticated",
            "result_reason": None,
            "transaction_id": world.ids.new("3ds"),
            "version": "2.2.0",
        }
    if verdict.authenticated and intent["usage"] == "off_session":
        world.cards[method["id"]].set_up = True
    intent["status"] = "succeeded"
    intent["next_action"] = None
    if intent["customer"] is not None:
        payment_methods.attach_to(world, method, intent["customer"])
    world.emit("setup_intent.succeeded", intent)


def _fail(world: StripeWorld, intent: Json, attempt: Json, error: Json) -> None:
    attempt |= {"status": "failed", "setup_error": error}
    intent |= {
        "last_setup_error": error,
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    world.emit("setup_intent.setup_failed", intent)


def finish_authentication(world: StripeWorld, intent: Json, *, succeeded: bool) -> None:
    """The cardholder has answered the challenge of a SetupIntent that requires action; declines raise a 402."""
    attempt = world.setup_attempts.at_path(intent["latest_attempt"])
    if succeeded:
        state = world.cards[intent["payment_method"]]
        verdict = judge_setup(state, authenticated=True, request_three_d_secure="automatic")
        _settle(world, intent, Verdict(verdict.answer, verdict.decline, authenticated=True))
        return
    code = "setup_intent_authentication_failure"
    error = {
        "code": code,
        "doc_url": doc_url(code),
        "message": _FAILED_AUTHENTICATION,
        "payment_method": world.payment_methods.at_path(intent["payment_method"]),
        "type": "invalid_request_error",
    }
    _fail(world, intent, attempt, error)


def retrieve(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/setup_intents/{}``, by either key."""
    return world.setup_intents.at_path(call.id)


def update(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/setup_intents/{}``."""
    intent = world.setup_intents.at_path(call.id)
    refuse_unsupported(call.params, {"customer", "description", "metadata", "payment_method"})
    if intent["status"] in {"succeeded", "canceled"} and set(call.params) - {"metadata", "description"}:
        message = f"This SetupIntent's status is {intent['status']}: only its metadata and description can be updated."
        raise unexpected_state(message, intent, key="setup_intent")
    if "customer" in call.params:
        intent["customer"] = customer_in_param(world, call.params["customer"])["id"]
    if "description" in call.params:
        intent["description"] = call.params["description"] or None
    intent["metadata"] = merged_metadata(intent["metadata"], call.params.get("metadata"))
    _choose_method(world, intent, call.params)
    return intent


def cancel(world: StripeWorld, call: Call) -> Json:
    """``POST /v1/setup_intents/{}/cancel``."""
    intent = world.setup_intents.at_path(call.id)
    refuse_unsupported(call.params, {"cancellation_reason"})
    if intent["status"] not in _OPEN:
        message = (
            f"You cannot cancel this SetupIntent because it has a status of {intent['status']}. Only a SetupIntent "
            "with one of the following statuses may be canceled: requires_payment_method, requires_confirmation, "
            "requires_action."
        )
        raise unexpected_state(message, intent, key="setup_intent")
    before = dict(intent)
    reason = call.params.get("cancellation_reason")
    intent |= {"status": "canceled", "cancellation_reason": reason, "next_action": None}
    assert changes(before, intent)
    world.emit("setup_intent.canceled", intent)
    return intent


def list_all(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/setup_intents``."""
    filters = {"customer", "payment_method"}
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", *filters})
    wanted = {name: call.params[name] for name in filters if name in call.params}

    def keep(row: Json) -> bool:
        return all(row[name] == value for name, value in wanted.items())

    return world.setup_intents.page(call.params, "/v1/setup_intents", keep)


def list_attempts(world: StripeWorld, call: Call) -> Json:
    """``GET /v1/setup_attempts``."""
    refuse_unsupported(call.params, {"limit", "starting_after", "ending_before", "created", "setup_intent"})
    wanted = call.params["setup_intent"]
    return world.setup_attempts.page(call.params, "/v1/setup_attempts", lambda row: row["setup_intent"] == wanted)


ROUTES: list[Route] = [
    route("POST", "/v1/setup_intents", sdk.SetupIntentCreateParams, create),
    route("GET", "/v1/setup_intents", sdk.SetupIntentListParams, list_all),
    route("GET", "/v1/setup_intents/{}", sdk.SetupIntentRetrieveParams, retrieve, client=True),
    route("POST", "/v1/setup_intents/{}", sdk.SetupIntentUpdateParams, update),
    route("POST", "/v1/setup_intents/{}/confirm", sdk.SetupIntentConfirmParams, confirm, client=True),
    route("POST", "/v1/setup_intents/{}/cancel", sdk.SetupIntentCancelParams, cancel),
    route("GET", "/v1/setup_attempts", sdk.SetupAttemptListParams, list_attempts),
]
